"""Draws samples from a trained generator in batches, from latents that depend on the seed alone."""

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset, image_arrays as images_lib
from gan_jax.data.dataset import from_arrays
from gan_jax.distributed import device_memory
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan.gan import Gan, GanState, Weights, sample
from gan_jax.gan.latents import Latent, sample_latents
from gan_jax.utils.errors import UserError

N_SAMPLES = 10_000  # samples that an evaluation scores, as Goodfellow et al. (2014)
SAMPLING_STREAM = 0x5A17  # folded into the seed, so that no latent of training is drawn again
_BATCH = 1000
_MAX_SEEDS = 100_000


def generator_weights(state: GanState, which: str) -> Weights:
  """Returns the generator's weights: 'ema' for their moving average, 'raw' for the last iterate."""
  return {'ema': state.g_ema, 'raw': state.g.weights}[which]


def fixed_latents(latent: Latent, seed: int, n: int) -> jax.Array:
  """Returns the first n latents [n, size] of `seed`, the same in every picture and evaluation."""
  key = jax.random.fold_in(jax.random.key(seed), SAMPLING_STREAM)
  return sample_latents(latent, example_keys(key, n, None))


def seed_latents(latent: Latent, seeds: Sequence[int]) -> jax.Array:
  """Returns the first latent of each seed, [n, size], so that each sample can be drawn again alone."""
  first = lambda seed: fixed_latents(latent, seed, 1)[0]
  return jax.vmap(first)(jnp.asarray(seeds, jnp.uint32))


def parse_seeds(text: str) -> list[int]:
  """Returns the seeds that a text such as '0-63' or '3,17,40-42' lists; raises UserError."""
  seeds: list[int] = []
  for part in text.split(','):
    match = re.fullmatch(r'\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?', part, re.ASCII)
    if not match:
      raise UserError(f'--seeds={text}: write seeds as 0-63, or as 3,17,40-42')
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < 2**31:
      raise UserError(
        f'--seeds={text}: give seeds from 0 to {2**31 - 1}, the lower end of a range first'
      )
    if len(seeds) + last - first >= _MAX_SEEDS:
      raise UserError(f'--seeds={text}: give at most {_MAX_SEEDS:,} seeds')
    seeds.extend(range(first, last + 1))
  return seeds


