"""Defines the differentiable augmentations of Zhao et al. (2020), of one image [h, w, c] in [-1, 1]."""

import jax
import jax.numpy as jnp
from jax import Array, lax


def brightness(key: Array, image: Array) -> Array:
  """Adds one number of U(-1/2, 1/2) to all values; 'color' in the paper is this, saturation and contrast."""
  return image + jax.random.uniform(key, minval=-0.5, maxval=0.5)


def saturation(key: Array, image: Array) -> Array:
  """Scales the difference of each pixel [c] from its grey by U(0, 2); leaves one-channel images unchanged."""
  if image.shape[-1] == 1:
    return image
  grey = channel_means(image)
  return grey + jax.random.uniform(key, maxval=2.0) * (image - grey)


def contrast(key: Array, image: Array) -> Array:
  """Scales the difference of each value from the image's mean by U(1/2, 3/2)."""
  mean = image.mean(keepdims=True)
  return mean + jax.random.uniform(key, minval=0.5, maxval=1.5) * (image - mean)


def channel_means(image: Array) -> Array:
  """Returns each pixel's mean over channels, in every channel [h, w, c]; rolls are faster on a CPU."""
  c = image.shape[-1]
  return sum((jnp.roll(image, i, axis=-1) for i in range(1, c)), start=image) / c


def translation(key: Array, image: Array) -> Array:
  """Shifts by whole pixels, up to 1/8 of the size in each direction, and fills with 0, the mid-grey."""
  h, w, c = image.shape
  most = _rounded_fraction(h, 8), _rounded_fraction(w, 8)
  padded = jnp.pad(image, ((most[0],) * 2, (most[1],) * 2, (0, 0)))
  row, column = (
    _integer_below(2 * m + 1, u) for u, m in zip(jax.random.uniform(key, (2,)), most, strict=True)
  )
  return lax.dynamic_slice(padded, (row, column, 0), (h, w, c))


def cutout(key: Array, image: Array) -> Array:
  """Sets a window of half the size, centred on any pixel and cut by the border, to 0, the mid-grey."""
  u, v = jax.random.uniform(key, (2,))
  rows, columns = _window(u, image.shape[0]), _window(v, image.shape[1])
  return jnp.where((rows[:, None] & columns[None, :])[..., None], 0.0, image)


def _window(u: Array, size: int) -> Array:
  """Returns the mask [size] of a window of half of `size` positions, placed by u of U(0, 1)."""
  half = _rounded_fraction(size, 2)
  first = _integer_below(size + 1 - half % 2, u) - half // 2
  positions = jnp.arange(size)
  return (first <= positions) & (positions < first + half)


def _integer_below(n: int, u: Array) -> Array:
  """Returns a uniform integer in [0, n) from u of U(0, 1); `randint` would draw three times as many bits."""
  return jnp.floor(n * u).astype(jnp.int32)


def _rounded_fraction(size: int, divisor: int) -> int:
  """Returns size / divisor, rounded with halves up."""
  return int(size / divisor + 0.5)
