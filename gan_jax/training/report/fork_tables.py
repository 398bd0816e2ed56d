"""Builds tables of runs that begin at a checkpoint of another one: what each changed, and how it scored."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.config.run_config import Config
from gan_jax.training.metric_writers import read_metrics
from gan_jax.training.report import run_charts
from gan_jax.training.report.number_format import format_value, is_number
from gan_jax.training.report.run_charts import ScoreCurve
from gan_jax.training.report.run_files import read_flags, read_json
from gan_jax.training.report.tables import Row, Table, flag_arguments, metric_title

Values = dict[str, Any]

_MAX_ROWS = 40


class _Run(NamedTuple):
  """Holds the config.json of a run folder."""

  folder: Path
  config: Values

  @property
  def source(self) -> Path | None:
    """Returns the folder of the run at whose checkpoint the run began, if any."""
    record = self.config.get('forked_from')
    name = record.get('run') if isinstance(record, dict) else None
    return Path(name) if isinstance(name, str) else None


def fork_tables(folder: Path) -> list[Table]:
  """Builds a table of the forks of the run in `folder`, and one of it among the forks of its own source.

  A fork is found where it stands in the same folder as its source.
  """
  runs = {path.parent: _Run(path.parent, read_json(path)) for path in _siblings(folder)}
  this = folder.resolve()
  if this not in runs:
    return []
  tables = []
  for source in (this, runs[this].source):
    forks = [run for run in runs.values() if source is not None and run.source == source]
    if forks and source in runs:
      tables.append(_fork_table(runs[source], forks, this))
  return tables


def _siblings(folder: Path) -> list[Path]:
  """Returns the config.json of each run in the folder that holds `folder`, in the order of their names."""
  try:
    return sorted(folder.resolve().parent.glob('*/config.json'))
  except OSError:
    return []


def _fork_table(source: _Run, forks: list[_Run], this: Path) -> Table:
  """Lists a run and its forks with their changed flags, their scores and their verdicts."""
  records = read_metrics(source.folder / 'metrics.jsonl')
  curve = run_charts.score_curve(records)
  rows = [_row(source, None, records, curve, this)]
  for fork in forks[:_MAX_ROWS]:
    rows.append(_row(fork, source, read_metrics(fork.folder / 'metrics.jsonl'), curve, this))
  arrow, note = '', ''
  if curve:
    arrow = ' ↑' if curve.higher_is_better else ' ↓'
    note = f'Scores: {metric_title(curve.name)}, of averaged weights.'
  if len(forks) > _MAX_ROWS:
    note += f' The first {_MAX_ROWS} of {len(forks)} forks.'
  columns = [f'best{arrow}', f'last{arrow}', 'steps', 'from step', 'verdict']
  return Table(f'{source.folder.name} and its forks', columns, rows, note.strip())


def _row(
  run: _Run, source: _Run | None, records: list[Values], of_source: ScoreCurve | None, this: Path
) -> Row:
  curve = run_charts.score_curve(records)
  scores: list[float | None] = [None, None]
  if curve and of_source and curve.name == of_source.name:
    scores = [curve.values[curve.best_index], curve.values[-1]]
  steps = max((r['step'] for r in records if is_number(r.get('step'))), default=None)
  start = None if source is None else run.config['forked_from'].get('step')
  verdict = read_json(run.folder / 'referee.json').get('verdict')
  cells = [format_value(x) for x in (*scores, steps, start, verdict)]
  changes = '' if source is None else _changes(source.config, run.config)
  return Row(run.folder.name, cells, changes, of_this_run=run.folder == this)


def _changes(old: Values, new: Values) -> str:
  """Returns the flags of a fork that differ from those of its source, but for --steps."""
  defaults = {field.name: field.default for field in dataclasses.fields(Config)}
  before, after = (defaults | read_flags(config) for config in (old, new))
  changed = {name: x for name, x in after.items() if x != before.get(name) and name != 'steps'}
  return ' '.join(flag_arguments(changed)) or 'unchanged'
