"""Writes the results of a sweep: a row for each run, and a Markdown summary with statistical tests."""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import significance
from gan_jax.sweep.search_space import Setting, label
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

_MAX_PAIRS = 12  # listed in a summary
_TEST_COLUMNS = ('last raw', 'last ema', 'best raw', 'best ema')  # checkpoint and weights
Scores = dict[str, dict[str, list[float]]]  # by metric, then by column: a value for each seed


class ResultRow(NamedTuple):
  """Holds the result of a run of a sweep."""

  compared: str  # the basis of the comparison: 'updates of G', 'gradients', 'examples' or 'flops'
  setting: Setting
  seed: int
  status: str  # 'finished', 'diverged', 'dropped', 'out of memory' or 'failed'
  metric: float  # NaN where the run did not finish, or was not evaluated
  values: dict[str, Any]  # all other columns

  def to_columns(self) -> dict[str, Any]:
    """Returns the row of a table, by column; a swept k takes the place of the k that training logs."""
    basis, setting, seed, status, metric, _ = self
    run = {'seed': seed, 'status': status, 'metric': metric}
    first: dict[str, Any] = {'compared_at_equal': basis, **dict(setting), **run}
    return first | {name: x for name, x in self.values.items() if name not in first}


def from_columns(columns: Mapping[str, Any], swept: Sequence[str]) -> ResultRow:
  """Returns the row that `to_columns` wrote, given the names of its swept settings; None is read as NaN."""
  known = ('compared_at_equal', 'seed', 'status', 'metric', *swept)
  metric = math.nan if columns['metric'] is None else columns['metric']
  values = {name: x for name, x in columns.items() if name not in known}
  setting = tuple((name, columns[name]) for name in swept)
  basis, seed, status = (columns[name] for name in known[:3])
  return ResultRow(basis, setting, seed, status, metric, values)


class RankingMetric(NamedTuple):
  """Holds the name of the metric by which runs are ranked."""

  name: str
  higher_is_better: bool

  @property
  def better(self) -> str:
    """Returns 'higher' or 'lower'."""
    return 'higher' if self.higher_is_better else 'lower'

  @property
  def sign(self) -> int:
    """Returns the factor that turns a score, of which higher is better, into the metric, and back."""
    return 1 if self.higher_is_better else -1


def write_tables(folder: Path, rows: Sequence[ResultRow]) -> None:
  """Writes results.csv and results.parquet."""
  table = [row.to_columns() for row in rows]
  names = list(dict.fromkeys(name for row in table for name in row))
  text = io.StringIO()
  writer = csv.DictWriter(text, names, restval='')
  writer.writeheader()
  writer.writerows(table)
  write_atomically(folder / 'results.csv', text.getvalue().encode())
  import pyarrow  # comes with tensorflow-datasets; imported late, as it takes half a second
  from pyarrow import parquet

  columns = {name: [row.get(name) for row in table] for name in names}
  for name, column in columns.items():  # k may be a number and 'auto'
    if {type(x) for x in column if x is not None} - {int, float}:
      columns[name] = [None if x is None else str(x) for x in column]
  file = io.BytesIO()
  parquet.write_table(pyarrow.table(columns), file)
  write_atomically(folder / 'results.parquet', file.getvalue())


def read_csv(folder: Path, swept: Sequence[str]) -> list[ResultRow]:
  """Returns the rows of results.csv; the values of the swept settings stay text. Raises UserError."""
  path = folder / 'results.csv'
  try:
    with path.open(newline='') as file:
      lines = list(csv.DictReader(file))
    parsed = [{k: x if k in swept else _parse(x) for k, x in line.items()} for line in lines]
    return [from_columns(columns, swept) for columns in parsed]
  except OSError as error:
    raise UserError(f'{path} cannot be read ({error.strerror}); name a finished sweep') from error
  except KeyError as error:
    raise UserError(f'{path} has no column {error}; name a sweep of it') from error


def _parse(text: str) -> Any:
  try:
    number = float(text)
  except ValueError:
    return text
  return int(text) if text.isdecimal() else number


def group_by_setting(rows: Sequence[ResultRow]) -> dict[Setting, list[ResultRow]]:
  """Returns the rows of each setting."""
  settings = dict.fromkeys(row.setting for row in rows)
  return {setting: [row for row in rows if row.setting == setting] for setting in settings}


