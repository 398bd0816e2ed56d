"""Estimates the number of distinct samples of a generator by the birthday paradox (Arora & Zhang, 2017)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics.nearest_neighbours import squared_distances


class SupportSize(NamedTuple):
  """Holds an estimated support size; infinite if fewer than half of the batches hold a near-duplicate."""

  size: float  # number of equally likely samples that would repeat as soon
  batch: float  # the smallest batch that holds a near-duplicate with probability 1/2
  probability: np.ndarray  # [s_max + 1]: that a batch of s samples holds a near-duplicate


def estimate_support_size(
  samples: jax.Array, distance: float, key: jax.Array, batch: int = 1000, trials: int = 400
) -> SupportSize:
  """Estimates the support size of samples [n, d], where two within `distance` count as duplicates.

  s draws from N equally likely values are all different with probability near exp(-s (s - 1) / 2N), which
  is 1/2 at N = s (s - 1) / (2 log 2). Unequal values repeat sooner, so the estimate is a lower bound.

  Draws `trials` random batches of size `batch`, the largest s examined: with 400, the relative standard
  deviation of the estimate is about 7 %. NaN where a feature is not finite; raises ValueError for n < batch.
  """
  if not 2 <= batch <= len(samples):
    raise ValueError(f'{len(samples)} samples: a batch of {batch} needs as many, and 2 at least')
  samples = jnp.asarray(samples)
  if not jnp.isfinite(samples).all():
    return SupportSize(math.nan, math.nan, np.full(batch + 1, math.nan))
  firsts = np.asarray(_first_repeats(samples, jnp.float32(distance), key, batch, trials))
  probability = np.cumsum(np.bincount(firsts, minlength=batch + 2)[: batch + 1]) / trials
  if probability[-1] < 0.5:
    return SupportSize(math.inf, math.inf, probability)
  half = int(np.argmax(probability >= 0.5))
  return SupportSize(half * (half - 1) / (2 * math.log(2)), half, probability)


@functools.partial(jax.jit, static_argnames=('batch', 'trials'))
def _first_repeats(
  samples: jax.Array, distance: jax.Array, key: jax.Array, batch: int, trials: int
) -> jax.Array:
  """Returns, per trial, the number of samples drawn up to the first duplicate, or batch + 1: [trials]."""
  samples = samples - samples.mean(axis=0, keepdims=True)
  earlier = jnp.tril(jnp.ones((batch, batch), bool), -1)

  def trial(drawn: jax.Array) -> jax.Array:
    near = earlier & (squared_distances(samples[drawn], samples[drawn]) <= distance**2)
    repeats = near.any(axis=1)
    return jnp.where(repeats.any(), repeats.argmax() + 1, batch + 1)

  # One permutation of all samples is cut into many batches: shuffling costs more than comparing.
  n_batches = len(samples) // batch

  def shuffled(key: jax.Array) -> jax.Array:
    order = jax.random.permutation(key, len(samples))
    return lax.map(trial, order[: n_batches * batch].reshape(n_batches, batch))

  keys = jax.random.split(key, -(-trials // n_batches))
  return lax.map(shuffled, keys).ravel()[:trials]


def median_closest_pair(samples: jax.Array, key: jax.Array, batch: int, trials: int = 100) -> float:
  """Returns the median, over `trials` random batches of samples [n, d], of the closest pair's distance.

  At this distance a batch holds near-duplicates with probability 1/2.
  """
  centred = samples - samples.mean(axis=0, keepdims=True)
  return float(jnp.median(_closest_pairs(centred, key, batch, trials)))


@functools.partial(jax.jit, static_argnames=('batch', 'trials'))
def _closest_pairs(samples: jax.Array, key: jax.Array, batch: int, trials: int) -> jax.Array:
  def trial(key: jax.Array) -> jax.Array:
    x = jax.random.choice(key, samples, (batch,), replace=False)
    return jnp.sqrt((squared_distances(x, x) + jnp.diag(jnp.full(batch, jnp.inf))).min())

  return lax.map(trial, jax.random.split(key, trials))
