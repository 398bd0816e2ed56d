"""Scores samples of a known mixture: modes found, samples per mode, and variance within modes."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

HIGH_QUALITY_SIGMAS = 3.0  # sigmas from the nearest centre within which a sample is of high quality
_CORE_SIGMAS = math.sqrt(2 * math.log(2))  # of a ball with half of a Gaussian's mass in the plane


def normal_ball_probability(d: int, radius: float) -> float:
  """Returns the probability that a standard normal of d dimensions lies within `radius` of its mean."""
  half = radius**2 / 2
  if d == 1:
    return math.erf(math.sqrt(half))
  if d == 2:
    return 1 - math.exp(-half)
  difference = half ** (d / 2 - 1) * math.exp(-half) / math.gamma(d / 2)
  return normal_ball_probability(d - 2, radius) - difference


def nearest_mode(samples: jax.Array, centres: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the index of the nearest of `centres` [m, d] to each sample [n, d], and the distance: [n], [n]."""
  distances = jnp.linalg.norm(samples[:, None] - centres[None], axis=-1)
  return distances.argmin(axis=1), distances.min(axis=1)


def histogram_kl(counts: jax.Array, probabilities: jax.Array) -> jax.Array:
  """Returns KL(counts / n || probabilities) in nats, both [m]; -log of the least probability if n = 0."""
  total = counts.sum()
  shares = counts / jnp.maximum(total, 1)
  kl = jnp.sum(xlogy(shares, shares) - xlogy(shares, probabilities))
  return jnp.where(total > 0, jnp.maximum(kl, 0), -jnp.log(probabilities.min()))


def modes_and_uniform_kl(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the number of nonzero `counts` [m], and KL(counts / n || uniform) in nats.

  The KL lies in [0, log m], log m also for n = 0. A perfect sampler gets (m - 1) / 2n on average, to first
  order.
  """
  m = counts.shape[0]
  return jnp.sum(counts > 0), histogram_kl(counts, jnp.full(m, 1 / m))


def covariance_ratio(samples: jax.Array, centres: jax.Array, sigma: float) -> jax.Array:
  """Returns the variance within modes over that of a Gaussian of `sigma` truncated at 3 sigma: 1 if equal.

  Pooled over samples [n, d] within 3 sigma of their nearest of `centres` [m, d], about the mean of each mode.
  Modes with fewer than two such samples are left out; 0 if none is left. The truncation bounds the ratio
  of samples that are too wide: to 2.37 in the plane.
  """
  m, d = centres.shape
  index, distance = nearest_mode(samples, centres)
  inside = distance < HIGH_QUALITY_SIGMAS * sigma
  counts = jnp.zeros(m).at[index].add(inside)
  offsets = jnp.where(inside[:, None], (samples - centres[index]) / sigma, 0)
  means = jnp.zeros((m, d)).at[index].add(offsets) / jnp.maximum(counts, 1)[:, None]
  squares = jnp.sum(jnp.where(inside[:, None], offsets - means[index], 0) ** 2)
  freedom = d * jnp.sum(jnp.maximum(counts - 1, 0))
  # Variance per coordinate of the truncated standard normal.
  ball = lambda dims: normal_ball_probability(dims, HIGH_QUALITY_SIGMAS)
  return squares / jnp.maximum(freedom, 1) / (ball(d + 2) / ball(d))


def mode_scores(samples: jax.Array, centres: jax.Array, sigma: float) -> dict[str, jax.Array]:
  """Scores samples [n, d] of a uniform mixture of Gaussians of `sigma` at distant `centres` [m, d].

  Returns 'modes', the number with a sample within 3 sigma; 'high_quality', the share of samples within 3 sigma
  of a mode; 'reverse_kl', the KL of their histogram over modes to the uniform one (Srivastava et al., 2017);
  'covariance_ratio'; and 'cell_kl', a lower bound on the KL of the samples' distribution to the mixture: the
  KL of histograms over 2 m + 1 cells (the core and the outer shell of each mode, and the rest of space).
  """
  m, d = centres.shape
  index, distance = nearest_mode(samples, centres)
  core, inside = distance < _CORE_SIGMAS * sigma, distance < HIGH_QUALITY_SIGMAS * sigma
  cores, counts = (jnp.zeros(m).at[index].add(x) for x in (core, inside))
  n_modes, reverse_kl = modes_and_uniform_kl(counts)
  core_share, share = (normal_ball_probability(d, r) for r in (_CORE_SIGMAS, HIGH_QUALITY_SIGMAS))
  cells = jnp.concatenate([cores, counts - cores, jnp.sum(~inside)[None]])
  truth = [core_share / m] * m + [(share - core_share) / m] * m + [1 - share]
  return {
    'modes': n_modes.astype(jnp.float32),
    'high_quality': inside.mean(),
    'reverse_kl': reverse_kl,
    'covariance_ratio': covariance_ratio(samples, centres, sigma),
    'cell_kl': histogram_kl(cells, jnp.array(truth)),
  }