def group_by_basis(rows: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
  """Returns the rows of each comparison, by its basis."""
  bases = dict.fromkeys(row.compared for row in rows)
  return {basis: [row for row in rows if row.compared == basis] for basis in bases}


def mean_finite(values: Iterable[float]) -> float:
  """Returns the mean of the finite values, NaN without any."""
  finite = [x for x in values if math.isfinite(x)]
  return statistics.mean(finite) if finite else math.nan


def summary_text(rows: Sequence[ResultRow], metric: RankingMetric, title: str) -> str:
  """Returns Markdown: for each comparison a table of settings, best first, and the significant differences."""
  parts = [
    f'# {title}\n',
    f'{metric.name} of averaged weights, {metric.better} is better: mean +- standard deviation over seeds, '
    'and the 95 % interval of the mean. D(x) and D(G(z)) are means over the last logged steps.\n',
  ]
  for basis, some in group_by_basis(rows).items():
    parts += [f'## At equal {basis}', '', *_table(some, metric), '', *_tests(some, metric), '']
  return '\n'.join(parts).rstrip() + '\n'


def _mean(rows: Sequence[ResultRow], name: str) -> float:
  values = [row.values.get(name) for row in rows]
  return mean_finite(x for x in values if isinstance(x, int | float))


def seeds_score(scores: Iterable[float]) -> tuple[bool, float]:
  """Returns a key that orders settings by the scores of their seeds, of which higher are better.

  A lost seed, one without a finite score, counts as the worst of the others. A setting that lost most of its
  seeds ranks below all others, whatever its survivors reached: they may have been lucky.
  """
  values = list(scores)
  finite = [x for x in values if math.isfinite(x)]
  if not finite:
    return False, -math.inf
  lost = len(values) - len(finite)
  return 2 * lost <= len(values), (sum(finite) + lost * min(finite)) / len(values)


def _table(rows: Sequence[ResultRow], metric: RankingMetric) -> list[str]:
  settings = group_by_setting(rows)
  summarize = lambda some: significance.summarize_seeds([r.metric for r in some])
  summaries = {setting: summarize(some) for setting, some in settings.items()}
  rank = lambda setting: seeds_score(metric.sign * r.metric for r in settings[setting])
  order = sorted(settings, key=rank, reverse=True)
  verdicts = any(row.values.get('verdict') for row in rows)
  lines = [
    f'| setting | {metric.name} | 95 % | D(x) | D(G(z)) | D per G | G updates | gradients | examples '
    f'| FLOPs | lost |{" verdicts |" if verdicts else ""}',
    '|---|---|---|---|---|---|---|---|---|---|---|' + ('---|' if verdicts else ''),
  ]
  for setting in order:
    some, x = settings[setting], summaries[setting]
    cells = [
      label(setting),
      f'{x.mean:.4g} +- {x.deviation:.2g}',
      f'{x.low:.4g} to {x.high:.4g}',
      *(f'{_mean(some, name):.3g}' for name in ('d_real', 'd_fake', 'd_per_g')),
      *(f'{_mean(some, name):.4g}' for name in ('g_updates', 'gradients', 'examples', 'flops')),
      str(x.lost),
    ]
    if verdicts:
      counts = Counter(sorted(str(r.values.get('verdict') or '-') for r in some))
      cells.append(', '.join(f'{n} {verdict}' for verdict, n in counts.most_common()))
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def _tests(rows: Sequence[ResultRow], metric: RankingMetric) -> list[str]:
  values = {label(each): [r.metric for r in some] for each, some in group_by_setting(rows).items()}
  tests = significance.compare_pairs(values, metric.higher_is_better)
  if not tests:
    return ['No test: it needs two settings with two seeds each.']
  significant = [test for test in tests if test.significant]
  lines = [
    f'{len(significant)} of {len(tests)} differences are significant (Mann-Whitney, two-sided, p corrected '
    f'after Holm below {significance.LEVEL:g}; a run that diverged has the worst rank):',
    '',
    *(f'- {x.better} beats {x.worse}: p {x.corrected:.2g}' for x in significant[:_MAX_PAIRS]),
  ]
  if len(significant) > _MAX_PAIRS:
    lines.append(f'- and {len(significant) - _MAX_PAIRS} more')
  if not significant:
    first = tests[0]
    lines[-1:] = [f'- the smallest p: {first.better} before {first.worse}: {first.corrected:.2g}']
  return lines


def best_median_worst(rows: Sequence[ResultRow], metric: RankingMetric) -> Mapping[str, ResultRow]:
  """Returns the best, the median and the worst run among those with a finite metric; {} without any."""
  finite = [row for row in rows if math.isfinite(row.metric)]
  if not finite:
    return {}
  order = sorted(finite, key=lambda row: -metric.sign * row.metric)
  return {'best': order[0], 'median': order[(len(order) - 1) // 2], 'worst': order[-1]}


def evaluate_seeds(folders: Sequence[Path], task: Task) -> Scores:
  """Returns test metrics of both checkpoints of the runs in `folders`, with raw and averaged weights."""
  scores: Scores = {}
  for folder in folders:
    last, best = (load_run.load_run(folder, which) for which in ('last', 'best'))
    report = lambda run: task.full_report(run.gan, run.state, 'test', 0).scores
    of_last = report(last)
    of_best = of_last if best.step == last.step else report(best)
    for checkpoint, by_weights in (('last', of_last), ('best', of_best)):
      for weights, metrics in by_weights.items():
        for name, value in metrics.items():
          scores.setdefault(name, {}).setdefault(f'{checkpoint} {weights}', []).append(value)
  return scores


def scores_table(scores: Scores) -> str:
  """Returns a Markdown table with a row for each metric: mean +- standard deviation over seeds (range)."""
  lines = [f'| | {" | ".join(_TEST_COLUMNS)} |', f'|---|{"---|" * len(_TEST_COLUMNS)}']
  for metric, columns in scores.items():
    lines.append(f'| {metric} | {" | ".join(_spread(columns[name]) for name in _TEST_COLUMNS)} |')
  return '\n'.join(lines) + '\n'


def _spread(values: Sequence[float]) -> str:
  mean, deviation = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
  return f'{mean:.4g} +- {deviation:.2g} ({min(values):.4g} to {max(values):.4g})'
