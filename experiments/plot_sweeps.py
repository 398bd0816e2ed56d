"""Plots the metric, D's mean outputs and verdicts by one setting, several sweeps side by side.

  python -m experiments.plot_sweeps --sweeps=runs/ring_sweep,runs/grid_sweep --by=k --output=k.png

Verdicts are those of the sweep (--referee), or of experiments.referee on the folders of its
members.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from gan_jax.config import resume_compatibility
from gan_jax.evaluation import tasks
from gan_jax.sweep import equal_compute, plots, results_table
from gan_jax.sweep.results_table import RankingMetric
from gan_jax.utils.errors import UserError

from . import command_line

_SWEEPS = flags.DEFINE_list('sweeps', None, 'Folders of sweeps, with commas between.')
_BY = flags.DEFINE_string('by', 'k', 'A setting that all sweeps vary.')
_DATA_DIR, _DATASET = command_line.define_data_flags()
_OUTPUT = flags.DEFINE_string('output', 'sweeps.png', 'File of the plot.')


def main(argv: list[str]) -> None:
  """Reads the results of all sweeps and writes the plot."""
  del argv
  if not _SWEEPS.value:
    raise UserError('--sweeps=: name at least one, as in --sweeps=runs/ring_sweep,runs/grid_sweep')
  panels = {}
  for folder in map(Path, _SWEEPS.value):
    rows = [
      row._replace(values=row.values | _verdict(row))
      for row in results_table.read_csv(folder, [_BY.value])
    ]
    config = resume_compatibility.config_from_json(equal_compute.read_sweep(folder)['flags'])
    if _DATASET.value:
      config = dataclasses.replace(config, dataset=_DATASET.value)
    task = tasks.load_task(config, command_line.cache_dir(), _DATA_DIR.value)
    metric = RankingMetric(*task.selection_metric)
    panels[config.dataset] = (rows, metric)
  plots.plot_side_by_side(Path(_OUTPUT.value), panels, _BY.value)
  print(f'  plot      {_OUTPUT.value}')


def _verdict(row: results_table.ResultRow) -> dict[str, str]:
  """Returns the verdict in a run's referee.json; nothing where the row has one, or the run has none."""
  verdict_file = Path(str(row.values.get('run', ''))) / 'referee.json'
  if row.values.get('verdict') or not verdict_file.exists():
    return {}
  return {'verdict': str(json.loads(verdict_file.read_text())['verdict'])}


if __name__ == '__main__':
  command_line.run_script(main)
