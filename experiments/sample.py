"""Draws samples from a trained run: an array, a grid, a folder of images, or an interpolation.

  python -m experiments.sample --run=runs/mnist --num_samples=10000 --output=samples.npz
  python -m experiments.sample --run=runs/mnist --num_samples=100 --output=grid.png
  python -m experiments.sample --run=runs/mnist --seeds=0-63 --output=pictures/
  python -m experiments.sample --run=runs/cats --class=tabby --truncation=0.7 --output=tabby.png
  python -m experiments.sample --run=runs/mnist --seeds=3,17,42 --interpolate --output=walk.webp

The name of the output selects the kind. An .npz holds `images`, uint8 [n, h, w, c], or float32
points; of a conditional run `labels` and `class_names`, too, which are folders in a folder.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from gan_jax.data.image_arrays import image_grid
from gan_jax.evaluation import class_choice, sample_grids, sampling
from gan_jax.gan.gan import Weights
from gan_jax.gan.latents import truncate_latents
from gan_jax.training import load_run
from gan_jax.training.load_run import LoadedRun
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

from . import command_line

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_OUTPUT = flags.DEFINE_string(
  'output', None, 'A file .npz or .png, or a folder; .webp or .gif with --interpolate.'
)
_NUM_SAMPLES = flags.DEFINE_integer('num_samples', 100, 'Number of samples.')
_WEIGHTS = flags.DEFINE_enum('weights', 'ema', ['ema', 'raw'], 'Averaged weights or the last ones.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_SEED = command_line.define_seed_flag('Seed of the latents.')
_SEEDS = flags.DEFINE_string('seeds', '', 'A sample of each seed, as 0-63 or 3,17,40-42.')
_CLASS = flags.DEFINE_string('class', '', 'Class of all samples, by its name or number.')
_CLASSES = flags.DEFINE_string(
  'classes', '', 'Classes of the samples, with commas; by default all.'
)
_FREQUENCIES = flags.DEFINE_enum(
  'frequencies', 'equal', class_choice.FREQUENCIES, 'How often each class occurs.'
)
_TRUNCATION = flags.DEFINE_float(
  'truncation', 0.0, 'Bound of normal latents: lower for likelier samples, 0 for none.'
)
_INTERPOLATE = flags.DEFINE_bool('interpolate', False, 'Draw interpolations between latents.')
_FRAMES = flags.DEFINE_integer('frames', 24, 'Frames between two latents of an animation.', 1, 1000)
_FPS = flags.DEFINE_float('fps', 24.0, 'Frames of an animation per second.', 0.1, 100)
_DATA_DIR, _DATASET = command_line.define_data_flags()

_GRID_LIMIT = 10_000  # samples
_ANIMATED = ('.webp', '.gif')
_COLUMNS = 12  # of a grid of interpolations


class _Labels(NamedTuple):
  """Holds the classes of samples, and the names of all classes."""

  of_samples: np.ndarray  # int32 [n]
  names: tuple[str, ...]


def main(argv: list[str]) -> None:
  """Draws the samples and writes them to --output."""
  del argv
  seeds = sampling.parse_seeds(_SEEDS.value) if _SEEDS.value else None
  if seeds and (_NUM_SAMPLES.present or _SEED.present):
    other = 'num_samples' if _NUM_SAMPLES.present else 'seed'
    raise UserError(
      f'--{other}: --seeds={_SEEDS.value} says which samples to draw; give one of the two'
    )
  n = len(seeds) if seeds else _NUM_SAMPLES.value
  path = _checked_output(n)
  if n < 1:
    raise UserError(f'--num_samples={n}: give a number of at least 1')
  if _RUN.value is None:
    raise UserError('--run: name the folder of a run')
  run = load_run.load_run(Path(_RUN.value), _CHECKPOINT.value)
  sampling.check_sample_memory(n, run.shape, run.gan.latent.size)
  weights = sampling.generator_weights(run.state, _WEIGHTS.value)
  labels = _choose_labels(run, n)
  if len(run.shape) != 3 and (path.suffix != '.npz' or _INTERPOLATE.value):
    name = run.config.dataset
    raise UserError(f'--output={path}: {name} has no images to draw; name an .npz for its points')
  path.parent.mkdir(parents=True, exist_ok=True)
  if _INTERPOLATE.value:
    _write_interpolation(path, run, weights, labels, seeds)
  else:
    _write_samples(path, run, weights, labels, seeds, n)
  print(f'{path}: from step {run.step} of {_RUN.value}')


def _choose_labels(run: LoadedRun, n: int) -> _Labels | None:
  """Returns the classes of n samples; None for an unconditional run, which takes no flag of classes."""
  given = [flag for flag in (_CLASS, _CLASSES) if flag.value]
  if len(given) > 1:
    raise UserError(
      f'--class={_CLASS.value}: --classes={_CLASSES.value} names others; give one of the two'
    )
  n_classes = run.gan.n_classes
  if not n_classes:
    for flag in (*given, *([_FREQUENCIES] if _FREQUENCIES.present else [])):
      raise UserError(
        f'--{flag.name}={flag.value}: {_RUN.value} was trained without --conditional and has no classes to '
        'choose from; leave it out'
      )
    return None
  names = run.class_names or tuple(map(str, range(n_classes)))
  classes: Sequence[int] = range(n_classes)
  if given:
    classes = class_choice.parse_classes(given[0].name, given[0].value, names, n_classes)
    if given[0] is _CLASS and len(classes) > 1:
      raise UserError(f'--class={_CLASS.value}: name one class, or several by --classes')
  counts: Sequence[int] | None = None
  if _FREQUENCIES.value == 'training':
    counts = run.class_counts or _counts_of_data(run)
  return _Labels(class_choice.class_labels(classes, n, counts), names)


def _counts_of_data(run: LoadedRun) -> tuple[int, ...]:
  """Returns the counts of the classes in the training data, for a run whose config.json lacks them."""
  cache = command_line.cache_dir()
  counts = load_run.load_run_data(run, cache, _DATA_DIR.value, _DATASET.value).class_counts
  return counts or (1,) * run.gan.n_classes  # stacked images: every combination is equally likely


def _latents(run: LoadedRun, seeds: Sequence[int] | None, n: int) -> jax.Array:
  """Returns the latents [n, size]: the first n of --seed, or the first of each of --seeds."""
  latent, bound = run.gan.latent, _TRUNCATION.value
  latents = (
    sampling.seed_latents(latent, seeds)
    if seeds
    else sampling.fixed_latents(latent, _SEED.value, n)
  )
  if not bound:
    return latents
  if not bound > 0:
    raise UserError(f'--truncation={bound}: give a number above 0, such as 0.7')
  if latent.name != 'normal':
    raise UserError(
      f'--truncation={bound}: it bounds normal latents, and this run has --latent={latent.name}; leave it out'
    )
  return truncate_latents(latents, bound)


def _write_samples(
  path: Path,
  run: LoadedRun,
  weights: Weights,
  labels: _Labels | None,
  seeds: Sequence[int] | None,
  n: int,
) -> None:
  """Writes samples to an .npz, a .png or a folder."""
  latents = _latents(run, seeds, n)
  classes = None if labels is None else jnp.asarray(labels.of_samples)
  generate = sampling.generate_images if len(run.shape) == 3 else sampling.generate_samples
  images = generate(run.gan, weights, latents, classes)
  if path.suffix == '.png':
    sample_grids.save_png(path, image_grid(images))
  elif path.suffix == '.npz':
    arrays: dict[str, Any] = {'images': images}
    if labels is not None:
      arrays |= {'labels': labels.of_samples, 'class_names': np.asarray(labels.names)}
    if seeds is not None:
      arrays['seeds'] = np.asarray(seeds)
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomically(path, file.getvalue())
  else:
    folders = class_choice.folder_names(labels.names) if labels is not None else []
    for i, image in enumerate(images):
      name = f'{i:06d}.png' if seeds is None else f'seed_{seeds[i]:06d}.png'
      folder = path if labels is None else path / folders[labels.of_samples[i]]
      sample_grids.save_png(folder / name, image, scale=1)


def _write_interpolation(
  path: Path,
  run: LoadedRun,
  weights: Weights,
  labels: _Labels | None,
  seeds: Sequence[int] | None,
) -> None:
  """Writes paths between latents: a grid with a row for each pair, or one animation through all of them."""
  animated, gan = path.suffix in _ANIMATED, run.gan
  chosen = seeds or _CLASS.value or _CLASSES.value or _TRUNCATION.value
  if not animated and not chosen:
    sample_grids.save_png(path, sample_grids.interpolation_grid(gan, weights, _SEED.value))
    return
  latents = _latents(run, seeds, 5 if animated else 10)
  if len(latents) < 2:
    raise UserError(f'--seeds={_SEEDS.value}: an interpolation needs at least two seeds')
  steps = _FRAMES.value if animated else _COLUMNS
  points = sample_grids.latent_path(gan.latent, latents, steps)
  sampling.check_sample_memory(len(points), run.shape, gan.latent.size)
  one_class = None if labels is None else jnp.full(len(points), labels.of_samples[0])
  images = sampling.generate_images(gan, weights, points, one_class)
  if animated:
    sample_grids.save_animation(path, images, _FPS.value)
    return
  # A row ends at the latent at which the next begins.
  rows = [images[i : i + steps + 1] for i in range(0, len(images) - 1, steps)]
  sample_grids.save_png(path, image_grid(np.concatenate(rows), steps + 1))


def _checked_output(n: int) -> Path:
  """Returns the path of --output; raises UserError where it does not fit the other flags."""
  if not _OUTPUT.value:
    raise UserError('--output: name a file .npz or .png, or a folder')
  path = Path(_OUTPUT.value)
  if path.suffix in _ANIMATED and not _INTERPOLATE.value:
    raise UserError(f'--output={path}: an animation shows interpolations; add --interpolate')
  if path.suffix not in ('.npz', '.png', '', *_ANIMATED) or (path.suffix and path.is_dir()):
    raise UserError(f'--output={path}: write a file .npz or .png, or a folder')
  if path.suffix == '.png' and n > _GRID_LIMIT:
    raise UserError(
      f'--num_samples={n}: a grid holds at most {_GRID_LIMIT} samples; name an .npz instead'
    )
  if _INTERPOLATE.value and path.suffix not in ('.png', *_ANIMATED):
    raise UserError(f'--output={path}: --interpolate draws one image; name a .png, .webp or .gif')
  if path.is_dir() and any(path.iterdir()):
    raise UserError(f'--output={path}: the folder is not empty; name a new one')
  return path


if __name__ == '__main__':
  command_line.run_script(main)
