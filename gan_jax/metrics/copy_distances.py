"""Finds near neighbours of queries among all examples, and tells how unusually near the nearest is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics.nearest_neighbours import squared_distances

_MAX_GROUPS = 64  # a power of 2, as smaller numbers of groups
_TILE = 8192  # examples compared at a time
_TILE_ROWS = 192  # rows of queries compared at a time: their products fit into the cache of a CPU
_MAX_DIRECT_DIMS = 16  # up to which differences are exact and cheap
_MIN_SPREAD = 0.01  # of log distances, where ties of discrete data have none


def n_groups(n: int) -> int:
  """Returns the number of groups into which n examples are divided: 4 to 64, at least four examples each."""
  return max(min(_MAX_GROUPS, _power_of_2(n // 4)), 4)


def nearest_in_groups(queries: np.ndarray, examples: np.ndarray) -> np.ndarray:
  """Returns the index of the nearest example to each query in each group of examples: int64 [n, groups].

  `queries` are float32 [v, n, d]: the distance to a query is the least one to its v variants. `examples`
  [m, d] of indices equal modulo the number of groups, `n_groups(m)`, are a group. Rows should be centred.
  """
  v, n, d = queries.shape
  groups, per_tile = n_groups(len(examples)), _power_of_2(_TILE_ROWS // v)
  # Sizes are rounded up, so that one program serves many: of queries to 512 or a power of 2 below it.
  padded = np.pad(queries, ((0, 0), (0, -n % max(min(512, 2 * _power_of_2(n)), per_tile)), (0, 0)))
  tiles = np.moveaxis(padded.reshape(v, -1, per_tile, d), 1, 0).reshape(-1, v * per_tile, d)
  rows = jnp.asarray(tiles, jnp.float32)
  best = jnp.full((len(rows), per_tile, groups), -jnp.inf)
  index = jnp.zeros(best.shape, jnp.int32)
  if d > _MAX_DIRECT_DIMS:
    examples, rows = _append_squares(examples, rows)
  size = min(_TILE, 2 * _power_of_2(len(examples)))
  for start in range(0, len(examples), size):
    chosen = np.arange(start, start + size)
    # Past the end, examples of the same group stand in, and change no minimum.
    past = np.maximum(chosen - len(examples) + 1, 0)
    chosen = chosen - -(-past // groups) * groups
    tile = jnp.asarray(examples[chosen], jnp.float32)
    best, index = _update(rows, tile, jnp.asarray(chosen, jnp.int32), best, index)
  return np.asarray(index).reshape(-1, groups)[:n].astype(np.int64)


@functools.partial(jax.jit, donate_argnums=(3, 4))
def _update(
  rows: jax.Array, examples: jax.Array, numbers: jax.Array, best: jax.Array, index: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the greatest score and its example in each group, of these `examples` and those before."""
  _, per_tile, groups = best.shape

  def visit(tile: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    queries, best, index = tile
    if queries.shape[1] <= _MAX_DIRECT_DIMS:
      scores = -squared_distances(queries, examples)
    else:
      scores = jnp.matmul(queries, examples.T, precision='highest')
    variants = scores.reshape(-1, per_tile, len(examples) // groups, groups)
    # Pairwise maxima, and then no `argmax`: several times as fast on a CPU.
    grouped = functools.reduce(jnp.maximum, [variants[i] for i in range(len(variants))])
    found = grouped.max(axis=1)
    is_found = grouped >= found[:, None]
    number = jnp.where(is_found, numbers.reshape(1, -1, groups), -1).max(axis=1)
    nearer = found > best
    return jnp.where(nearer, found, best), jnp.where(nearer, number, index)

  return lax.map(visit, (rows, best, index))


def _append_squares(examples: np.ndarray, rows: jax.Array) -> tuple[np.ndarray, jax.Array]:
  """Appends two columns to each, so that products of rows become half the negative squared distances."""
  half = np.sum(examples.astype(np.float32) ** 2, axis=1, keepdims=True) / 2
  halves = jnp.sum(rows**2, axis=-1, keepdims=True) / 2
  known = np.concatenate([examples, -half, -np.ones_like(half)], axis=1)
  return known, jnp.concatenate([rows, jnp.ones_like(halves), halves], axis=-1)


def _power_of_2(x: int) -> int:
  """Returns the largest power of 2 that is at most x, 1 if there is none."""
  return 1 << max(x.bit_length() - 1, 0)


def nearness(distances: np.ndarray, floor: float) -> np.ndarray:
  """Returns how unusually near the nearest of the group minima `distances` [n, groups] is: float64 [n].

  The log ratio of the median to the least distance, in units of the distance between the quartiles of the log
  distances. If examples are locally of any one density in any one dimension, the distribution of the result is
  always the same: it does not depend on whether queries lie among many examples, among few, or far from all.
  """
  logs = np.log(np.maximum(np.sort(distances.astype(np.float64), axis=1), floor))
  quarter = distances.shape[1] // 4
  spread = logs[:, 3 * quarter] - logs[:, quarter]
  return (logs[:, 2 * quarter] - logs[:, 0]) / np.maximum(spread, _MIN_SPREAD)
