"""Computes the optimal discriminator of two known densities, its loss, and their Jensen-Shannon divergence."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import xlogy

from gan_jax.data.synthetic.distribution import LogDensity


class Estimate(NamedTuple):
  """Holds a Monte Carlo estimate and its standard error."""

  value: jax.Array
  standard_error: jax.Array


def optimal_logit(log_p: LogDensity, log_q: LogDensity) -> LogDensity:
  """Returns the logit log p - log q of D* = p / (p + q), proposition 1 of Goodfellow et al. (2014)."""
  return lambda x: log_p(x) - log_q(x)


def optimal_loss(jsd: float | jax.Array) -> float | jax.Array:
  """Returns D's lowest cross-entropy, log 4 - 2 JSD in nats, theorem 1 of Goodfellow et al. (2014)."""
  return math.log(4) - 2 * jsd


def jsd_of_histograms(p: jax.Array, q: jax.Array) -> jax.Array:
  """Returns the Jensen-Shannon divergence in nats of two discrete distributions [m].

  Also exact for mixtures of the same disjoint components with weights p and q.
  """
  mean = (p + q) / 2
  # xlogy is 0 at 0, and where the mean is 0, so are p and q.
  return jnp.sum(xlogy(p, p) + xlogy(q, q)) / 2 - jnp.sum(xlogy(mean, mean))


def _log_ratio_to_mean(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
  """Returns log(p / ((p + q) / 2)) from log-densities: at most log 2."""
  return math.log(2) - jax.nn.softplus(log_q - log_p)


def jsd_by_quadrature(
  log_p: LogDensity, log_q: LogDensity, extent: tuple[float, ...], n: int = 1000
) -> jax.Array:
  """Returns the Jensen-Shannon divergence in nats by the midpoint rule on n cells per axis.

  `extent`, (low, high) of one or two axes in turn, must hold nearly all mass of both densities, in cells
  no wider than the smaller standard deviation.
  """
  bounds = list(zip(extent[::2], extent[1::2], strict=True))
  cell = math.prod((high - low) / n for low, high in bounds)
  axes = [low + (high - low) * (jnp.arange(n) + 0.5) / n for low, high in bounds]
  points = jnp.stack(jnp.meshgrid(*axes), axis=-1).reshape(-1, n, len(bounds))

  def integrate(row: jax.Array) -> jax.Array:
    at_p, at_q = jax.vmap(log_p)(row), jax.vmap(log_q)(row)
    terms_p = jnp.where(at_p > -jnp.inf, jnp.exp(at_p) * _log_ratio_to_mean(at_p, at_q), 0)
    terms_q = jnp.where(at_q > -jnp.inf, jnp.exp(at_q) * _log_ratio_to_mean(at_q, at_p), 0)
    return jnp.sum(terms_p + terms_q)

  return lax.map(integrate, points).sum() * (cell / 2)


def jsd_by_sampling(
  log_p: LogDensity, log_q: LogDensity, p_samples: jax.Array, q_samples: jax.Array
) -> Estimate:
  """Estimates the Jensen-Shannon divergence in nats by Monte Carlo from draws of p [n, d] and q [m, d]."""
  at_p = _log_ratio_to_mean(jax.vmap(log_p)(p_samples), jax.vmap(log_q)(p_samples))
  at_q = _log_ratio_to_mean(jax.vmap(log_q)(q_samples), jax.vmap(log_p)(q_samples))
  variance = at_p.var() / at_p.shape[0] + at_q.var() / at_q.shape[0]
  return Estimate((at_p.mean() + at_q.mean()) / 2, jnp.sqrt(variance) / 2)
