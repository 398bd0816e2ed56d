"""Scores a run's generator beside references scored by the same procedure.

  python -m experiments.evaluate --run=runs/mnist

Prints the scores of the last and of the averaged weights (images: Parzen log-likelihood as in 2014
and Frechet distance; synthetic data: exact scores), and writes them to evaluation_SPLIT_STEP.json
and report.html in the run's folder. Weights of Inception-v3 (--inception) add scores in its
features.
"""

import json
from pathlib import Path

from absl import flags

from gan_jax.evaluation import feature_networks
from gan_jax.evaluation.feature_networks import FEATURE_NETWORKS, FeatureNetwork
from gan_jax.evaluation.tasks import Task, external_features
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.training import load_run, report as report_lib
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

from . import command_line

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_SPLIT = flags.DEFINE_enum(
  'split', 'test', ['test', 'validation'], 'Held-out examples to compare with.'
)
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_SEED = command_line.define_seed_flag('Seed of the samples and of the references.')
_DATA_DIR, _DATASET = command_line.define_data_flags()
_WEIGHTS = {
  name: flags.DEFINE_string(
    name, '', f'Weights of {name} (.safetensors, .npz), or "no"; else ${"GAN_JAX_" + name.upper()}.'
  )
  for name in FEATURE_NETWORKS
}
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples',
  external_features.N_SAMPLES,
  'Largest number of samples and images for Inception features.',
  2,
)
_AGAINST = flags.DEFINE_enum(
  'against',
  'held_out',
  external_features.REFERENCE_SPLITS,
  'Real images to compare with in Inception features.',
)


def main(argv: list[str]) -> None:
  """Prints the scores and writes them to the run's folder."""
  del argv
  if _RUN.value is None:
    raise UserError('--run: name the folder of a run')
  folder, cache = Path(_RUN.value), command_line.cache_dir()
  trained = load_run.load_run(folder, _CHECKPOINT.value)
  task = load_run.load_run_data(trained, cache, _DATA_DIR.value, _DATASET.value)
  networks = _networks(task, cache)
  split, seed = _SPLIT.value, _SEED.value
  report = task.full_report(trained.gan, trained.state, split, seed)
  print(f'{folder}, checkpoint {trained.step}\n{report.text}', flush=True)
  result = report.values | {'checkpoint': trained.step}
  settings = (split, seed, _NUM_SAMPLES.value, _AGAINST.value, cache)
  for network in networks:
    assert isinstance(task, ImageTask)
    extra = external_features.external_report(task, network, trained.gan, trained.state, *settings)
    print(extra.text)
    result[network.name] = extra.values
  path = folder / f'evaluation_{split}_{trained.step:08d}.json'
  write_atomically(path, (json.dumps(result, indent=2) + '\n').encode())
  report_lib.write_run_page(folder)
  print(f'  verdict    {command_line.shell_command("referee", f"--run={folder}")}')


def _networks(task: Task, cache: Path) -> list[FeatureNetwork]:
  """Loads the pretrained networks with given weights; raises UserError where the task has no images."""
  if isinstance(task, ImageTask):
    networks = (
      feature_networks.load_feature_network(name, flag.value, cache)
      for name, flag in _WEIGHTS.items()
    )
    return [network for network in networks if network is not None]
  for name, flag in _WEIGHTS.items():
    if flag.value not in ('', feature_networks.DISABLED):
      raise UserError(f'--{name}: {task.name} is synthetic and has no images; leave it out')
  return []


if __name__ == '__main__':
  command_line.run_script(main)
