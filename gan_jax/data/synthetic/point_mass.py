"""The Dirac-GAN of Mescheder et al. (2018): all data are the point 0, and plain training circles around it."""

import jax
import jax.numpy as jnp

from gan_jax.data.synthetic.distribution import SyntheticDistribution


def sample(key: jax.Array) -> jax.Array:
  """The point 0, whatever the key: [1]."""
  del key
  return jnp.zeros(1)


def dirac_distribution() -> SyntheticDistribution:
  """Whether G converges to a point at all; a point has no density."""
  return SyntheticDistribution(
    'dirac',
    shape=(1,),
    sample=sample,
    log_density=None,
    score_samples=lambda samples: {'mean_abs': jnp.abs(samples).mean()},
    perfect_scores={'mean_abs': 0.0},
    ranking_score='mean_abs',
    higher_is_better=False,
    n_scored=2500,
    extent=(-2.0, 2.0),
    mode_centres=None,
  )
