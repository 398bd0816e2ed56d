"""The differentiable augmentations of Zhao et al. (2020), each of one image [h, w, c] in [-1, 1]."""

import jax
import jax.numpy as jnp
from jax import lax


def brightness(key: jax.Array, image: jax.Array) -> jax.Array:
  """A constant of U(-1/2, 1/2) added to every pixel; the first of three of the published 'color'."""
  return image + jax.random.uniform(key, minval=-0.5, maxval=0.5)


def saturation(key: jax.Array, image: jax.Array) -> jax.Array:
  """The distance of each pixel [c] to its grey scaled by U(0, 2); an image of one channel as it is."""
  if image.shape[-1] == 1:
    return image
  grey = grey_of(image)
  return grey + jax.random.uniform(key, maxval=2.0) * (image - grey)


def contrast(key: jax.Array, image: jax.Array) -> jax.Array:
  """The distance of each value to the mean of the whole image scaled by U(1/2, 3/2)."""
  mean = image.mean(keepdims=True)
  return mean + jax.random.uniform(key, minval=0.5, maxval=1.5) * (image - mean)


def grey_of(image: jax.Array) -> jax.Array:
  """The mean of each pixel's channels, in all of them [h, w, c]; rolls cost a CPU far less than `mean`."""
  c = image.shape[-1]
  return sum((jnp.roll(image, i, axis=-1) for i in range(1, c)), start=image) / c


def translation(key: jax.Array, image: jax.Array) -> jax.Array:
  """A shift by whole pixels, up to 1/8 of the size either way; what comes in is 0, the mid-grey."""
  h, w, c = image.shape
  reach = _share(h, 8), _share(w, 8)
  padded = jnp.pad(image, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)))
  row, column = (
    _below(u, 2 * most + 1) for u, most in zip(jax.random.uniform(key, (2,)), reach, strict=True)
  )
  return lax.dynamic_slice(padded, (row, column, 0), (h, w, c))


def cutout(key: jax.Array, image: jax.Array) -> jax.Array:
  """A window of half the size, centred anywhere and so partly outside, set to 0, the mid-grey."""
  u, v = jax.random.uniform(key, (2,))
  rows, columns = _window(u, image.shape[0]), _window(v, image.shape[1])
  return jnp.where((rows[:, None] & columns[None, :])[..., None], 0.0, image)


def _window(u: jax.Array, size: int) -> jax.Array:
  """Whether each of `size` positions lies in a window of half of them, bool [size]; u of U(0, 1)."""
  half = _share(size, 2)
  first = _below(u, size + 1 - half % 2) - half // 2
  positions = jnp.arange(size)
  return (first <= positions) & (positions < first + half)


def _below(u: jax.Array, n: int) -> jax.Array:
  """One of 0, ..., n - 1, each alike, from u of U(0, 1); `randint` would draw three times as much."""
  return jnp.floor(n * u).astype(jnp.int32)


def _share(size: int, part: int) -> int:
  """1/part of `size` pixels, halves rounded up."""
  return int(size / part + 0.5)
