import io

from gan_jax.sweep import progress_table
from gan_jax.sweep.results_table import RankingMetric

SETTINGS = {'a0': 'k=1', 'a1': 'k=1', 'b0': 'k=2', 'b1': 'k=2'}


class Terminal(io.StringIO):
  def isatty(self):
    return True


def table_with_scores(sign, stream=None):
  metric = RankingMetric('distance', sign > 0)
  table = progress_table.ProgressTable(SETTINGS, 100.0, metric, stream or io.StringIO())
  for name, x in (('a0', 1.0), ('a1', 3.0), ('b0', 5.0), ('b1', 5.0)):
    table.on_evaluation(name, 10, sign * x)
  return table


def test_settings_are_in_order_of_their_scores():
  lines = table_with_scores(-1).lines()
  assert 'k=1' in lines[1]
  assert 'distance 2 +- 1.4 (2 seeds, step 10)' in lines[1]
  assert 'k=2' in lines[2]
  assert 'k=2' in table_with_scores(1).lines()[1]


def test_members_that_ended_early_are_printed_and_left_out():
  table = table_with_scores(-1)
  table.on_early_end('a0', 'diverged', 7)
  lines = table.lines()
  assert 'distance 3 (1 seeds, step 10)' in lines[1]
  assert 'the last a0: diverged at step 7' in lines[-1]


def test_the_time_left_is_that_of_the_pace_so_far(monkeypatch):
  clock = iter([0.0, 10.0, 10.0, 10.0, 10.0, 10.0])
  monkeypatch.setattr(progress_table.time, 'monotonic', lambda: next(clock))
  table = progress_table.ProgressTable(
    SETTINGS, 100.0, RankingMetric('distance', True), io.StringIO()
  )
  assert table.seconds_left() is None
  table.on_updates(20.0)  # includes compilation
  table.on_updates(40.0)
  assert table.seconds_left() == 10.0


def test_on_a_terminal_a_table_replaces_the_last_one():
  stream = Terminal()
  table = table_with_scores(1, stream)
  table.print_table()
  first = stream.getvalue()
  table.print_table()
  assert '\x1b' not in first
  assert f'\x1b[{first.count(chr(10))}F' in stream.getvalue()
