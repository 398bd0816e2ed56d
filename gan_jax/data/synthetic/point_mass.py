"""The Dirac-GAN of Mescheder et al. (2018): all data are the point 0, and plain training circles around it."""

import jax
import jax.numpy as jnp

from gan_jax.data.synthetic.distribution import Game


def sample(key: jax.Array) -> jax.Array:
  """The point 0, whatever the key: [1]."""
  del key
  return jnp.zeros(1)


def game() -> Game:
  """Whether G converges to a point at all; a point has no density."""
  return Game(
    'dirac',
    shape=(1,),
    sample=sample,
    log_density=None,
    oracle=lambda samples: {'mean_abs': jnp.abs(samples).mean()},
    ideal={'mean_abs': 0.0},
    best_by='mean_abs',
    higher_is_better=False,
    n_judged=2500,
    extent=(-2.0, 2.0),
    modes=None,
  )
