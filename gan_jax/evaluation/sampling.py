"""Samples from a trained generator: many at a time, in a fixed order."""

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import image_arrays as images_lib
from gan_jax.distributed import device_memory
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import latents as latents_lib
from gan_jax.gan.gan import Gan, GanState, sample
from gan_jax.gan.latents import Latent
from gan_jax.gan.player import Weights
from gan_jax.utils.errors import UserError

_BATCH = 1000
STREAM = 0x5A17  # keeps samples apart from everything that training draws from the same seed


def weights(state: GanState, which: str) -> Weights:
  """The generator's weights: 'ema' for their moving average, 'raw' for the last ones."""
  return {'ema': state.g_ema, 'raw': state.g.weights}[which]


def fixed_latents(latent: Latent, seed: int, n: int) -> jax.Array:
  """The first n latents [n, size] of `seed`: the same ones in every picture and every evaluation."""
  key = jax.random.fold_in(jax.random.key(seed), STREAM)
  return latents_lib.sample(latent, example_keys(key, n, None))


def batches(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> Iterator[jax.Array]:
  """Samples [n, ...] of `latents` [n, size] as G makes them, a batch at a time to bound the memory.

  A conditional generator is asked for `labels` [n], without them for every class in turn.
  """
  if gan.n_classes and labels is None:
    labels = jnp.arange(latents.shape[0]) % gan.n_classes
  step = _generator(gan)
  n, size = latents.shape[0], min(_BATCH, latents.shape[0])
  for start in range(0, n, size):
    batch = latents[start : start + size]
    # One shape, one compilation: the last batch is filled up and cut.
    missing = size - batch.shape[0]
    filled = jnp.pad(batch, ((0, missing), (0, 0)))
    asked = None if labels is None else jnp.pad(labels[start : start + size], (0, missing))
    yield step(weights, filled, asked)[: batch.shape[0]]


def labels_like(labels: np.ndarray, n: int, stack: int = 1, n_labels: int = 0) -> jax.Array:
  """Classes [n] as frequent as those in `labels` [m], always the same ones; of stacks those of n stacks.

  Samples of classes in turn would differ from unbalanced data, however good the generator is.
  """
  indices = jax.random.randint(jax.random.key(0), (stack, n), 0, len(labels))
  return images_lib.stack_labels(jnp.asarray(labels, jnp.int32), indices, n_labels)


@functools.lru_cache(maxsize=8)
def _generator(gan: Gan) -> Callable[..., jax.Array]:
  return jax.jit(functools.partial(sample, gan))


def points(gan: Gan, weights: Weights, latents: jax.Array) -> np.ndarray:
  """Samples float32 [n, ...] of `latents` [n, size], as G makes them."""
  return np.concatenate([np.asarray(x) for x in batches(gan, weights, latents)])


def paint(
  gan: Gan, weights: Weights, latents: jax.Array, labels: jax.Array | None = None
) -> np.ndarray:
  """Images uint8 [n, h, w, c] of `latents` [n, size]; labels as in `batches`."""
  parts = [np.asarray(to_uint8(x, gan.contrast)) for x in batches(gan, weights, latents, labels)]
  return np.concatenate(parts)


def to_uint8(images: jax.Array, contrast: float) -> jax.Array:
  """What G makes, as pictures uint8 [n, h, w, c]; `contrast` as in `Gan`."""
  if contrast:  # its mean and contrast are lost: take those of a common photograph
    return images_lib.to_uint8(images * (64 / 127.5))
  return images_lib.to_uint8(images)


def repaint(pictures: np.ndarray, contrast: float) -> np.ndarray:
  """Real pictures, uint8 [n, h, w, c], as G would paint them had it learned them at this `contrast`."""
  painted = np.empty_like(pictures)
  for start in range(0, len(pictures), _BATCH):
    part = jnp.asarray(pictures[start : start + _BATCH])
    normalized = images_lib.global_contrast_normalize(part, contrast)
    painted[start : start + _BATCH] = to_uint8(normalized, contrast)
  return painted


def check_memory(n: int, shape: tuple[int, ...], latent_size: int) -> None:
  """Raise UserError where n examples of `shape` and their latents do not fit into this machine's memory."""
  per_sample = 8 * math.prod(shape) + 12 * latent_size  # bytes: float32 twice at most, and keys
  free = device_memory.available()
  if n * per_sample > free:
    raise UserError(
      f'--num_samples={n}: they need {n * per_sample / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are '
      f'free; ask for at most {free // per_sample} at a time, each with another --seed'
    )
