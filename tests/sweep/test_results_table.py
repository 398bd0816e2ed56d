import csv
import math

import pytest
from pyarrow import parquet

from gan_jax.sweep import plots, results_table, search_space
from gan_jax.sweep.results_table import RankingMetric, ResultRow
from gan_jax.utils.errors import UserError

AXES = search_space.parse_axes(['k=1,2,auto', 'g_lr=1e-4,1e-3'])
METRIC = RankingMetric('distance', False)


@pytest.fixture
def rows():
  found = []
  for basis in ('updates of G', 'gradients'):
    for i, setting in enumerate(search_space.setting_product(AXES)):
      for seed in range(6):
        values = {'k': 1.5, 'd_real': 0.5, 'g_updates': 10, 'verdict': 'good' if seed else 'noisy'}
        found.append(ResultRow(basis, setting, seed, 'finished', 10 * i + seed / 10, values))
  diverged = found[-1]._replace(status='diverged', metric=math.nan)
  return [*found[:-1], diverged]


def test_tables_hold_every_run_and_every_setting(rows, tmp_path):
  results_table.write_tables(tmp_path, rows)
  with (tmp_path / 'results.csv').open() as file:
    read = list(csv.DictReader(file))
  assert len(read) == len(rows)
  assert {row['k'] for row in read} == {'1', '2', 'auto'}  # not the k that training logs
  table = parquet.read_table(tmp_path / 'results.parquet')
  assert table.num_rows == len(rows)
  assert table['k'].to_pylist()[0] == '1'


def test_a_row_is_read_back_as_it_was(rows):
  names = [axis.name for axis in AXES]
  for row in (rows[0], rows[-1]):
    again = results_table.from_columns(row.to_columns(), names)
    assert again.to_columns().items() >= {'seed': row.seed, 'status': row.status}.items()
    assert again.setting == row.setting


def test_the_summary_ranks_settings_and_counts_significant_differences(rows):
  text = results_table.summary_text(rows, METRIC, 'a title')
  first = next(line for line in text.splitlines() if line.startswith('| k='))
  assert first.startswith('| k=1, g_lr=0.0001 | 0.25 +- 0.19 |')
  assert 'differences are significant' in text
  assert '5 good, 1 noisy' in text
  assert text.count('## At equal') == 2


@pytest.mark.parametrize(
  ('scores', 'expected'),
  [
    ([1.0, 2.0, 3.0], (True, 2.0)),
    ([1.0, 2.0, math.nan], (True, 4 / 3)),  # a lost seed counts as the worst of the others
    ([1.0, math.nan], (True, 1.0)),
    ([9.0, math.nan, math.inf], (False, 9.0)),
    ([math.nan], (False, -math.inf)),
    ([], (False, -math.inf)),
  ],
)
def test_lost_seeds_count_against_their_setting(scores, expected):
  assert results_table.seeds_score(scores) == pytest.approx(expected)


def test_one_lucky_survivor_of_three_does_not_lead_the_table():
  """The distance is lower for the survivor than for any run of the other setting."""
  row = lambda k, seed, metric: ResultRow(
    'updates of G', (('k', k),), seed, 'finished' if metric < 9 else 'diverged', metric, {}
  )
  rows = [row('5', 0, 0.01), *(row('5', i, math.nan) for i in (1, 2))]
  rows += [row('1', i, 1.0 + i / 10) for i in range(3)]
  text = results_table.summary_text(rows, METRIC, 'a title')
  first, second = (line for line in text.splitlines() if line.startswith('| k='))
  assert first.startswith('| k=1 | 1.1 +- 0.1 |')
  assert second.startswith('| k=5 |')
  assert second.endswith('| 2 |')


def test_best_median_and_worst_are_those_of_the_metric(rows):
  found = results_table.best_median_worst(rows, METRIC)
  assert found['best'].metric == 0.0
  assert found['worst'].metric == max(r.metric for r in rows if math.isfinite(r.metric))
  assert results_table.best_median_worst(rows[-1:], METRIC) == {}


def test_plots_are_written_with_and_without_diverged_runs(rows, tmp_path):
  paths = plots.plot_sweep(tmp_path, rows, AXES, METRIC)
  assert [path.name for path in paths] == ['k.png', 'g_lr.png', 'k_g_lr.png']
  assert all(path.stat().st_size > 1000 for path in paths)
  one = [row for row in rows if row.seed == 0]
  assert plots.plot_sweep(tmp_path, one, AXES, METRIC)


def test_a_table_is_read_back_as_it_was_written(rows, tmp_path):
  results_table.write_tables(tmp_path, rows)
  again = results_table.read_csv(tmp_path, ['k'])
  assert len(again) == len(rows)
  for one, other in zip(again, rows, strict=True):
    assert one.setting == other.setting[:1]
    assert (one.compared, one.seed, one.status) == (other.compared, other.seed, other.status)
    assert one.metric == pytest.approx(other.metric, nan_ok=True)
    assert one.values['d_real'] == 0.5


@pytest.mark.parametrize(('names', 'fragment'), [(['loss'], 'no column'), (None, 'cannot be read')])
def test_a_missing_table_or_column_is_one_line(names, fragment, rows, tmp_path):
  if names:
    results_table.write_tables(tmp_path, rows)
  with pytest.raises(UserError, match=fragment):
    results_table.read_csv(tmp_path, names or ['k'])


def test_sweeps_are_drawn_side_by_side_with_their_verdicts_or_without(rows, tmp_path):
  without = [row._replace(values={'d_real': 0.5}) for row in rows]
  for name, sweeps in {
    'both': {'ring': (rows, METRIC), 'grid': (without, RankingMetric('score', True))},
    'without': {'ring': (without, METRIC)},
  }.items():
    plots.plot_side_by_side(tmp_path / f'{name}.png', sweeps, 'k')
  assert (tmp_path / 'both.png').stat().st_size > (tmp_path / 'without.png').stat().st_size > 1000
