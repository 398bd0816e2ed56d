"""Measure a run beside floors and ceilings of the same procedure.

  python -m experiments.evaluate --run=runs/mnist

Prints what is known of raw and averaged weights (images: Parzen log-likelihood as in 2014, Frechet
distance; games: their oracle) and writes it to the run's folder as evaluation_SPLIT_STEP.json, and
into the page of the run, report.html.
"""

import json
from pathlib import Path

from absl import flags

from experiments import launcher
from gan_jax import report as report_lib
from gan_jax import restore, tasks
from gan_jax.errors import UserError
from gan_jax.runs import write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_SPLIT = flags.DEFINE_enum('split', 'test', ['test', 'validation'], 'Held-out images to score.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_SEED = launcher.define_seed('Seed of the samples and of the references.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', "Where prepared data lie; by default the run's.")


def main(argv: list[str]) -> None:
  """Measure, print, write."""
  del argv
  if _RUN.value is None:
    raise UserError('--run: name the folder of a run')
  folder = Path(_RUN.value)
  trained = restore.open_run(folder, _CHECKPOINT.value)
  task = tasks.open_task(trained.config, launcher.cache_dir(), _DATA_DIR.value)
  split, seed = _SPLIT.value, _SEED.value
  report = task.report(trained.gan, trained.state, split, seed)
  print(f'{folder}, checkpoint {trained.step}\n{report.text}')
  result = report.values | {'checkpoint': trained.step}
  path = folder / f'evaluation_{split}_{trained.step:08d}.json'
  write_atomically(path, (json.dumps(result, indent=2) + '\n').encode())
  report_lib.write(folder)


if __name__ == '__main__':
  launcher.run(main)
