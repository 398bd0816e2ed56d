"""Which modes of a mixture samples have found, how many samples lie in them, and how widely."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

HIGH_QUALITY_SIGMAS = 3.0  # sigmas from the nearest centre within which a sample belongs to a mode
_CORE = math.sqrt(2 * math.log(2))  # sigmas that hold half of a Gaussian in the plane


def normal_ball_probability(d: int, radius: float) -> float:
  """Probability that a standard normal of d dimensions lies within `radius` of its centre."""
  half = radius**2 / 2
  if d == 1:
    return math.erf(math.sqrt(half))
  if d == 2:
    return 1 - math.exp(-half)
  return normal_ball_probability(d - 2, radius) - half ** (d / 2 - 1) * math.exp(
    -half
  ) / math.gamma(d / 2)


def nearest_mode(samples: jax.Array, centres: jax.Array) -> tuple[jax.Array, jax.Array]:
  """For each sample [n, d] the index of the nearest of `centres` [m, d] and the distance to it: [n], [n]."""
  distances = jnp.linalg.norm(samples[:, None] - centres[None], axis=-1)
  return distances.argmin(axis=1), distances.min(axis=1)


def histogram_kl(counts: jax.Array, probabilities: jax.Array) -> jax.Array:
  """KL in nats of the histogram `counts` [m] to `probabilities` [m]; the worst possible if all counts are 0."""
  total = counts.sum()
  shares = counts / jnp.maximum(total, 1)
  kl = jnp.sum(xlogy(shares, shares) - xlogy(shares, probabilities))
  return jnp.where(total > 0, jnp.maximum(kl, 0), -jnp.log(probabilities.min()))


def modes_and_uniform_kl(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
  """How many of m modes have a count, and the KL of `counts` [m] to the uniform distribution in nats.

  It lies between 0 and log m, which also stands for no counts at all. A perfect sampler of n draws gets
  (m - 1) / 2n on average, to first order.
  """
  m = counts.shape[0]
  return jnp.sum(counts > 0), histogram_kl(counts, jnp.full(m, 1 / m))


def covariance_ratio(samples: jax.Array, centres: jax.Array, sigma: float) -> jax.Array:
  """Variance inside modes over that of a Gaussian of `sigma` cut off at 3 sigma: 1 where G is right.

  Pooled over samples [n, d] within 3 sigma of their mode of `centres` [m, d], about each mode's own mean.
  Modes without two such samples do not enter; without any, G has no width, and the ratio is 0. Above
  1 the cut limits it: a Gaussian that is far too wide gets 2.37 in the plane.
  """
  m, d = centres.shape
  index, distance = nearest_mode(samples, centres)
  inside = distance < HIGH_QUALITY_SIGMAS * sigma
  counts = jnp.zeros(m).at[index].add(inside)
  offsets = jnp.where(inside[:, None], (samples - centres[index]) / sigma, 0)
  means = jnp.zeros((m, d)).at[index].add(offsets) / jnp.maximum(counts, 1)[:, None]
  squares = jnp.sum(jnp.where(inside[:, None], offsets - means[index], 0) ** 2)
  freedom = d * jnp.sum(jnp.maximum(counts - 1, 0))
  truth = normal_ball_probability(d + 2, HIGH_QUALITY_SIGMAS) / normal_ball_probability(
    d, HIGH_QUALITY_SIGMAS
  )  # variance of N(0, 1), cut off
  return squares / jnp.maximum(freedom, 1) / truth


def mode_scores(samples: jax.Array, centres: jax.Array, sigma: float) -> dict[str, jax.Array]:
  """Judge samples [n, d] of an even mixture of Gaussians of `sigma` at distant `centres` [m, d].

  The published numbers: 'modes' with a sample within 3 sigma, the share 'high_quality' of such samples,
  'reverse_kl' of their histogram over modes to the uniform one. Then 'covariance_ratio'. 'cell_kl' sees
  all of these faults at once: it is the KL of a histogram to the true one over 2 m + 1 cells, each
  mode's core and the shell around it up to 3 sigma, and the rest of space; a bound from below on the
  KL of the samples' distribution to the truth.
  """
  m, d = centres.shape
  index, distance = nearest_mode(samples, centres)
  core, inside = distance < _CORE * sigma, distance < HIGH_QUALITY_SIGMAS * sigma
  cores = jnp.zeros(m).at[index].add(core)
  counts = jnp.zeros(m).at[index].add(inside)
  n_modes, reverse_kl = modes_and_uniform_kl(counts)
  core_share, share = (
    normal_ball_probability(d, _CORE),
    normal_ball_probability(d, HIGH_QUALITY_SIGMAS),
  )
  cells = jnp.concatenate([cores, counts - cores, jnp.sum(~inside)[None]])
  truth = [core_share / m] * m + [(share - core_share) / m] * m + [1 - share]
  return {
    'modes': n_modes.astype(jnp.float32),
    'high_quality': inside.mean(),
    'reverse_kl': reverse_kl,
    'covariance_ratio': covariance_ratio(samples, centres, sigma),
    'cell_kl': histogram_kl(cells, jnp.array(truth)),
  }
