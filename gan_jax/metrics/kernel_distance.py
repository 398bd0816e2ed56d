"""Computes the kernel distance of two sets of features: KID for Inception features (Binkowski et al., 2018)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 1000  # features per block of the standard error, and per tile of the sums


class KernelDistance(NamedTuple):
  """Holds an estimate of the squared MMD and its standard error."""

  value: float  # unbiased: below 0 half of the time for equal distributions
  standard_error: float  # of the mean over disjoint blocks of 1000; NaN without two blocks


def kernel_distance(real: jax.Array, fake: jax.Array) -> KernelDistance:
  """Returns the unbiased squared MMD of `real` [n, d] and `fake` [m, d] under the kernel (x.y / d + 1)^3.

  The value uses all pairs, unlike KID's customary mean over blocks; the standard error is that of such a
  mean, larger than the value's own. Raises ValueError without two features in each set.
  """
  n, m = len(real), len(fake)
  if min(n, m) < 2:
    raise ValueError(f'{n} real and {m} fake features: a pair needs 2 of each')
  rr, ff, rf = (np.asarray(x, np.float64) for x in _all_sums(jnp.asarray(real), jnp.asarray(fake)))
  value = float(_mmd(rr.sum(), ff.sum(), rf.sum(), n, m))
  n_blocks = min(n, m) // BLOCK
  if n_blocks < 2:
    return KernelDistance(value, math.nan)
  # Tiles on the diagonal hold block i of one set against block i of the other.
  rr, ff, rf = (np.diagonal(x)[:n_blocks] for x in (rr, ff, rf))
  blocks = _mmd(rr, ff, rf, BLOCK, BLOCK)
  return KernelDistance(value, float(blocks.std(ddof=1)) / math.sqrt(n_blocks))


def _mmd(rr: np.ndarray, ff: np.ndarray, rf: np.ndarray, n: int, m: int) -> np.ndarray:
  """Returns the unbiased squared MMD (Gretton et al., 2012) from kernel sums over pairs, without self-pairs."""
  return rr / (n * (n - 1)) + ff / (m * (m - 1)) - 2 * rf / (n * m)


@jax.jit
def _all_sums(real: jax.Array, fake: jax.Array) -> list[jax.Array]:
  pairs, origin = ((real, real), (fake, fake), (real, fake)), real.mean(axis=0)
  return [_tile_sums(x, y, origin, same=x is y) for x, y in pairs]


def _tile_sums(x: jax.Array, y: jax.Array, origin: jax.Array, *, same: bool) -> jax.Array:
  """Returns sums of k(x_i, y_j) - k(origin, origin) over tiles of pairs: [tiles of x, tiles of y].

  The constant cancels in the MMD; leaving it out of each term, with inner products taken about the origin,
  saves float32 digits. `same` leaves out pairs with i = j.
  """
  d = len(origin)
  base = origin @ origin / d + 1

  def visit(a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]) -> jax.Array:
    (rows, i), (columns, j) = a, b
    products = jnp.matmul(rows, columns.T, precision='highest')
    delta = (products + (rows @ origin)[:, None] + (columns @ origin)[None]) / d
    excess = delta * (3 * base**2 + delta * (3 * base + delta))  # (base + delta)^3 - base^3
    kept = (i < len(x))[:, None] & (j < len(y))[None]
    if same:
      kept &= i[:, None] != j[None]
    return jnp.sum(jnp.where(kept, excess, 0))

  columns = _tiles(y - origin[None])
  return lax.map(lambda a: lax.map(lambda b: visit(a, b), columns), _tiles(x - origin[None]))


def _tiles(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns features [n, d] as zero-padded tiles [tiles, 1000, d], and their indices [tiles, 1000]."""
  padded = jnp.pad(x, ((0, -len(x) % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[1])
  return padded, jnp.arange(padded.shape[0] * BLOCK).reshape(-1, BLOCK)
