"""What one setting does in several sweeps: quality, balance and verdicts, side by side.

  python -m experiments.plot_sweeps --sweeps=runs/ring_sweep,runs/grid_sweep --by=k --output=k.png

Verdicts are those of the sweep (--referee), or of members that the referee judged by their folders.
"""

import json
from pathlib import Path

from absl import flags

from experiments import launcher
from gan_jax.config.config import Config
from gan_jax.evaluation import tasks
from gan_jax.sweep import plots, results_table
from gan_jax.sweep.results_table import Ranked
from gan_jax.utils.errors import UserError

_SWEEPS = flags.DEFINE_list('sweeps', None, 'Folders of sweeps, by commas.')
_BY = flags.DEFINE_string('by', 'k', 'The setting that all of them swept.')
_OUTPUT = flags.DEFINE_string('output', 'sweeps.png', 'Where the picture goes.')


def main(argv: list[str]) -> None:
  """Read, draw."""
  del argv
  if not _SWEEPS.value:
    raise UserError('--sweeps=: name at least one, as in --sweeps=runs/ring_sweep,runs/grid_sweep')
  panels = {}
  for folder in map(Path, _SWEEPS.value):
    rows = [
      row._replace(values=row.values | _verdict(row))
      for row in results_table.read(folder, [_BY.value])
    ]
    try:
      config = Config(**json.loads((folder / 'sweep.json').read_text())['flags'])
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise UserError(f'--sweeps={folder}: sweep.json cannot be read ({error!r})') from error
    ranked = Ranked(*tasks.load_task(config, launcher.cache_dir()).selection_metric)
    panels[config.dataset] = (rows, ranked)
  plots.side_by_side(Path(_OUTPUT.value), panels, _BY.value)
  print(f'  plot      {_OUTPUT.value}')


def _verdict(row: results_table.Row) -> dict[str, str]:
  judged = Path(str(row.values.get('run', ''))) / 'referee.json'
  if row.values.get('verdict') or not judged.exists():
    return {}
  return {'verdict': str(json.loads(judged.read_text())['verdict'])}


if __name__ == '__main__':
  launcher.run(main)
