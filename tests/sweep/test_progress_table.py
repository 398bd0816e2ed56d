import io

from gan_jax.sweep import progress_table

SETTINGS = {'a0': 'k=1', 'a1': 'k=1', 'b0': 'k=2', 'b1': 'k=2'}


class Terminal(io.StringIO):
  def isatty(self):
    return True


def scored(sign, stream=None):
  table = progress_table.Leaders(SETTINGS, 100.0, 'distance', sign, stream or io.StringIO())
  for name, x in (('a0', 1.0), ('a1', 3.0), ('b0', 5.0), ('b1', 5.0)):
    table.scored(name, 10, sign * x)
  return table


def test_the_best_setting_leads():
  lines = scored(-1).table()
  assert 'k=1' in lines[1]
  assert 'distance 2 +- 1.4 (2 seeds, step 10)' in lines[1]
  assert 'k=2' in lines[2]
  assert 'k=2' in scored(1).table()[1]


def test_who_is_lost_is_told_and_counts_no_more():
  table = scored(-1)
  table.ended('a0', 'diverged', 7)
  lines = table.table()
  assert 'distance 3 (1 seeds, step 10)' in lines[1]
  assert 'the last a0: diverged at step 7' in lines[-1]


def test_the_time_left_is_that_of_the_pace_so_far(monkeypatch):
  clock = iter([0.0, 10.0, 10.0, 10.0, 10.0, 10.0])
  monkeypatch.setattr(progress_table.time, 'monotonic', lambda: next(clock))
  table = progress_table.Leaders(SETTINGS, 100.0, 'distance', 1, io.StringIO())
  assert table.left() is None
  table.trained(20.0)  # with the compilation, which tells nothing of the pace
  table.trained(40.0)
  assert table.left() == 10.0


def test_on_a_terminal_the_table_stays_in_its_place():
  stream = Terminal()
  table = scored(1, stream)
  table.show()
  first = stream.getvalue()
  table.show()
  assert '\x1b' not in first
  assert f'\x1b[{first.count(chr(10))}F' in stream.getvalue()
