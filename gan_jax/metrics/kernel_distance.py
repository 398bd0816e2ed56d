"""Kernel distance of two sets of features: KID where they are Inception's (Binkowski et al., 2018)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 1000  # features of each set in a block, and in a tile


class KernelDistance(NamedTuple):
  """The squared MMD of two whole sets, and how far it may be off."""

  value: float  # unbiased, so below 0 half of the time where the distributions are equal
  standard_error: float  # of the mean over disjoint blocks of 1000; NaN without two blocks


def kernel_distance(real: jax.Array, fake: jax.Array) -> KernelDistance:
  """Unbiased squared MMD of `real` [n, d] and `fake` [m, d] under the kernel (x.y / d + 1)^3.

  All pairs of both sets enter the value. Customary KIDs average over blocks; the standard error is that
  of such a mean, and the value errs rather less. Sums of tiles are joined in float64. Raises
  ValueError without two features in each set.
  """
  n, m = len(real), len(fake)
  if min(n, m) < 2:
    raise ValueError(f'{n} real and {m} fake features: a pair needs 2 of each')
  sums = _all_sums(jnp.asarray(real), jnp.asarray(fake))
  rr, ff, rf = (np.asarray(x, np.float64) for x in sums)
  value = _mmd(rr.sum(), ff.sum(), rf.sum(), n, m)
  n_blocks = min(n, m) // BLOCK
  if n_blocks < 2:
    return KernelDistance(float(value), math.nan)
  # Tiles on the diagonal hold block i of one set against block i of the other.
  rr, ff, rf = (np.diagonal(x)[:n_blocks] for x in (rr, ff, rf))
  blocks = _mmd(rr, ff, rf, BLOCK, BLOCK)
  return KernelDistance(float(value), float(blocks.std(ddof=1)) / math.sqrt(n_blocks))


def _mmd(
  within_real: np.ndarray, within_fake: np.ndarray, across: np.ndarray, n: int, m: int
) -> np.ndarray:
  """The unbiased estimate (Gretton et al., 2012) from sums over pairs; within a set, of different ones."""
  return within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2 * across / (n * m)


@jax.jit
def _all_sums(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  origin = real.mean(axis=0)
  return (
    _tile_sums(real, real, origin, same=True),
    _tile_sums(fake, fake, origin, same=True),
    _tile_sums(real, fake, origin, same=False),
  )


def _tile_sums(x: jax.Array, y: jax.Array, origin: jax.Array, *, same: bool) -> jax.Array:
  """Sums over tiles of pairs of k(x_i, y_j) - k(origin, origin): [tiles of x, tiles of y].

  The constant cancels in the MMD. Left out of each term, from an inner product that is taken about the
  origin, it takes no digits from the small difference that remains. `same` leaves out i = j.
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
  """Features [n, d] as [tiles, 1000, d], its end padded with zeros, and their numbers [tiles, 1000]."""
  padded = jnp.pad(x, ((0, -len(x) % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[1])
  return padded, jnp.arange(padded.shape[0] * BLOCK).reshape(-1, BLOCK)
