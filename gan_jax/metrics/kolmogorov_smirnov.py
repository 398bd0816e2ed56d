"""The Kolmogorov-Smirnov distance of samples to a known distribution."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def ks_distance(samples: jax.Array, cdf: Callable[[jax.Array], jax.Array]) -> jax.Array:
  """Largest difference between the empirical distribution of `samples` [n] and `cdf`, which takes [n]."""
  n = samples.shape[0]
  values = jnp.sort(cdf(samples))
  steps = jnp.arange(n)
  return jnp.maximum(jnp.max((steps + 1) / n - values), jnp.max(values - steps / n))


def expected_ks_distance(n: int) -> float:
  """The mean distance of n draws from the very distribution that they are compared with.

  The mean sqrt(pi / 2) log 2 of Kolmogorov's limit, with the finite-n scale of Stephens (1970).
  """
  root = math.sqrt(n)
  return math.sqrt(math.pi / 2) * math.log(2) / (root + 0.12 + 0.11 / root)
