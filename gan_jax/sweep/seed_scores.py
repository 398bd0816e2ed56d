"""Evaluates the last and the best checkpoint of several seeds on test data."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from gan_jax.evaluation.tasks import Task
from gan_jax.training import load_run

_COLUMNS = ('last raw', 'last ema', 'best raw', 'best ema')
Scores = dict[str, dict[str, list[float]]]  # by metric, then by column: a value for each seed


def evaluate_seeds(folders: Sequence[Path], task: Task) -> Scores:
  """Returns test metrics of both checkpoints of the runs in `folders`, with raw and averaged weights."""
  scores: Scores = {}
  for folder in folders:
    last, best = (load_run.load_run(folder, which) for which in ('last', 'best'))
    reports = {'last': task.full_report(last.gan, last.state, 'test', 0).scores}
    reports['best'] = (
      reports['last']
      if best.step == last.step
      else task.full_report(best.gan, best.state, 'test', 0).scores
    )
    for checkpoint, by_weights in reports.items():
      for weights, metrics in by_weights.items():
        for name, value in metrics.items():
          columns = scores.setdefault(name, {})
          columns.setdefault(f'{checkpoint} {weights}', []).append(value)
  return scores


def scores_table(scores: Scores) -> str:
  """Returns a Markdown table with a row for each metric: mean +- standard deviation over seeds (range)."""
  lines = [f'| | {" | ".join(_COLUMNS)} |', f'|---|{"---|" * len(_COLUMNS)}']
  for metric, columns in scores.items():
    lines.append(f'| {metric} | {" | ".join(_spread(columns[name]) for name in _COLUMNS)} |')
  return '\n'.join(lines) + '\n'


def _spread(values: Sequence[float]) -> str:
  deviation = statistics.stdev(values) if len(values) > 1 else 0.0
  return (
    f'{statistics.mean(values):.4g} +- {deviation:.2g} ({min(values):.4g} to {max(values):.4g})'
  )
