"""Draws samples of a perfect generator or of one with a known fault, from data that no other set contains."""

import numpy as np
from scipy import ndimage

from .benchmark_data import BenchmarkData

Rng = np.random.Generator


def _add_noise(data: BenchmarkData, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
  if data.is_images:
    return np.clip(np.rint(x + noise), 0, 255).astype(np.uint8)
  return (x + noise).astype(np.float32)


def perfect_samples(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Returns the pool, real data, in random order."""
  return data.pool[rng.permutation(len(data.pool))]


def noisy_samples(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Adds noise of one to two times `noise_std` to perfect samples."""
  x = perfect_samples(data, rng)
  return _add_noise(data, x, rng.uniform(1, 2) * data.noise_std * rng.standard_normal(x.shape))


def blurred_images(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Blurs perfect samples by a Gaussian of 0.7 to 1.4 pixels."""
  sigma = rng.uniform(0.7, 1.4)
  soft = ndimage.gaussian_filter(
    perfect_samples(data, rng).astype(np.float32), (0, sigma, sigma, 0)
  )
  return np.rint(soft).astype(np.uint8)


def dropped_modes(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Removes a tenth to a half of all modes, at least one."""
  modes = np.unique(data.modes)
  n_dropped = max(1, round(rng.uniform(0.1, 0.5) * len(modes)))
  kept = ~np.isin(data.modes, rng.permutation(modes)[:n_dropped])
  return data.pool[rng.permutation(np.flatnonzero(kept))]


def reweighted_modes(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Keeps samples with a probability that falls geometrically over modes, to 1/3 or down to 1/12."""
  modes = rng.permutation(np.unique(data.modes))
  decay = rng.uniform(1.1, 2.5)
  probabilities = np.zeros(modes.max() + 1)
  probabilities[modes] = np.exp(-decay * np.linspace(0, 1, len(modes)))
  kept = rng.random(len(data.pool)) < probabilities[data.modes]
  return data.pool[rng.permutation(np.flatnonzero(kept))]


def shrunken_modes(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Keeps the 40 to 60 per cent of each mode that are nearest its centre."""
  kept = data.distance_rank <= rng.uniform(0.4, 0.6)
  return data.pool[rng.permutation(np.flatnonzero(kept))]


def with_small_training_set(data: BenchmarkData, rng: Rng) -> BenchmarkData:
  """Cuts the training data to 2,000 examples, with probability 1/2."""
  return data._replace(train=data.train[: int(rng.choice([2000, len(data.train)]))])


def training_copies(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Draws training examples with replacement."""
  return data.train[rng.integers(0, len(data.train), len(data.pool) // 2)]


def jittered_copies(data: BenchmarkData, rng: Rng) -> np.ndarray:
  """Adds noise to training examples: 1/20 to 1/5 of the distance of neighbours, or 2 to 8 grey levels."""
  x = training_copies(data, rng)
  if data.is_images:
    return _add_noise(data, x, rng.uniform(2, 8) * rng.standard_normal(x.shape))
  distances = np.linalg.norm(data.train[:2000, None] - data.train[None], axis=-1)
  distances[distances == 0] = np.inf
  std = rng.uniform(0.05, 0.2) * np.median(distances.min(axis=1)) / np.sqrt(x.shape[1])
  return _add_noise(data, x, std * rng.standard_normal(x.shape))
