"""What a classifier's probabilities say of samples."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy


def inception_score(probabilities: jax.Array) -> float:
  """The exponential of E KL(p(y|x) || p(y)) over class probabilities [n, c] (Salimans et al., 2016).

  From 1, where every sample looks the same to the classifier, to c, where it is sure of each and finds
  all classes equally often. Over all n at once, and blind to what happens within a class. Raises
  ValueError without a sample.
  """
  if len(probabilities) < 1:
    raise ValueError('no samples: a score needs at least 1')
  return float(_score(jnp.asarray(probabilities)))


@jax.jit
def _score(probabilities: jax.Array) -> jax.Array:
  marginal = probabilities.mean(axis=0, keepdims=True)
  kl = xlogy(probabilities, probabilities) - xlogy(probabilities, marginal)
  return jnp.exp(kl.sum(axis=1).mean())
