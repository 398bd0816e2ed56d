"""Builds the tables of a report: metrics beside those of real data, and flags beside their defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from gan_jax.config.run_config import Config
from gan_jax.training.report.number_format import format_value, is_number

Values = dict[str, Any]

_WEIGHTS = {'raw': 'last', 'ema': 'averaged'}
# Title of a metric, and the direction that is better; other metrics are shown by their keys.
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
  'support': ('support size, by birthdays', '↑'),
  'finite': ('share of samples that are finite', ''),
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
  """Holds a row of a table."""

  name: str
  cells: list[str]
  detail: str = ''  # after the name: '↑' or '↓' where one direction is better
  of_this_run: bool = False  # among rows of references


class Table(NamedTuple):
  """Holds a table with its heading and a note for the reader."""

  title: str
  columns: list[str]
  rows: list[Row]
  note: str = ''


def table_by_metric(
  title: str, columns: Mapping[str, Values | None], note: str = ''
) -> Table | None:
  """Builds a row for each metric of `columns`, {heading: {metric: number}}; returns None without a metric."""
  filled = {heading: values for heading, values in columns.items() if values}
  rows = []
  for name in dict.fromkeys(name for values in filled.values() for name in values):
    metric, better = _title_and_direction(name)
    rows.append(Row(metric, [format_value(x.get(name)) for x in filled.values()], better))
  return Table(title, list(filled), rows, note) if rows else None


def _title_and_direction(name: str) -> tuple[str, str]:
  return _METRICS.get(name, (name.replace('_', ' '), ''))


def metric_title(name: str) -> str:
  """Returns the title of a key of metrics.jsonl: 'Frechet distance, validation' of validation_frechet_ema."""
  bare = name.removesuffix('_ema').removesuffix('_raw').removeprefix('validation_')
  words = _title_and_direction(bare)[0] + (', validation' if name.startswith('validation_') else '')
  return words[:1].upper() + words[1:]


def evaluation_tables(values: Values) -> list[Table]:
  """Builds the tables of an evaluation_SPLIT_STEP.json, beside what real data or a perfect memory get."""
  group = lambda name: values.get(name) or {}
  features, oracle, watched = group('features'), group('oracle'), group('watched')
  pixels = {which: {'pixel_frechet': x} for which, x in group('pixel_frechet').items()}
  weights = lambda columns: {_WEIGHTS[which]: columns.get(which) for which in _WEIGHTS}
  tables = [
    table_by_metric(
      "By the game's oracle",
      weights(oracle) | {'true draw': group('truth'), 'expected': group('ideal')},
      'The last two columns are what a perfect generator would get.',
    ),
    table_by_metric(
      "In the classifier's features",
      weights(features)
      | {'training data': features.get('train'), 'held out': features.get('fresh')},
      'Training data: what a perfect memory gets. Held out: what a perfect generator gets.',
    ),
    table_by_metric('Pixels', weights(pixels) | {'training data': pixels.get('real')}),
    table_by_metric('Modes', weights(group('modes'))),
    _parzen(group('parzen'), group('references')),
    table_by_metric(
      "What the run's own D says",
      weights(watched),
      'At equilibrium both beliefs are 0.5, and so they are where D is blind.',
    ),
  ]
  return [table for table in tables if table]


def _parzen(scores: Values, references: Values) -> Table | None:
  """Ranks the Parzen log-likelihoods of the run among those of references, the highest first."""
  title = lambda name: f'this run, {_WEIGHTS.get(name, name)} weights'
  entries = [(title(name), x, True) for name, x in scores.items()]
  entries += [(_REFERENCES.get(name, name), x, False) for name, x in references.items()]
  known = [entry for entry in entries if is_number((entry[1] or {}).get('mean'))]
  if not scores or not known:
    return None
  known.sort(key=lambda entry: -entry[1]['mean'])
  mean = lambda x: f'{x["mean"]:.1f}'.replace('-', '−')
  error = lambda x: f'± {x.get("standard_error") or 0:.1f}'
  rows = [Row(name, [mean(x), error(x)], of_this_run=ours) for name, x, ours in known]
  note = 'It rewards blur above reality: k-means centroids beat real images.'
  return Table('Parzen log-likelihood, nats per image', ['mean', 'standard error'], rows, note)


def flag_rows(values: Values) -> tuple[list[Row], list[Row]]:
  """Builds rows of (value, default, help) per flag: of flags that differ from the default, and of the rest."""
  fields = {field.name: field for field in dataclasses.fields(Config)}
  changed, others = list[Row](), list[Row]()
  for name, value in values.items():
    field = fields.get(name)
    default = None if field is None else field.default
    text = 'Not a flag of this version.' if field is None else field.metadata['help']
    row = Row(f'--{name}', [_flag_text(value), _flag_text(default), text])
    (others if field and value == default else changed).append(row)
  return changed, others


def _flag_text(value: Any) -> str:
  return "''" if value == '' else '–' if value is None else str(value)


def train_command(values: Values, run: str) -> list[str]:
  """Returns the words of the command that repeats a run: each flag that differs from its default."""
  defaults = {field.name: field.default for field in dataclasses.fields(Config)}
  changed = {name: x for name, x in values.items() if name not in defaults or x != defaults[name]}
  return script_command('train', *flag_arguments(changed), f'--run={run}')


def flag_arguments(values: Values) -> list[str]:
  """Returns the words of a command line that set flags, {name: value}."""
  switch = lambda name, value: f'--{name}' if value else f'--no{name}'
  return [
    switch(name, value) if isinstance(value, bool) else f'--{name}={value}'
    for name, value in values.items()
  ]


def script_command(script: str, *flags: str) -> list[str]:
  """Returns the words of the command that runs a script of `experiments`."""
  return ['python', '-m', f'experiments.{script}', *flags]


def protocol_rows(values: Values) -> list[tuple[str, str]]:
  """Returns the entries of a protocol as (name, text)."""
  return [(name.replace('_', ' '), _text(value)) for name, value in values.items()]


def _text(value: Any) -> str:
  if isinstance(value, dict):
    return ', '.join(f'{name} {_text(x)}' for name, x in value.items())
  return format_value(value)
