"""Defines the data set 'painter': parabolas a x^2 + (a - 1) at 15 points x of [-1, 1], with a from U(1, 2)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.synthetic.distribution import SyntheticDistribution
from gan_jax.metrics.kolmogorov_smirnov import expected_ks_distance, ks_distance

POINTS = np.linspace(-1, 1, 15)
_DIRECTION = POINTS**2 + 1  # a parabola is a * _DIRECTION - 1: all of them lie on a line in R^15
_RMS_PER_UNIT = math.sqrt(np.mean(_DIRECTION**2))  # root mean square change of y per unit of a


def parabola(a: jax.Array) -> jax.Array:
  """Returns the values [15] of the parabola of parameter a."""
  return a * jnp.asarray(_DIRECTION) - 1


def sample(key: jax.Array) -> jax.Array:
  """Draws one parabola [15]."""
  return parabola(jax.random.uniform(key, minval=1.0, maxval=2.0))


def fit_parabola(y: jax.Array) -> jax.Array:
  """Returns the parameter a of the parabola nearest to y [15] in least squares."""
  direction = jnp.asarray(_DIRECTION)
  return jnp.dot(y + 1, direction) / jnp.dot(direction, direction)


def parabola_scores(samples: jax.Array) -> dict[str, jax.Array]:
  """Scores samples [n, 15] by their distance to parabolas and by the distribution of the fitted a.

  'off_line' is the root mean square distance to the nearest parabola, per coordinate. 'ks' compares the
  fitted a with U(1, 2). 'transport' bounds the Wasserstein-1 distance to the data in the same unit: the
  mean distance of moving samples first to the line of parabolas, then along it.
  """
  n = samples.shape[0]
  a = jax.vmap(fit_parabola)(samples)
  squares = jnp.mean((samples - jax.vmap(parabola)(a)) ** 2, axis=1)
  along = jnp.mean(jnp.abs(jnp.sort(a) - (1 + (jnp.arange(n) + 0.5) / n)))
  return {
    'off_line': jnp.sqrt(squares.mean()),
    'ks': ks_distance(a, lambda value: jnp.clip(value - 1, 0, 1)),
    'transport': jnp.sqrt(squares).mean() + _RMS_PER_UNIT * along,
  }


def parabola_distribution() -> SyntheticDistribution:
  """Returns the distribution of parabolas, which fill a segment and so have no density in R^15."""
  n = 10_000
  # Wasserstein-1 of n uniform draws: sqrt(2 / pi n) times the integral of sqrt(u (1 - u)), pi / 8.
  transport = _RMS_PER_UNIT * math.pi / 8 * math.sqrt(2 / (math.pi * n))
  return SyntheticDistribution(
    'painter',
    shape=(15,),
    sample=sample,
    score_samples=parabola_scores,
    perfect_scores=dict(off_line=0.0, ks=expected_ks_distance(n), transport=transport),
    ranking_score='transport',
    n_scored=n,
    extent=(-1.0, 1.0, -0.5, 3.5),
  )
