"""Nearest neighbours by Euclidean distance, streamed over tiles."""

import jax
import jax.numpy as jnp
from jax import lax

_TILE = 1000


@jax.jit
def nearest(queries: jax.Array, references: jax.Array) -> tuple[jax.Array, jax.Array]:
  """For each query [n, d] the index of its nearest reference [m, d] and the distance to it: [n], [n]."""
  origin = references.mean(axis=0, keepdims=True)
  queries, references = queries - origin, references - origin
  tile_size = min(_TILE, references.shape[0])
  padded = jnp.pad(references, ((0, -references.shape[0] % tile_size), (0, 0)), constant_values=1e6)
  tiles = padded.reshape(-1, tile_size, references.shape[1])

  def visit(
    best: tuple[jax.Array, jax.Array], tile: tuple[jax.Array, jax.Array]
  ) -> tuple[tuple[jax.Array, jax.Array], None]:
    first, centres = tile
    products = jnp.matmul(queries, centres.T, precision='highest')
    squares = jnp.sum(centres**2, axis=1)[None] - 2 * products
    index = squares.argmin(axis=1)
    square = jnp.take_along_axis(squares, index[:, None], axis=1)[:, 0]
    nearer = square < best[1]
    return (jnp.where(nearer, first + index, best[0]), jnp.where(nearer, square, best[1])), None

  n = queries.shape[0]
  start = (jnp.zeros(n, jnp.int32), jnp.full(n, jnp.inf))
  firsts = jnp.arange(tiles.shape[0]) * tile_size
  (index, square), _ = lax.scan(visit, start, (firsts, tiles))
  square = square + jnp.sum(queries**2, axis=1)
  return index, jnp.sqrt(jnp.maximum(square, 0))
