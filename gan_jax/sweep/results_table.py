"""What a sweep found: a row for each run, a table for each way of comparing, tests of what is real."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.sweep import significance
from gan_jax.sweep.search_space import Setting, label
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

_LISTED = 12  # pairs in a summary


class Row(NamedTuple):
  """A run of a sweep and what became of it."""

  compared: str  # at equal what
  setting: Setting
  seed: int
  status: str
  metric: float  # NaN where the run broke, or was never evaluated
  values: dict[str, Any]  # everything else that is known, by name

  def flat(self) -> dict[str, Any]:
    """As a line of a table."""
    first = {
      'compared_at_equal': self.compared,
      **dict(self.setting),
      'seed': self.seed,
      'status': self.status,
      'metric': self.metric,
    }
    # What training says of k is not the setting of that name.
    return first | {name: x for name, x in self.values.items() if name not in first}


def unflatten(flat: Mapping[str, Any], names: Sequence[str]) -> Row:
  """The row that `Row.flat` made, `names` being those of its setting; None stands for NaN."""
  known = ('compared_at_equal', 'seed', 'status', 'metric', *names)
  metric = math.nan if flat['metric'] is None else flat['metric']
  rest = {name: x for name, x in flat.items() if name not in known}
  setting = tuple((name, flat[name]) for name in names)
  return Row(flat['compared_at_equal'], setting, flat['seed'], flat['status'], metric, rest)


class Ranked(NamedTuple):
  """The number by which runs are ranked."""

  name: str
  higher_is_better: bool


def write(folder: Path, rows: Sequence[Row]) -> None:
  """Write results.csv and results.parquet."""
  flat = [row.flat() for row in rows]
  names = list(dict.fromkeys(name for row in flat for name in row))
  text = io.StringIO()
  writer = csv.DictWriter(text, names, restval='')
  writer.writeheader()
  writer.writerows(flat)
  write_atomically(folder / 'results.csv', text.getvalue().encode())
  import pyarrow  # comes with tensorflow-datasets; half a second of every start-up, were it at the top
  from pyarrow import parquet

  columns = {name: [row.get(name) for row in flat] for name in names}
  for name, column in columns.items():  # k may be a number and 'auto'
    if len({type(x) for x in column if x is not None} - {int, float}) and not all(
      isinstance(x, str) for x in column
    ):
      columns[name] = [None if x is None else str(x) for x in column]
  file = io.BytesIO()
  parquet.write_table(pyarrow.table(columns), file)
  write_atomically(folder / 'results.parquet', file.getvalue())


def read(folder: Path, names: Sequence[str]) -> list[Row]:
  """The rows of results.csv, `names` being those of a setting, whose values stay text; raises UserError."""
  path = folder / 'results.csv'
  try:
    with path.open(newline='') as file:
      lines = list(csv.DictReader(file))
    return [
      unflatten({k: x if k in names else _parsed(x) for k, x in line.items()}, names)
      for line in lines
    ]
  except OSError as error:
    raise UserError(f'{path} cannot be read ({error.strerror}); name a finished sweep') from error
  except KeyError as error:
    raise UserError(f'{path} has no column {error}; name a sweep of it') from error


def _parsed(text: str) -> Any:
  try:
    number = float(text)
  except ValueError:
    return text
  return int(text) if text.isdecimal() else number


def by_setting(rows: Sequence[Row]) -> dict[Setting, list[Row]]:
  """The seeds of each setting."""
  found: dict[Setting, list[Row]] = {}
  for row in rows:
    found.setdefault(row.setting, []).append(row)
  return found


def ways(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """The rows of each way of comparing."""
  found: dict[str, list[Row]] = {}
  for row in rows:
    found.setdefault(row.compared, []).append(row)
  return found


def summary(rows: Sequence[Row], ranked: Ranked, title: str) -> str:
  """Markdown: for each way of comparing a table of settings, best first, and what the tests say."""
  parts = [f'# {title}', '', _key(ranked), '']
  for way, some in ways(rows).items():
    parts += [f'## At equal {way}', '', *_table(some, ranked), '', *_tests(some, ranked), '']
  return '\n'.join(parts).rstrip() + '\n'


def _key(ranked: Ranked) -> str:
  better = 'higher' if ranked.higher_is_better else 'lower'
  return (
    f'{ranked.name} of averaged weights, {better} is better: mean +- standard deviation over seeds, and '
    'the 95 % interval of the mean. Beliefs are means over the last steps that were logged.'
  )


def _mean(rows: Sequence[Row], name: str) -> float:
  values = [row.values[name] for row in rows if isinstance(row.values.get(name), int | float)]
  good = [x for x in values if math.isfinite(x)]
  return statistics.mean(good) if good else math.nan


def _table(rows: Sequence[Row], ranked: Ranked) -> list[str]:
  settings = by_setting(rows)
  found = {
    each: significance.summarize([r.metric for r in some]) for each, some in settings.items()
  }
  sign = -1 if ranked.higher_is_better else 1
  order = sorted(found, key=lambda s: sign * found[s].mean if found[s].n else math.inf)
  verdicts = any(row.values.get('verdict') for row in rows)
  lines = [
    f'| setting | {ranked.name} | 95 % | D(x) | D(G(z)) | D per G | G updates | gradients | examples '
    f'| FLOPs | lost |{" verdicts |" if verdicts else ""}',
    '|---|---|---|---|---|---|---|---|---|---|---|' + ('---|' if verdicts else ''),
  ]
  for each in order:
    some, x = settings[each], found[each]
    numbers = [_mean(some, name) for name in ('d_real', 'd_fake', 'd_per_g')]
    spent = [_mean(some, name) for name in ('g_updates', 'gradients', 'examples', 'flops')]
    cells = [
      label(each),
      f'{x.mean:.4g} +- {x.deviation:.2g}',
      f'{x.low:.4g} to {x.high:.4g}',
      *(f'{value:.3g}' for value in numbers),
      *(f'{value:.4g}' for value in spent),
      str(x.lost),
    ]
    if verdicts:
      cells.append(_counted([str(r.values.get('verdict') or '-') for r in some]))
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def _counted(words: Sequence[str]) -> str:
  each = sorted(set(words), key=lambda word: (-words.count(word), word))
  return ', '.join(f'{words.count(word)} {word}' for word in each)


def _tests(rows: Sequence[Row], ranked: Ranked) -> list[str]:
  values = {label(each): [r.metric for r in some] for each, some in by_setting(rows).items()}
  found = significance.pairs(values, ranked.higher_is_better)
  if not found:
    return ['One seed, or one setting: there is nothing to test.']
  real = [pair for pair in found if pair.real]
  lines = [
    f'{len(real)} of {len(found)} differences are real (Mann-Whitney, two-sided, p corrected after Holm '
    f'below {significance.LEVEL:g}; a run that broke has the worst rank):',
    '',
    *(f'- {p.better} beats {p.worse}: p {p.corrected:.2g}' for p in real[:_LISTED]),
  ]
  if len(real) > _LISTED:
    lines.append(f'- and {len(real) - _LISTED} more')
  if not real:
    lines[-1:] = [
      f'- the surest is {found[0].better} before {found[0].worse}: p {found[0].corrected:.2g}'
    ]
  return lines


def examples(rows: Sequence[Row], ranked: Ranked) -> Mapping[str, Row]:
  """The best, the median and the worst run that can be shown."""
  shown = [row for row in rows if math.isfinite(row.metric)]
  if not shown:
    return {}
  order = sorted(shown, key=lambda row: -row.metric if ranked.higher_is_better else row.metric)
  return {'best': order[0], 'median': order[(len(order) - 1) // 2], 'worst': order[-1]}
