"""Tables of a run's page: metrics beside what the truth itself gets, and flags beside their defaults."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from gan_jax.config.config import Config
from gan_jax.training.report.charts import known, say

Values = dict[str, Any]

_WEIGHTS = {'raw': 'last', 'ema': 'averaged'}
# What a metric is called, and which way is better; others are shown by their own names.
_METRICS = {
  'frechet': ('Frechet distance', '↓'),
  'kernel': ('kernel distance', '↓'),
  'parzen': ('Parzen log-likelihood, nats', '↑'),
  'pixel_frechet': ('Frechet distance, pixels averaged to 8 x 8', '↓'),
  'precision': ('precision', '↑'),
  'recall': ('recall', '↑'),
  'density': ('density', '↑'),
  'coverage': ('coverage', '↑'),
  'authentic': ('authentic, %', '↑'),
  'copying': ('C_T, negative: copies', ''),
  'near': ('near-duplicates of training data', '↓'),
  'divergence': ('JSD of cells, nats', '↓'),
  'missing': ('share of data in empty cells', '↓'),
  'width': ('width within cells', ''),
  'modes': ('modes', '↑'),
  'modes_kl': ('KL over modes, nats', '↓'),
  'reverse_kl': ('reverse KL, nats', '↓'),
  'cell_kl': ('KL over half-modes, nats', '↓'),
  'high_quality': ('high-quality share', '↑'),
  'covariance_ratio': ('variance inside modes, ratio', ''),
  'd_loss': ("D's loss", ''),
  'd_real': ('mean D(x)', ''),
  'd_fake': ('mean D(G(z))', ''),
}
_REFERENCES = {
  'kmeans': 'k-means centroids',
  'real': 'training images',
  'mean': 'the mean training image',
  'marginals': 'independent pixels, right marginals',
  'noise': 'uniform noise',
}


class Row(NamedTuple):
  """A line of a table; `ours` is one of this run among references."""

  name: str
  cells: list[str]
  better: str = ''  # an arrow, where one way is better
  ours: bool = False


class Table(NamedTuple):
  """Numbers of one kind."""

  title: str
  columns: list[str]
  rows: list[Row]
  note: str = ''


def _by_metric(title: str, columns: dict[str, Values | None], note: str = '') -> Table | None:
  """A row for each metric of any of `columns`, {its heading: {metric: number}}; None without any."""
  there = {heading: values for heading, values in columns.items() if values}
  metrics = list(dict.fromkeys(name for values in there.values() for name in values))
  rows = [
    Row(_named(name)[0], [say(values.get(name)) for values in there.values()], _named(name)[1])
    for name in metrics
  ]
  return Table(title, list(there), rows, note) if rows else None


def _named(name: str) -> tuple[str, str]:
  return _METRICS.get(name, (name.replace('_', ' '), ''))


def title_of(name: str) -> str:
  """The metric of a line of metrics.jsonl: 'validation_frechet_ema' is 'Frechet distance, validation'."""
  bare = name.removesuffix('_ema').removesuffix('_raw').removeprefix('validation_')
  words = _named(bare)[0] + (', validation' if name.startswith('validation_') else '')
  return words[:1].upper() + words[1:]


def evidence(found: Values) -> list[Table]:
  """What the referee measured, beside the same of real data against real data."""
  group = lambda name: found.get(name) or {}
  own, c2st, ladder = group('own'), group('c2st'), found.get('ladder') or [{}]
  run: Values = {'fresh D, bound in nats': ladder[0].get('bound')}
  null: Values = {'fresh D, bound in nats': ladder[0].get('null')}
  run |= {"run's own D on held-out data": own.get('held_out')}
  run |= {"run's own D on training data": own.get('train')}
  run |= {'accuracy of a two-sample test': c2st.get('accuracy'), 'its p-value': c2st.get('p')}
  null |= {'accuracy of a two-sample test': 0.5 if c2st else None}
  run |= {'frechet': group('frechet').get('fake')} | group('manifold') | group('memorisation')
  null |= {'frechet': group('frechet').get('null')}
  null |= group('manifold_null') | group('memorisation_null')
  run |= group('cells')
  run |= {f"G's gradient, {name}": value for name, value in group('gradient').items()}
  run = {name: value for name, value in run.items() if known(value)}
  null = {name: null[name] for name in run if known(null.get(name))}
  table = _by_metric(
    "The referee's numbers",
    {'samples': run, 'real against real': null},
    'Real against real is what a perfect generator would get.',
  )
  return [table] if table else []


def evaluation(values: Values) -> list[Table]:
  """What an evaluation_SPLIT_STEP.json holds, among its floors and ceilings."""
  group = lambda name: values.get(name) or {}
  features, oracle, watched = group('features'), group('oracle'), group('watched')
  pixels = {which: {'pixel_frechet': x} for which, x in group('pixel_frechet').items()}
  weights = lambda found: {_WEIGHTS[which]: found.get(which) for which in _WEIGHTS}
  tables = [
    _by_metric(
      "By the game's oracle",
      weights(oracle) | {'true draw': group('truth'), 'expected': group('ideal')},
      'The last two columns are what a perfect generator would get.',
    ),
    _by_metric(
      "In the classifier's features",
      weights(features)
      | {'training data': features.get('train'), 'held out': features.get('fresh')},
      'Training data: what a perfect memory gets. Held out: what a perfect generator gets.',
    ),
    _by_metric('Pixels', weights(pixels) | {'training data': pixels.get('real')}),
    _by_metric('Modes', weights(group('modes'))),
    _parzen(group('parzen'), group('references')),
    _by_metric(
      "What the run's own D says",
      weights(watched),
      'At equilibrium both beliefs are 0.5, and so they are where D is blind.',
    ),
  ]
  return [table for table in tables if table]


def _parzen(scores: Values, references: Values) -> Table | None:
  """Scores and references in one list, the highest first."""
  everyone = [
    (f'this run, {_WEIGHTS.get(name, name)} weights', x, True) for name, x in scores.items()
  ]
  everyone += [(_REFERENCES.get(name, name), x, False) for name, x in references.items()]
  ranked = sorted(
    (x for x in everyone if known((x[1] or {}).get('mean'))), key=lambda x: -x[1]['mean']
  )
  if not scores or not ranked:
    return None
  rows = [
    Row(
      name,
      [f'{x["mean"]:.1f}'.replace('-', '−'), f'± {x.get("standard_error") or 0:.1f}'],
      ours=ours,
    )
    for name, x, ours in ranked
  ]
  note = 'It rewards blur above reality: k-means centroids beat real images.'
  return Table('Parzen log-likelihood, nats per image', ['mean', 'spread'], rows, note)


def flags(values: Values) -> tuple[list[Row], list[Row]]:
  """A run's flags beside their defaults and help: those that differ, and all others."""
  fields = {field.name: field for field in dataclasses.fields(Config)}
  changed: list[Row] = []
  others: list[Row] = []
  for name, value in values.items():
    field = fields.get(name)
    default = None if field is None else field.default
    text = 'Not a flag of this version.' if field is None else field.metadata['help']
    row = Row(f'--{name}', [_flag(value), _flag(default), text])
    (others if field and value == default else changed).append(row)
  return changed, others


def _flag(value: Any) -> str:
  return "''" if value == '' else '–' if value is None else str(value)


def train_command(values: Values, run: str) -> list[str]:
  """The command that makes the run again: every flag that is not at its default."""
  defaults = {field.name: field.default for field in dataclasses.fields(Config)}
  given = []
  for name, value in values.items():
    if name not in defaults or value != defaults[name]:
      given.append(_argument(name, value))
  return command('train', *given, f'--run={run}')


def _argument(name: str, value: Any) -> str:
  if isinstance(value, bool):
    return f'--{name}' if value else f'--no{name}'
  return f'--{name}={value}'


def command(script: str, *flags: str) -> list[str]:
  """The words of a line that runs one of the scripts."""
  return ['python', '-m', f'experiments.{script}', *flags]


def pairs(values: Values) -> Sequence[tuple[str, str]]:
  """A dictionary as rows of names and texts."""
  return [(name.replace('_', ' '), _text(value)) for name, value in values.items()]


def _text(value: Any) -> str:
  if isinstance(value, dict):
    return ', '.join(f'{name} {_text(x)}' for name, x in value.items())
  return say(value)
