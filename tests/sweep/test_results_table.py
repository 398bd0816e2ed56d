import csv
import math

import pytest
from pyarrow import parquet

from gan_jax.sweep import plots, results_table, search_space
from gan_jax.sweep.results_table import Ranked, Row
from gan_jax.utils.errors import UserError

AXES = search_space.axes(['k=1,2,auto', 'g_lr=1e-4,1e-3'])
RANKED = Ranked('distance', False)


@pytest.fixture
def rows():
  found = []
  for way in ('updates of G', 'gradients'):
    for i, setting in enumerate(search_space.settings(AXES)):
      for seed in range(6):
        values = {'k': 1.5, 'd_real': 0.5, 'g_updates': 10, 'verdict': 'good' if seed else 'noisy'}
        found.append(Row(way, setting, seed, 'finished', 10 * i + seed / 10, values))
  broken = found[-1]._replace(status='diverged', metric=math.nan)
  return [*found[:-1], broken]


def test_tables_hold_every_run_and_every_setting(rows, tmp_path):
  results_table.write(tmp_path, rows)
  with (tmp_path / 'results.csv').open() as file:
    read = list(csv.DictReader(file))
  assert len(read) == len(rows)
  assert {row['k'] for row in read} == {'1', '2', 'auto'}  # not what training says of k
  table = parquet.read_table(tmp_path / 'results.parquet')
  assert table.num_rows == len(rows)
  assert table['k'].to_pylist()[0] == '1'


def test_a_row_is_read_back_as_it_was(rows):
  names = [axis.name for axis in AXES]
  for row in (rows[0], rows[-1]):
    again = results_table.unflatten(row.flat(), names)
    assert again.flat().items() >= {'seed': row.seed, 'status': row.status}.items()
    assert again.setting == row.setting


def test_the_summary_ranks_settings_and_says_what_is_real(rows):
  text = results_table.summary(rows, RANKED, 'a title')
  first = next(line for line in text.splitlines() if line.startswith('| k='))
  assert first.startswith('| k=1, g_lr=0.0001 | 0.25 +- 0.19 |')
  assert 'differences are real' in text
  assert '5 good, 1 noisy' in text
  assert text.count('## At equal') == 2


def test_examples_are_the_best_the_median_and_the_worst(rows):
  found = results_table.examples(rows, RANKED)
  assert found['best'].metric == 0.0
  assert found['worst'].metric == max(r.metric for r in rows if math.isfinite(r.metric))
  assert results_table.examples(rows[-1:], RANKED) == {}


def test_pictures_are_drawn_also_where_runs_broke(rows, tmp_path):
  paths = plots.draw(tmp_path, rows, AXES, RANKED)
  assert [path.name for path in paths] == ['k.png', 'g_lr.png', 'k_g_lr.png']
  assert all(path.stat().st_size > 1000 for path in paths)
  one = [row for row in rows if row.seed == 0]
  assert plots.draw(tmp_path, one, AXES, RANKED)


def test_a_table_is_read_back_as_it_was_written(rows, tmp_path):
  results_table.write(tmp_path, rows)
  again = results_table.read(tmp_path, ['k'])
  assert len(again) == len(rows)
  for one, other in zip(again, rows, strict=True):
    assert one.setting == other.setting[:1]
    assert (one.compared, one.seed, one.status) == (other.compared, other.seed, other.status)
    assert one.metric == pytest.approx(other.metric, nan_ok=True)
    assert one.values['d_real'] == 0.5


@pytest.mark.parametrize(('names', 'fragment'), [(['loss'], 'no column'), (None, 'cannot be read')])
def test_what_is_no_table_of_a_sweep_is_one_line(names, fragment, rows, tmp_path):
  if names:
    results_table.write(tmp_path, rows)
  with pytest.raises(UserError, match=fragment):
    results_table.read(tmp_path, names or ['k'])


def test_sweeps_are_drawn_side_by_side_with_their_verdicts_or_without(rows, tmp_path):
  silent = [row._replace(values={'d_real': 0.5}) for row in rows]
  for name, sweeps in {
    'both': {'ring': (rows, RANKED), 'grid': (silent, Ranked('score', True))},
    'silent': {'ring': (silent, RANKED)},
  }.items():
    plots.side_by_side(tmp_path / f'{name}.png', sweeps, 'k')
  assert (tmp_path / 'both.png').stat().st_size > (tmp_path / 'silent.png').stat().st_size > 1000
