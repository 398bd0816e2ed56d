"""Computes the Inception score from class probabilities."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy


def inception_score(probabilities: jax.Array) -> float:
  """Returns exp(E KL(p(y|x) || p(y))) over class probabilities [n, c] (Salimans et al., 2016).

  Lies between 1 (all samples get the same probabilities) and c (certain predictions, all classes equally
  frequent). Computed over all n samples at once, without splits. Raises ValueError without a sample.
  """
  if len(probabilities) < 1:
    raise ValueError('no samples: a score needs at least 1')
  return float(_score(jnp.asarray(probabilities)))


@jax.jit
def _score(probabilities: jax.Array) -> jax.Array:
  marginal = probabilities.mean(axis=0, keepdims=True)
  kl = xlogy(probabilities, probabilities) - xlogy(probabilities, marginal)
  return jnp.exp(kl.sum(axis=1).mean())
