"""Defines mixtures of isotropic Gaussians: one on a line, a ring of 8 and a grid of 25 in the plane."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.synthetic.distribution import Density, SyntheticDistribution
from gan_jax.metrics.kolmogorov_smirnov import expected_ks_distance, ks_distance
from gan_jax.metrics.mode_coverage import HIGH_QUALITY_SIGMAS, mode_scores, normal_ball_probability


class Mixture(NamedTuple):
  """Holds the centres [m, d], standard deviations [m] and weights [m], of sum 1, of Gaussian components."""

  centres: np.ndarray
  sigmas: np.ndarray
  weights: np.ndarray


def mixture(
  centres: np.ndarray, sigma: float | np.ndarray, weights: Sequence[float] | None = None
) -> Mixture:
  """Returns a mixture with `centres` [m, d], one sigma or [m], and weights [m] scaled to sum to 1, or equal."""
  m = len(centres)
  w = np.ones(m) if weights is None else np.asarray(weights, float)
  return Mixture(np.asarray(centres, float), np.full(m, sigma), w / w.sum())


def sample(mix: Mixture, key: jax.Array) -> jax.Array:
  """Draws one point [d]."""
  which_key, noise_key = jax.random.split(key)
  m, d = mix.centres.shape
  which = jax.random.choice(which_key, m, p=jnp.asarray(mix.weights))
  noise = jax.random.normal(noise_key, (d,))
  return jnp.asarray(mix.centres)[which] + jnp.asarray(mix.sigmas)[which] * noise


def log_density(mix: Mixture, x: jax.Array) -> jax.Array:
  """Returns the log-density at one point [d], in nats."""
  d, sigmas = mix.centres.shape[1], jnp.asarray(mix.sigmas)
  squares = jnp.sum(((x[None] - jnp.asarray(mix.centres)) / sigmas[:, None]) ** 2, axis=1)
  normaliser = d * jnp.log(sigmas * math.sqrt(2 * math.pi))
  return jax.nn.logsumexp(jnp.log(jnp.asarray(mix.weights)) - squares / 2 - normaliser)


def density(mix: Mixture) -> Density:
  """Returns the sampler and log-density of the mixture."""
  return Density(partial(sample, mix), partial(log_density, mix))


def widened(mix: Mixture, factor: float) -> Mixture:
  """Returns the mixture with every sigma times `factor`."""
  return mix._replace(sigmas=mix.sigmas * factor)


def reweighted(mix: Mixture, weights: Sequence[float]) -> Mixture:
  """Returns the mixture with other weights [m], scaled to sum to 1."""
  return mixture(mix.centres, mix.sigmas, weights)


def without_components(mix: Mixture, dropped: Sequence[int]) -> Mixture:
  """Returns the mixture without the components of indices `dropped`, the other weights in proportion."""
  weights = mix.weights.copy()
  weights[list(dropped)] = 0
  return reweighted(mix, weights.tolist())


def gaussian() -> Mixture:
  """Returns N(1, 1/4) on a line, unlike a standard normal latent in mean and in variance."""
  return mixture(np.array([[1.0]]), 0.5)


def ring() -> Mixture:
  """Returns eight modes of sigma .01 on the unit circle, 45 degrees apart."""
  angles = 2 * np.pi * np.arange(8) / 8
  return mixture(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01)


def grid() -> Mixture:
  """Returns 25 modes of sigma .05 at {-4, -2, 0, 2, 4}^2."""
  positions = np.arange(-4.0, 5.0, 2.0)
  return mixture(np.stack(np.meshgrid(positions, positions), axis=-1).reshape(-1, 2), 0.05)


def mixture_distribution(name: str, mix: Mixture) -> SyntheticDistribution:
  """Returns a mixture in the plane, scored by the coverage, weight and width of its modes in 2,500 samples.

  The perfect scores assume equal weights, and one sigma that is small against the distances of centres.
  """
  m, n = len(mix.centres), 2500
  high_quality = normal_ball_probability(2, HIGH_QUALITY_SIGMAS)
  margin = 0.25 * np.abs(mix.centres).max()
  low, high = mix.centres.min(axis=0) - margin, mix.centres.max(axis=0) + margin
  return SyntheticDistribution(
    name,
    shape=(2,),
    sample=partial(sample, mix),
    log_density=partial(log_density, mix),
    score_samples=lambda x: mode_scores(x, jnp.asarray(mix.centres), float(mix.sigmas[0])),
    perfect_scores={
      'modes': float(m),
      'high_quality': high_quality,
      'reverse_kl': (m - 1) / (2 * n * high_quality),  # half a chi-square over n, to first order
      'covariance_ratio': 1.0,
      'cell_kl': 2 * m / (2 * n),
    },
    ranking_score='cell_kl',
    n_scored=n,
    extent=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
    mode_centres=mix.centres,
  )


def gaussian_scores(samples: jax.Array, mean: float, std: float) -> dict[str, jax.Array]:
  """Returns mean, std, and Kolmogorov-Smirnov and Wasserstein-1 distances to N(mean, std^2) of [n, 1]."""
  x = samples[:, 0]
  n = x.shape[0]
  quantiles = mean + std * jax.scipy.special.ndtri((jnp.arange(n) + 0.5) / n)
  return {
    'mean': x.mean(),
    'std': x.std(),
    'ks': ks_distance(x, lambda y: jax.scipy.special.ndtr((y - mean) / std)),
    'wasserstein': jnp.mean(jnp.abs(jnp.sort(x) - quantiles)),
  }


def gaussian_distribution() -> SyntheticDistribution:
  """Returns the Gaussian on a line, as in figure 1 of Goodfellow et al. (2014)."""
  mix, n = gaussian(), 10_000
  mean, std = float(mix.centres[0, 0]), float(mix.sigmas[0])
  # sqrt(2 / pi n) times the integral of sqrt(F (1 - F)), which is 1.6147 for N(0, 1).
  wasserstein, ks = std * 1.6147 * math.sqrt(2 / (math.pi * n)), expected_ks_distance(n)
  return SyntheticDistribution(
    'gaussian',
    shape=(1,),
    sample=partial(sample, mix),
    log_density=partial(log_density, mix),
    score_samples=lambda samples: gaussian_scores(samples, mean, std),
    perfect_scores=dict(mean=mean, std=std, ks=ks, wasserstein=wasserstein),
    ranking_score='wasserstein',
    n_scored=n,
    extent=(mean - 6 * std, mean + 6 * std),
    mode_centres=mix.centres,
  )
