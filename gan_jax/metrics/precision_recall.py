"""Computes precision and recall (Kynkaanniemi et al., 2019), density and coverage (Naeem et al., 2020)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.metrics.nearest_neighbours import TILE_ROWS, kth_squared_distance, squared_distances

_Pair = tuple[jax.Array, jax.Array]


class PrecisionRecall(NamedTuple):
  """Holds fidelity and diversity scores from balls around points that reach to their k-th neighbour."""

  precision: float  # share of fakes in the ball of some real point: fidelity
  recall: float  # share of reals in the ball of some fake: diversity
  density: float  # mean number of real balls around a fake, over k: 1 for a perfect sampler
  coverage: float  # share of reals with a fake in their ball: recall that outliers cannot raise


def precision_recall(real: jax.Array, fake: jax.Array, k: int = 5) -> PrecisionRecall:
  """Scores features `fake` [m, d] against `real` [n, d] by open balls up to the k-th nearest neighbour.

  A point is not its own neighbour. Streams over tiles, so memory does not grow with n times m. NaN where a
  feature is not finite; raises ValueError without k + 1 features in each set.
  """
  real, fake = jnp.asarray(real), jnp.asarray(fake)
  if min(len(real), len(fake)) <= k:
    raise ValueError(f'{len(real)} real and {len(fake)} fake features: {k + 1} of each are needed')
  return PrecisionRecall(*map(float, _scores(real, fake, k)))


@functools.partial(jax.jit, static_argnames='k')
def _scores(real: jax.Array, fake: jax.Array, k: int) -> tuple[jax.Array, ...]:
  origin = real.mean(axis=0, keepdims=True)
  finite = jnp.isfinite(real).all() & jnp.isfinite(fake).all()
  real, fake = real - origin, fake - origin
  n, m = len(real), len(fake)
  real_radii = kth_squared_distance(real, jnp.arange(n), real, k)
  fake_radii = kth_squared_distance(fake, jnp.arange(m), fake, k)

  def visit(balls: jax.Array, tile: _Pair) -> tuple[jax.Array, _Pair]:
    rows, radii = tile
    squares = squared_distances(rows, fake)
    balls += jnp.sum(squares < radii[:, None], axis=0)
    # A minimum is faster than `any` of comparisons.
    covered = squares.min(axis=1) < radii
    return balls, (covered, jnp.min(squares - fake_radii[None], axis=1) < 0)

  tiles = jnp.pad(real, ((0, -n % TILE_ROWS), (0, 0))).reshape(-1, TILE_ROWS, real.shape[1])
  # Padded rows have radius 0: no point is inside.
  radii = jnp.pad(real_radii, (0, -n % TILE_ROWS)).reshape(-1, TILE_ROWS)
  balls, (covered, recalled) = lax.scan(visit, jnp.zeros(m, jnp.int32), (tiles, radii))
  covered, recalled = covered.ravel()[:n], recalled.ravel()[:n]
  scores = (jnp.mean(balls > 0), recalled.mean(), balls.mean() / k, covered.mean())
  return tuple(jnp.where(finite, score, jnp.nan) for score in scores)
