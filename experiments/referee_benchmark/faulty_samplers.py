"""Generators with a known fault, made of draws that they did not see; each from its own random numbers."""

import numpy as np
from scipy import ndimage

from experiments.referee_benchmark.benchmark_data import BenchmarkData

Rng = np.random.Generator


def _disturbed(world: BenchmarkData, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
  if world.is_images:
    return np.clip(np.rint(x + noise), 0, 255).astype(np.uint8)
  return (x + noise).astype(np.float32)


def perfect_samples(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Real data that nobody has seen."""
  return world.pool[rng.permutation(len(world.pool))]


def noisy_samples(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Noise of one to two grains on every sample."""
  x = perfect_samples(world, rng)
  return _disturbed(world, x, rng.uniform(1, 2) * world.grain * rng.standard_normal(x.shape))


def blurred_images(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Images out of focus, by .7 to 1.4 pixels."""
  sigma = rng.uniform(0.7, 1.4)
  soft = ndimage.gaussian_filter(
    perfect_samples(world, rng).astype(np.float32), (0, sigma, sigma, 0)
  )
  return np.rint(soft).astype(np.uint8)


def samples_with_dropped_modes(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """A tenth to a half of all cells is never sampled, and at least one."""
  cells = np.unique(world.cells)
  n_lost = max(1, round(rng.uniform(0.1, 0.5) * len(cells)))
  kept = ~np.isin(world.cells, rng.permutation(cells)[:n_lost])
  return world.pool[rng.permutation(np.flatnonzero(kept))]


def samples_with_reweighted_modes(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Cells are sampled with odds that fall geometrically, to a third or a twelfth."""
  cells = rng.permutation(np.unique(world.cells))
  falls = rng.uniform(1.1, 2.5)
  odds = np.zeros(cells.max() + 1)
  odds[cells] = np.exp(-falls * np.linspace(0, 1, len(cells)))
  kept = rng.random(len(world.pool)) < odds[world.cells]
  return world.pool[rng.permutation(np.flatnonzero(kept))]


def samples_with_shrunken_modes(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Of every cell only the half, or 40 to 60 per cent, that lies nearest its middle."""
  kept = world.middle <= rng.uniform(0.4, 0.6)
  return world.pool[rng.permutation(np.flatnonzero(kept))]


def with_small_training_set(world: BenchmarkData, rng: Rng) -> BenchmarkData:
  """The same world, of whose training data sometimes only 2,000 are left."""
  return world._replace(train=world.train[: int(rng.choice([2000, len(world.train)]))])


def training_copies(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Training data, in any order."""
  return world.train[rng.integers(0, len(world.train), len(world.pool) // 2)]


def jittered_training_copies(world: BenchmarkData, rng: Rng) -> np.ndarray:
  """Training data, each moved by a twentieth to a fifth of the distance between neighbours."""
  x = training_copies(world, rng)
  if world.is_images:
    return _disturbed(world, x, rng.uniform(2, 8) * rng.standard_normal(x.shape))
  some = world.train[:2000]
  apart = np.linalg.norm(some[:, None] - world.train[None], axis=-1)
  apart[apart == 0] = np.inf
  step = rng.uniform(0.05, 0.2) * np.median(apart.min(axis=1)) / np.sqrt(x.shape[1])
  return _disturbed(world, x, step * rng.standard_normal(x.shape))
