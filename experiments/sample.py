"""Draws samples from a trained run: an array, a grid, a folder of images, or an interpolation.

  python -m experiments.sample --run=runs/mnist --num_samples=10000 --output=samples.npz
  python -m experiments.sample --run=runs/mnist --num_samples=100 --output=grid.png
  python -m experiments.sample --run=runs/mnist --num_samples=100 --output=pictures/
  python -m experiments.sample --run=runs/mnist --interpolate --output=walk.png

The name of the output selects the kind. An .npz holds `images`: uint8 [n, h, w, c], or float32
points.
"""

import io
from pathlib import Path

import numpy as np
from absl import flags

from gan_jax.evaluation import sample_grids, sampling
from gan_jax.gan.gan import Weights
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

from . import command_line

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_OUTPUT = flags.DEFINE_string('output', None, 'A file .npz or .png, or a folder.')
_NUM_SAMPLES = flags.DEFINE_integer('num_samples', 100, 'Number of samples.')
_WEIGHTS = flags.DEFINE_enum('weights', 'ema', ['ema', 'raw'], 'Averaged weights or the last ones.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_SEED = command_line.define_seed_flag('Seed of the latents.')
_INTERPOLATE = flags.DEFINE_bool('interpolate', False, 'Draw interpolations between latents.')

_GRID_LIMIT = 10_000  # samples


def main(argv: list[str]) -> None:
  """Draws the samples and writes them to --output."""
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
  """Writes samples of synthetic data, float32 [n, ...], to an .npz file."""
  if path.suffix != '.npz' or _INTERPOLATE.value:
    name = trained.config.dataset
    raise UserError(f'--output={path}: {name} has no images to draw; name an .npz for its points')
  latents = sampling.fixed_latents(trained.gan.latent, _SEED.value, _NUM_SAMPLES.value)
  _write_array(path, sampling.generate_samples(trained.gan, weights, latents))
  print(f'{path}: from step {trained.step} of {_RUN.value}')


def _checked_output() -> Path:
  """Returns the path of --output; raises UserError where it does not fit the other flags."""
  if not _OUTPUT.value:
    raise UserError('--output: name a file .npz or .png, or a folder')
  path, n = Path(_OUTPUT.value), _NUM_SAMPLES.value
  if path.suffix not in ('.npz', '.png', '') or (path.suffix and path.is_dir()):
    raise UserError(f'--output={path}: write a file .npz or .png, or a folder')
  if path.suffix == '.png' and n > _GRID_LIMIT:
    raise UserError(
      f'--num_samples={n}: a grid holds at most {_GRID_LIMIT} samples; name an .npz instead'
    )
  if _INTERPOLATE.value and path.suffix != '.png':
    raise UserError(f'--output={path}: --interpolate draws one image; name a .png')
  if path.is_dir() and any(path.iterdir()):
    raise UserError(f'--output={path}: the folder is not empty; name a new one')
  return path


def _write_array(path: Path, images: np.ndarray) -> None:
  file = io.BytesIO()
  np.savez(file, images=images)
  write_atomically(path, file.getvalue())


def _write_folder(folder: Path, images: np.ndarray) -> None:
  """Writes each image [h, w, c] to a PNG file."""
  for i, image in enumerate(images):
    sample_grids.save_png(folder / f'{i:06d}.png', image, scale=1)


if __name__ == '__main__':
  command_line.run_script(main)
