"""Estimates the energy distance of two sets of vectors without bias."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics.nearest_neighbours import squared_distances

_TILE = 250  # rows compared with all others at once


def energy_distance(x: np.ndarray, y: np.ndarray, exponent: float = 0.5) -> float:
  """Returns 2 E|X - Y|^a - E|X - X'|^a - E|Y - Y'|^a of rows x [n, d] and y [m, d], a the exponent.

  0 for equal distributions and positive for others, 0 < a < 2 (Szekely & Rizzo, 2013); a small exponent
  weighs fine differences more. Pairs of a row with itself are left out: the estimate is unbiased, and may
  be below 0. Raises ValueError for fewer than two rows.
  """
  if min(len(x), len(y)) < 2:
    raise ValueError(f'{len(x)} and {len(y)} rows: an energy distance needs two of each')
  centred = [jnp.asarray(rows - y.mean(axis=0), jnp.float32) for rows in (x, y)]
  return float(_energy(*centred, exponent))


@jax.jit
def _energy(x: jax.Array, y: jax.Array, exponent: float) -> jax.Array:
  within = [_sum(rows, rows, exponent) / (len(rows) * (len(rows) - 1)) for rows in (x, y)]
  return 2 * _sum(x, y, exponent) / (len(x) * len(y)) - within[0] - within[1]


def _sum(x: jax.Array, y: jax.Array, exponent: float) -> jax.Array:
  """Sums |x_i - y_j|^exponent over all pairs; of a set with itself, without the diagonal."""
  n = len(x)
  index = jnp.arange(-(-n // _TILE) * _TILE).reshape(-1, _TILE)

  def visit(rows: jax.Array) -> jax.Array:
    powers = jnp.maximum(squared_distances(x[rows % n], y), 0) ** (exponent / 2)
    counted = (rows < n)[:, None]
    if x is y:
      counted = counted & (rows[:, None] != jnp.arange(n)[None])
    return jnp.sum(jnp.where(counted, powers, 0), axis=1)

  return jnp.sum(lax.map(visit, index).astype(jnp.float32))
