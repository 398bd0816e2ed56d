"""Paintings: parabolas a x^2 + (a - 1) at 15 points of [-1, 1], with a from U(1, 2)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.synthetic.distribution import SyntheticDistribution
from gan_jax.metrics.kolmogorov_smirnov import expected_ks_distance, ks_distance

POINTS = np.linspace(-1, 1, 15)
_DIRECTION = POINTS**2 + 1  # a painting is a times this, less 1: a segment of a line in R^15
_PER_UNIT = math.sqrt(np.mean(_DIRECTION**2))  # root mean square change of a painting per unit of a


def parabola(a: jax.Array) -> jax.Array:
  """The painting [15] of one a."""
  return a * jnp.asarray(_DIRECTION) - 1


def sample(key: jax.Array) -> jax.Array:
  """One painting [15]."""
  return parabola(jax.random.uniform(key, minval=1.0, maxval=2.0))


def fit_parabola(y: jax.Array) -> jax.Array:
  """The a whose painting is nearest to y [15]."""
  direction = jnp.asarray(_DIRECTION)
  return jnp.dot(y + 1, direction) / jnp.dot(direction, direction)


def parabola_scores(samples: jax.Array) -> dict[str, jax.Array]:
  """How far samples [n, 15] are from being paintings, and paintings of the right distribution.

  'off_line' is the root mean square distance to the line of all paintings, per coordinate; 'ks' compares
  the fitted a with U(1, 2). 'transport' bounds the mean distance, in the same unit, by which samples
  must move to become data (Wasserstein-1): first to the line, then along it.
  """
  n = samples.shape[0]
  a = jax.vmap(fit_parabola)(samples)
  squares = jnp.mean((samples - jax.vmap(parabola)(a)) ** 2, axis=1)
  along = jnp.mean(jnp.abs(jnp.sort(a) - (1 + (jnp.arange(n) + 0.5) / n)))
  return {
    'off_line': jnp.sqrt(squares.mean()),
    'ks': ks_distance(a, lambda value: jnp.clip(value - 1, 0, 1)),
    'transport': jnp.sqrt(squares).mean() + _PER_UNIT * along,
  }


def parabola_distribution() -> SyntheticDistribution:
  """The game of a tutorial; its data fill a segment of a line, so they have no density in R^15."""
  n = 10_000
  return SyntheticDistribution(
    'painter',
    shape=(15,),
    sample=sample,
    log_density=None,
    score_samples=parabola_scores,
    # Wasserstein-1 of n uniform draws: sqrt(2 / pi n) times the integral of sqrt(u (1 - u)), pi / 8.
    perfect_scores={
      'off_line': 0.0,
      'ks': expected_ks_distance(n),
      'transport': _PER_UNIT * math.pi / 8 * math.sqrt(2 / (math.pi * n)),
    },
    ranking_score='transport',
    higher_is_better=False,
    n_scored=n,
    extent=(-1.0, 1.0, -0.5, 3.5),
  )
