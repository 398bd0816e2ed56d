"""Defines the data of the Dirac-GAN (Mescheder et al., 2018): every example is the point 0."""

import jax
import jax.numpy as jnp

from gan_jax.data.synthetic.distribution import SyntheticDistribution


def sample(key: jax.Array) -> jax.Array:
  """Returns the point 0, [1], for any key."""
  del key
  return jnp.zeros(1)


def dirac_distribution() -> SyntheticDistribution:
  """Returns the point mass at 0, which has no density; its score is the mean |x|, 0 where G converges."""
  return SyntheticDistribution(
    'dirac',
    shape=(1,),
    sample=sample,
    score_samples=lambda samples: {'mean_abs': jnp.abs(samples).mean()},
    perfect_scores={'mean_abs': 0.0},
    ranking_score='mean_abs',
    n_scored=2500,
    extent=(-2.0, 2.0),
  )
