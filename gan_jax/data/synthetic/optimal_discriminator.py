"""The best possible discriminator between two known densities, and what its loss then is."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data.synthetic.distribution import LogDensity


class Estimate(NamedTuple):
  """A number with its standard error."""

  value: jax.Array
  standard_error: jax.Array


def optimal_logit(log_p: LogDensity, log_q: LogDensity) -> LogDensity:
  """The logit log p - log q of D* = p / (p + q), proposition 1 of Goodfellow et al. (2014)."""
  return lambda x: log_p(x) - log_q(x)


def optimal_loss(jsd: float | jax.Array) -> float | jax.Array:
  """D's cross-entropy at its optimum, log 4 - 2 JSD, theorem 1 of Goodfellow et al. (2014), in nats."""
  return math.log(4) - 2 * jsd


def jsd_of_histograms(p: jax.Array, q: jax.Array) -> jax.Array:
  """Jensen-Shannon divergence in nats of two discrete distributions [m].

  Exact too for mixtures of the same disjoint components with weights p and q.
  """
  middle = (p + q) / 2
  # x log x is 0 at 0, and where the middle is 0 both are.
  return jnp.sum(jax.scipy.special.xlogy(p, p) + jax.scipy.special.xlogy(q, q)) / 2 - jnp.sum(
    jax.scipy.special.xlogy(middle, middle)
  )


def _information(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
  """Log p / ((p + q) / 2) at points where the log-densities are these: at most log 2."""
  return math.log(2) - jax.nn.softplus(log_q - log_p)


def jsd_by_quadrature(
  log_p: LogDensity, log_q: LogDensity, extent: tuple[float, ...], n: int = 1000
) -> jax.Array:
  """Jensen-Shannon divergence in nats by the midpoint rule on n cells per axis.

  `extent` is (low, high) of each of one or two axes in a row. It must hold all that matters of both
  densities, in cells no wider than the narrower one's standard deviation.
  """
  bounds = list(zip(extent[::2], extent[1::2], strict=True))
  cell = math.prod((high - low) / n for low, high in bounds)
  axes = [low + (high - low) * (jnp.arange(n) + 0.5) / n for low, high in bounds]
  points = jnp.stack(jnp.meshgrid(*axes), axis=-1).reshape(-1, n, len(bounds))

  def integrate(row: jax.Array) -> jax.Array:
    at_p, at_q = jax.vmap(log_p)(row), jax.vmap(log_q)(row)
    terms_p = jnp.where(at_p > -jnp.inf, jnp.exp(at_p) * _information(at_p, at_q), 0)
    terms_q = jnp.where(at_q > -jnp.inf, jnp.exp(at_q) * _information(at_q, at_p), 0)
    return jnp.sum(terms_p + terms_q)

  return lax.map(integrate, points).sum() * (cell / 2)


def jsd_by_sampling(
  log_p: LogDensity, log_q: LogDensity, p_samples: jax.Array, q_samples: jax.Array
) -> Estimate:
  """Jensen-Shannon divergence in nats by Monte Carlo from draws of p [n, d] and of q [m, d]."""
  at_p = _information(jax.vmap(log_p)(p_samples), jax.vmap(log_q)(p_samples))
  at_q = _information(jax.vmap(log_q)(q_samples), jax.vmap(log_p)(q_samples))
  variance = at_p.var() / at_p.shape[0] + at_q.var() / at_q.shape[0]
  return Estimate((at_p.mean() + at_q.mean()) / 2, jnp.sqrt(variance) / 2)
