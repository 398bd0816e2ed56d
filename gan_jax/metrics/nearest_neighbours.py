"""Nearest neighbours by Euclidean distance, streamed over tiles."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE_ROWS = (
  128  # rows whose distances to every row of the other set are held at once: near a CPU's cache
)
_REFERENCES = 1000  # in a tile of `nearest`
_NUMBERS = 2**24  # in a tile of pictures: 64 MiB as float32
_FEW = 16  # dimensions up to which differences cost little more than products
_GROUP = 32  # columns of which only the least enters the first selection


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
  """|a_i - b_j|^2 between the rows of a [n, d] and those of b [m, d]: [n, m].

  In up to 16 dimensions from the differences themselves: the modes of a game are far narrower than the
  space between them. Above that from products of rows, good to some 1e-7 of the rows' own squares: to
  move the origin near the data first is the caller's part.
  """
  if a.shape[1] <= _FEW:
    differences = (a[:, i, None] - b[None, :, i] for i in range(a.shape[1]))
    return functools.reduce(jnp.add, (x**2 for x in differences))
  products = jnp.matmul(a, b.T, precision='highest')
  squares = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None] - 2 * products
  return jnp.maximum(squares, 0)


@jax.jit
def nearest_neighbour(queries: jax.Array, references: jax.Array) -> tuple[jax.Array, jax.Array]:
  """For each query [n, d] the index of its nearest reference [m, d] and the distance to it: [n], [n]."""
  origin = references.mean(axis=0, keepdims=True)
  queries, references = queries - origin, references - origin
  tile_size = min(_REFERENCES, references.shape[0])
  padded = jnp.pad(references, ((0, -references.shape[0] % tile_size), (0, 0)), constant_values=1e6)
  tiles = padded.reshape(-1, tile_size, references.shape[1])

  def visit(
    best: tuple[jax.Array, jax.Array], tile: tuple[jax.Array, jax.Array]
  ) -> tuple[tuple[jax.Array, jax.Array], None]:
    first, centres = tile
    squares = squared_distances(queries, centres)
    index = squares.argmin(axis=1)
    square = jnp.take_along_axis(squares, index[:, None], axis=1)[:, 0]
    nearer = square < best[1]
    return (jnp.where(nearer, first + index, best[0]), jnp.where(nearer, square, best[1])), None

  n = queries.shape[0]
  start = (jnp.zeros(n, jnp.int32), jnp.full(n, jnp.inf))
  firsts = jnp.arange(tiles.shape[0]) * tile_size
  (index, _), _ = lax.scan(visit, start, (firsts, tiles))
  # From the difference itself: a copy is at distance 0, not at the root of what rounding left.
  return index, jnp.linalg.norm(queries - references[index], axis=1)


def nearest_image(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
  """For each query, uint8 [n, ...], the index of its nearest reference, uint8 [m, ...]: [n].

  Only a tile of the references at a time goes to the device, and becomes float32 there.
  """
  n, m = len(queries), len(references)
  size = min(_REFERENCES, max(_NUMBERS // math.prod(references.shape[1:]), 1), m)
  index, least = np.zeros(n, np.int64), np.full(n, np.inf)
  # One shape, one compilation: the last tile overlaps the one before it.
  for first in [*range(0, m - size, size), m - size]:
    squares = np.asarray(_between_pictures(queries, references[first : first + size]))
    nearer = squares.min(axis=1) < least
    index[nearer] = first + squares.argmin(axis=1)[nearer]
    least = np.minimum(least, squares.min(axis=1))
  return index


@jax.jit
def _between_pictures(queries: jax.Array, references: jax.Array) -> jax.Array:
  a, b = (x.reshape(x.shape[0], -1).astype(jnp.float32) / 255 for x in (queries, references))
  origin = b.mean(axis=0, keepdims=True)
  return squared_distances(a - origin, b - origin)


@functools.partial(jax.jit, static_argnames='k')
def kth_squared_distance(
  queries: jax.Array, own: jax.Array, references: jax.Array, k: int
) -> jax.Array:
  """Squared distance of each query [n, d] to its k-th nearest reference [m, d]: [n].

  `own` [n] is the number of the reference that is the query itself, and is left out; m must exceed k.
  """
  m = references.shape[0]
  padded = jnp.pad(references, ((0, -m % _GROUP), (0, 0)))
  numbers = jnp.arange(padded.shape[0])

  def visit(query: jax.Array, itself: jax.Array) -> jax.Array:
    squares = squared_distances(query[None], padded)[0]
    squares = jnp.where((numbers == itself) | (numbers >= m), jnp.inf, squares)
    return kth_smallest(squares, k)

  return lax.map(lambda query: visit(*query), (queries, own), batch_size=TILE_ROWS)


def kth_smallest(values: jax.Array, k: int) -> jax.Array:
  """The k-th smallest of values [m], m a multiple of 32.

  The k smallest lie in the k groups whose own least values are smallest, so most values are compared
  once: on a CPU a quarter of the time of `top_k` on all of them.
  """
  groups = values.reshape(_GROUP, -1)
  if groups.shape[1] > k:
    _, chosen = lax.top_k(-groups.min(axis=0), k)
    groups = groups[:, chosen]
  return -lax.top_k(-groups.ravel(), k)[0][-1]
