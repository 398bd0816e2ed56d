"""Draw samples from a trained run: an array, a grid, a folder of pictures, or an interpolation.

  python -m experiments.sample --run=runs/mnist --num_samples=10000 --output=samples.npz
  python -m experiments.sample --run=runs/mnist --num_samples=100 --output=grid.png
  python -m experiments.sample --run=runs/mnist --num_samples=100 --output=pictures/
  python -m experiments.sample --run=runs/mnist --interpolate --output=walk.png

The name of the output says which: .npz holds `images`, uint8 [n, h, w, c], or the points of a game.
"""

import os
from pathlib import Path

import numpy as np
from absl import flags

from experiments import launcher
from gan_jax.evaluation import sample_grids, sampling
from gan_jax.gan.gan import Weights
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_OUTPUT = flags.DEFINE_string('output', None, 'A file .npz or .png, or a folder.')
_NUM_SAMPLES = flags.DEFINE_integer('num_samples', 100, 'How many samples.')
_WEIGHTS = flags.DEFINE_enum(
  'weights', 'ema', ['ema', 'raw'], 'Moving average of G, or its last weights.'
)
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_SEED = launcher.define_seed('Seed of the latents.')
_INTERPOLATE = flags.DEFINE_bool('interpolate', False, 'Walk between latents instead.')

_GRID_LIMIT = 10_000  # more do not make a picture


def main(argv: list[str]) -> None:
  """Draw and write."""
  del argv
  n, seed = _NUM_SAMPLES.value, _SEED.value
  path = _checked_output()
  if n < 1:
    raise UserError(f'--num_samples={n}: give a number of at least 1')
  if _RUN.value is None:
    raise UserError('--run: name the folder of a run')
  trained = load_run.load_run(Path(_RUN.value), _CHECKPOINT.value)
  gan = trained.gan
  sampling.check_sample_memory(n, trained.shape, gan.latent.size)
  weights = sampling.generator_weights(trained.state, _WEIGHTS.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  if len(trained.shape) != 3:
    _write_points(path, trained, weights)
    return
  if _INTERPOLATE.value:
    sample_grids.save_png(path, sample_grids.interpolation_grid(gan, weights, seed))
  elif path.suffix == '.png':
    sample_grids.save_png(path, sample_grids.sample_grid(gan, weights, seed, n))
  else:
    images = sampling.generate_images(gan, weights, sampling.fixed_latents(gan.latent, seed, n))
    (_write_array if path.suffix == '.npz' else _write_folder)(path, images)
  print(f'{path}: from step {trained.step} of {_RUN.value}')


def _write_points(path: Path, trained: load_run.LoadedRun, weights: Weights) -> None:
  """Write samples of a game, float32 [n, ...]."""
  if path.suffix != '.npz' or _INTERPOLATE.value:
    game = trained.config.dataset
    raise UserError(f'--output={path}: {game} has no images to draw; name an .npz for its points')
  latents = sampling.fixed_latents(trained.gan.latent, _SEED.value, _NUM_SAMPLES.value)
  _write_array(path, sampling.generate_samples(trained.gan, weights, latents))
  print(f'{path}: from step {trained.step} of {_RUN.value}')


def _checked_output() -> Path:
  """The path to write to; raises UserError for flags that do not fit together."""
  if not _OUTPUT.value:
    raise UserError('--output: name a file .npz or .png, or a folder')
  path, n = Path(_OUTPUT.value), _NUM_SAMPLES.value
  if path.suffix not in ('.npz', '.png', '') or (path.suffix and path.is_dir()):
    raise UserError(f'--output={path}: write a file .npz or .png, or a folder')
  if path.suffix == '.png' and n > _GRID_LIMIT:
    raise UserError(f'--num_samples={n}: a grid takes up to {_GRID_LIMIT}; write an .npz instead')
  if _INTERPOLATE.value and path.suffix != '.png':
    raise UserError(f'--output={path}: --interpolate draws a picture; name a .png')
  if path.is_dir() and any(path.iterdir()):
    raise UserError(f'--output={path}: this folder is not empty; name a new one')
  return path


def _write_array(path: Path, images: np.ndarray) -> None:
  """Write an .npz of `images`, whole or not at all."""
  temporary = path.with_name(f'.{os.getpid()}.{path.name}')
  try:
    np.savez(temporary, images=images)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def _write_folder(folder: Path, images: np.ndarray) -> None:
  """Write each image as a PNG of its own."""
  for i, image in enumerate(images):
    sample_grids.save_png(folder / f'{i:06d}.png', image, scale=1)


if __name__ == '__main__':
  launcher.run(main)
