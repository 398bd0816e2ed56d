"""Measure a run as Goodfellow et al. (2014) did, beside floors and ceilings of the same procedure.

  python -m experiments.evaluate --run=runs/mnist

Prints the Parzen log-likelihood of raw and averaged weights, and writes it to the run's folder as
evaluation_SPLIT_STEP.json.
"""

import json
from pathlib import Path

from absl import flags

from experiments import launcher
from gan_jax import evaluate, restore
from gan_jax.data import default_data_dir, load
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
  data_dir = _DATA_DIR.value or trained.config.data_dir or default_data_dir()
  dataset = load(trained.config.dataset, data_dir)
  split, seed = _SPLIT.value, _SEED.value
  scores = evaluate.parzen_scores(trained.gan, trained.state, dataset, split, seed)
  references = evaluate.references(dataset, split, seed, cache=launcher.cache_dir())
  shares = evaluate.class_shares(trained.gan, trained.state, dataset, seed)
  protocol = evaluate.protocol(dataset, split, seed) | {'checkpoint': trained.step}
  print(evaluate.as_text(scores, references, shares, protocol))
  result = {
    'protocol': protocol,
    'parzen': evaluate.as_json(scores),
    'references': evaluate.as_json(references),
    'class_shares': shares,
  }
  path = folder / f'evaluation_{split}_{trained.step:08d}.json'
  write_atomically(path, (json.dumps(result, indent=2) + '\n').encode())


if __name__ == '__main__':
  launcher.run(main)
