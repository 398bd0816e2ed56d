"""Finds nearest neighbours by Euclidean distance, streaming over tiles of rows to bound memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE_ROWS = 128  # queries per tile, compared with all references: near the size of a CPU's cache
_TILE_REFERENCES = 1000  # references per tile of `nearest_neighbour`
_TILE_VALUES = 2**24  # values per tile of images: 64 MiB as float32
_MAX_DIRECT_DIMS = 16  # dimensions up to which differences cost little more than products
_N_GROUPS = 32  # rows of `kth_smallest`'s array: its columns are the groups
_Pair = tuple[jax.Array, jax.Array]


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns |a_i - b_j|^2 for rows of a [n, d] and b [m, d]: [n, m].

  In up to 16 dimensions from differences, exact for close points. Above, from products of rows, with an error
  of about 1e-7 |a_i|^2: callers should centre the data first.
  """
  if a.shape[1] <= _MAX_DIRECT_DIMS:
    differences = (a[:, i, None] - b[None, :, i] for i in range(a.shape[1]))
    return functools.reduce(jnp.add, (x**2 for x in differences))
  products = jnp.matmul(a, b.T, precision='highest')
  squares = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None] - 2 * products
  return jnp.maximum(squares, 0)


@jax.jit
def nearest_neighbour(queries: jax.Array, references: jax.Array) -> _Pair:
  """Returns the index of the nearest of references [m, d] to each query [n, d], and the distance: [n], [n]."""
  origin = references.mean(axis=0, keepdims=True)
  queries, references = queries - origin, references - origin
  m, d = references.shape
  tile_size = min(_TILE_REFERENCES, m)
  padded = jnp.pad(references, ((0, -m % tile_size), (0, 0)), constant_values=1e6)
  tiles = padded.reshape(-1, tile_size, d)

  def visit(best: _Pair, tile: _Pair) -> tuple[_Pair, None]:
    first, rows = tile
    squares = squared_distances(queries, rows)
    index = squares.argmin(axis=1)
    square = jnp.take_along_axis(squares, index[:, None], axis=1)[:, 0]
    nearer = square < best[1]
    return (jnp.where(nearer, first + index, best[0]), jnp.where(nearer, square, best[1])), None

  start = (jnp.zeros(len(queries), jnp.int32), jnp.full(len(queries), jnp.inf))
  (index, _), _ = lax.scan(visit, start, (jnp.arange(len(tiles)) * tile_size, tiles))
  # From the difference, so that a copy is at distance 0 in spite of rounding.
  return index, jnp.linalg.norm(queries - references[index], axis=1)


def nearest_image(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
  """Returns the index of the nearest of `references`, uint8 [m, ...], to each query, uint8 [n, ...]: [n].

  Moves one tile of references at a time to the device, and converts it to float32 there.
  """
  n, m = len(queries), len(references)
  size = min(_TILE_REFERENCES, max(_TILE_VALUES // math.prod(references.shape[1:]), 1), m)
  index, least = np.zeros(n, np.int64), np.full(n, np.inf)
  # The last tile overlaps the one before: equal shapes compile once.
  for first in [*range(0, m - size, size), m - size]:
    squares = np.asarray(_squared_image_distances(queries, references[first : first + size]))
    nearer = squares.min(axis=1) < least
    index[nearer] = first + squares.argmin(axis=1)[nearer]
    least = np.minimum(least, squares.min(axis=1))
  return index


@jax.jit
def _squared_image_distances(queries: jax.Array, references: jax.Array) -> jax.Array:
  a, b = (x.reshape(x.shape[0], -1).astype(jnp.float32) / 255 for x in (queries, references))
  origin = b.mean(axis=0, keepdims=True)
  return squared_distances(a - origin, b - origin)


@functools.partial(jax.jit, static_argnames='k')
def kth_squared_distance(
  queries: jax.Array, self_index: jax.Array, references: jax.Array, k: int
) -> jax.Array:
  """Returns the squared distance of each query [n, d] to its k-th nearest reference [m, d], m > k: [n].

  `self_index` [n] is the index of each query among the references, which is left out.
  """
  m = references.shape[0]
  padded = jnp.pad(references, ((0, -m % _N_GROUPS), (0, 0)))
  indices = jnp.arange(padded.shape[0])

  def visit(query: jax.Array, itself: jax.Array) -> jax.Array:
    squares = squared_distances(query[None], padded)[0]
    squares = jnp.where((indices == itself) | (indices >= m), jnp.inf, squares)
    return kth_smallest(squares, k)

  return lax.map(lambda query: visit(*query), (queries, self_index), batch_size=TILE_ROWS)


def kth_smallest(values: jax.Array, k: int) -> jax.Array:
  """Returns the k-th smallest of values [m], m a multiple of 32.

  The k smallest values lie in the k groups of 32 with the smallest minima, so `top_k` sorts only those: four
  times as fast on a CPU as `top_k` over all values.
  """
  groups = values.reshape(_N_GROUPS, -1)
  if groups.shape[1] > k:
    _, chosen = lax.top_k(-groups.min(axis=0), k)
    groups = groups[:, chosen]
  return -lax.top_k(-groups.ravel(), k)[0][-1]