def generate_batches(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> Iterator[jax.Array]:
  """Yields samples float32 [batch, ...] of `latents` [n, size], a batch at a time to bound the memory.

  A conditional generator gets `labels` [n]; without labels, sample i is of class i modulo the number
  of classes.
  """
  if gan.n_classes and labels is None:
    labels = jnp.arange(latents.shape[0]) % gan.n_classes
  size = min(_BATCH, len(latents))
  for start in range(0, len(latents), size):
    batch = latents[start : start + size]
    # The last batch is padded and its outputs cut, so that one program serves all batches.
    missing = size - len(batch)
    classes = None if labels is None else jnp.pad(labels[start : start + size], (0, missing))
    padded = jnp.pad(batch, ((0, missing), (0, 0)))
    yield _compiled_generator(gan)(weights, padded, classes)[: len(batch)]


def sample_labels_like(labels: np.ndarray, n: int, stack: int = 1, n_labels: int = 0) -> jax.Array:
  """Draws n class labels, int32 [n], with the class frequencies of `labels` [m]; always the same n.

  With `stack` above 1 each result combines that many labels, each one of `n_labels`, as stacked images
  do. Samples of all classes in turn would differ from unbalanced data however good the generator is.
  """
  indices = jax.random.randint(jax.random.key(0), (stack, n), 0, len(labels))
  return images_lib.stack_labels(jnp.asarray(labels, jnp.int32), indices, n_labels)


@functools.lru_cache(maxsize=8)
def _compiled_generator(gan: Gan) -> Callable[..., jax.Array]:
  return jax.jit(functools.partial(sample, gan))


def generate_samples(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> np.ndarray:
  """Returns the generator's outputs float32 [n, ...] for `latents` [n, size]: points, or images in [-1, 1]."""
  return np.concatenate([np.asarray(x) for x in generate_batches(gan, weights, latents, labels)])


def generate_images(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> np.ndarray:
  """Returns generated images uint8 [n, h, w, c] of `latents` [n, size]; labels as in `generate_batches`."""
  batches = generate_batches(gan, weights, latents, labels)
  return np.concatenate([np.asarray(to_uint8_images(x, gan.contrast)) for x in batches])


class GeneratedSamples(NamedTuple):
  """Holds samples of one set of generator weights, as images and the first of them as rows."""

  unit_rows: np.ndarray  # float32 [n_rows, h w c] in [0, 1]
  images: np.ndarray  # uint8 [n, h, w, c]


def draw_samples(
  gan: Gan,
  state: GanState,
  seed: int,
  n: int = N_SAMPLES,
  n_rows: int = N_SAMPLES,
  labels: jax.Array | None = None,
) -> dict[str, GeneratedSamples]:
  """Draws the first n samples of `seed` from the 'raw' and from the 'ema' generator weights, of equal latents.

  The first `n_rows` are returned as float32 rows too; beside these at most one batch is held in float32.
  `labels` are classes [n] as in `generate_batches`.
  """
  latents = fixed_latents(gan.latent, seed, n)
  drawn = {}
  for which in ('raw', 'ema'):
    rows, images, missing = [], [], n_rows
    for x in generate_batches(gan, generator_weights(state, which), latents, labels):
      batch = np.asarray(to_uint8_images(x, gan.contrast))
      images.append(batch)
      if missing > 0:
        part = to_unit_rows(batch[:missing]) if gan.contrast else (x[:missing] + 1) / 2
        rows.append(np.asarray(part).reshape(len(part), -1))
        missing -= len(part)
    unit_rows = np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    drawn[which] = GeneratedSamples(unit_rows, np.concatenate(images))
  return drawn


def to_unit_rows(images: np.ndarray) -> jax.Array:
  """Flattens images uint8 [n, h, w, c] to float32 rows [n, h w c] in [0, 1]."""
  return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255


def to_uint8_images(images: jax.Array, contrast: float) -> jax.Array:
  """Converts generator outputs to images uint8 [n, h, w, c].

  With `contrast` above 0 the generator learned images without mean and contrast (`Gan.contrast`): the
  outputs get those of a common photograph.
  """
  return images_lib.float_to_uint8(images * (64 / 127.5) if contrast else images)


def renormalize_images(images: np.ndarray, contrast: float) -> np.ndarray:
  """Removes mean and contrast of real images uint8 [n, h, w, c], then converts them as generated ones.

  The result is what a perfect generator trained at this `contrast` draws.
  """
  converted = np.empty_like(images)
  for start in range(0, len(images), _BATCH):
    rows = slice(start, start + _BATCH)
    part = images_lib.global_contrast_normalize(jnp.asarray(images[rows]), contrast)
    converted[rows] = to_uint8_images(part, contrast)
  return converted


def renormalize_dataset(dataset: Dataset, contrast: float) -> Dataset:
  """Returns a copy of `dataset` with the images of all splits passed through `renormalize_images`."""
  arrays = dataset.arrays()
  for split in ('train', 'validation', 'test'):
    arrays[split] = renormalize_images(arrays[split], contrast)
  return from_arrays(dataset.name, arrays, dataset.stack)


def check_sample_memory(n: int, shape: tuple[int, ...], latent_size: int) -> None:
  """Raises UserError where n examples of `shape` and their latents exceed this machine's free memory."""
  per_sample = 8 * math.prod(shape) + 12 * latent_size  # bytes: float32 twice at most, and keys
  free = device_memory.available_host_bytes()
  if n * per_sample > free:
    raise UserError(
      f'--num_samples={n}: needs {n * per_sample / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are '
      f'free; draw at most {free // per_sample} at a time, each time with another --seed'
    )
