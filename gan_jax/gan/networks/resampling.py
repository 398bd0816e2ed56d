"""Doubles and halves the height and width of images [n, h, w, c]."""

import jax.numpy as jnp
from jax import Array, lax


def downsample_mean(x: Array) -> Array:
  """Returns the mean of each 2x2 block: [n, h, w, c] to [n, h/2, w/2, c]."""
  n, h, w, c = x.shape
  return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def upsample_nearest(x: Array) -> Array:
  """Repeats each pixel in a 2x2 block: [n, h, w, c] to [n, 2h, 2w, c]."""
  n, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c))
  return x.reshape(n, 2 * h, 2 * w, c)


def upsample_bilinear(x: Array) -> Array:
  """Weighs the two nearest pixels per axis by 3/4 and 1/4: [n, h, w, c] to [n, 2h, 2w, c]."""
  for axis in (1, 2):
    n = x.shape[axis]
    before = jnp.concatenate([_slice(x, axis, 0, 1), _slice(x, axis, 0, n - 1)], axis)
    after = jnp.concatenate([_slice(x, axis, 1, n), _slice(x, axis, n - 1, n)], axis)
    both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    x = both.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
  return x


def downsample_bilinear(x: Array) -> Array:
  """Filters with (1, 3, 3, 1) / 8 per axis, the transpose of `upsample_bilinear` but for the edges.

  Maps [n, h, w, c] to [n, h/2, w/2, c].
  """
  for axis in (1, 2):
    n = x.shape[axis]
    edges = [(0, 0)] * 4
    edges[axis] = (1, 1)
    x = jnp.pad(x, edges, mode='edge')
    taps = [
      lax.slice_in_dim(x, i, i + n - 1, stride=2, axis=axis) * weight
      for i, weight in enumerate((0.125, 0.375, 0.375, 0.125))
    ]
    x = taps[0] + taps[1] + taps[2] + taps[3]
  return x


def _slice(x: Array, axis: int, start: int, stop: int) -> Array:
  return lax.slice_in_dim(x, start, stop, axis=axis)
