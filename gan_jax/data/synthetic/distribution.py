"""Defines synthetic distributions: what is drawn, its exact density, and how samples are scored against it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SampleFn = Callable[[jax.Array], jax.Array]  # a key to one example
LogDensity = Callable[[jax.Array], jax.Array]  # one example to its log-density in nats
Scorer = Callable[[jax.Array], dict[str, jax.Array]]  # samples [n, *shape] to named scores


class Density(NamedTuple):
  """Holds the sampler and the log-density of a distribution, both functions of one example."""

  sample: SampleFn
  log_density: LogDensity


class SyntheticDistribution(NamedTuple):
  """Holds a distribution to learn, and the scores by which a generator's samples are compared with it."""

  name: str
  shape: tuple[int, ...]  # of one example
  sample: SampleFn
  score_samples: Scorer
  perfect_scores: dict[str, float]  # expected scores of `n_scored` draws of the distribution itself
  ranking_score: str  # name of the score that ranks checkpoints
  n_scored: int  # number of samples to score
  log_density: LogDensity | None = None  # None for a distribution without density
  higher_is_better: bool = False  # of the ranking score
  extent: tuple[float, ...] | None = None  # (low, high) of each axis in turn, for plots
  mode_centres: np.ndarray | None = None  # [m, d], for mixtures


def density_of(distribution: SyntheticDistribution) -> Density:
  """Returns the sampler and log-density of `distribution`; raises ValueError where it has no density."""
  if distribution.log_density is None:
    raise ValueError(f'the synthetic distribution {distribution.name!r} has no density')
  return Density(distribution.sample, distribution.log_density)


def shifted(density: Density, offset: jax.Array | np.ndarray) -> Density:
  """Returns `density` translated by `offset` [d]."""
  return Density(
    lambda key: density.sample(key) + jnp.asarray(offset),
    lambda x: density.log_density(x - jnp.asarray(offset)),
  )


def blended(p: Density, q: Density, weight: float) -> Density:
  """Returns the mixture (1 - weight) p + weight q, for a weight strictly between 0 and 1."""

  def sample(key: jax.Array) -> jax.Array:
    which_key, key = jax.random.split(key)
    from_q = jax.random.bernoulli(which_key, weight)
    return jnp.where(from_q, q.sample(key), p.sample(key))

  def log_density(x: jax.Array) -> jax.Array:
    return jnp.logaddexp(jnp.log1p(-weight) + p.log_density(x), jnp.log(weight) + q.log_density(x))

  return Density(sample, log_density)
