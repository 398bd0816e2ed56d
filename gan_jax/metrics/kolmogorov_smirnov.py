"""Computes the Kolmogorov-Smirnov distance of samples to a known distribution."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def ks_distance(samples: jax.Array, cdf: Callable[[jax.Array], jax.Array]) -> jax.Array:
  """Returns sup |F_n - F|: F_n the empirical CDF of `samples` [n], F the `cdf`, a function of arrays [n]."""
  n = samples.shape[0]
  values = jnp.sort(cdf(samples))
  steps = jnp.arange(n)
  return jnp.maximum(jnp.max((steps + 1) / n - values), jnp.max(values - steps / n))


def expected_ks_distance(n: int) -> float:
  """Returns the mean KS distance of n samples to the distribution they are drawn from.

  The mean sqrt(pi / 2) log 2 of Kolmogorov's limit over sqrt(n) + 0.12 + 0.11 / sqrt(n) (Stephens, 1970).
  """
  root = math.sqrt(n)
  return math.sqrt(math.pi / 2) * math.log(2) / (root + 0.12 + 0.11 / root)
