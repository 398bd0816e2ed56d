"""Draws the data of the benchmark: synthetic points and images, each example assigned to a mode."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data
from gan_jax.data.synthetic import SYNTHETIC, mixtures, moons_and_spirals, parabolas
from gan_jax.evaluation import classifier
from gan_jax.metrics import embeddings
from gan_jax.metrics.embeddings import Embedding

_N_SYNTHETIC = 20_000  # training examples of a synthetic distribution, and held-out ones
_N_POOL = 60_000  # draws from which faulty samplers choose
_N_SEGMENTS = 8  # of each arm of a curve


class BenchmarkData(NamedTuple):
  """Holds one draw of data: points float32 [n, d] or images uint8 [n, h, w, c]."""

  name: str
  train: np.ndarray
  held_out: np.ndarray
  pool: np.ndarray  # further data, for faulty samplers only
  modes: np.ndarray  # mode, class or curve segment of each example of the pool [n]
  distance_rank: np.ndarray  # rank in [0, 1] of its distance to the centre of its mode [n]
  noise_std: float  # of visible noise, in the unit of the examples
  embedding: Embedding

  @property
  def is_images(self) -> bool:
    """Returns whether examples are images."""
    return self.pool.ndim == 4


def _ranks_within_modes(modes: np.ndarray, distances: np.ndarray) -> np.ndarray:
  """Returns the rank in [0, 1] of each distance [n] among those of its mode."""
  ranks = np.zeros(len(modes))
  for mode in np.unique(modes):
    members = np.flatnonzero(modes == mode)
    ranks[members[np.argsort(distances[members])]] = np.linspace(0, 1, len(members))
  return ranks


def _mixture_modes(mixture: mixtures.Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  distances = np.linalg.norm(x[:, None] - np.asarray(mixture.centres)[None], axis=-1)
  return distances.argmin(axis=1), distances.min(axis=1)


def _segments(coordinate: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns which of n equal segments of [0, 1] holds each coordinate, and the distance to its centre."""
  scaled = np.clip(coordinate, 0, 1 - 1e-6) * n
  segments = scaled.astype(int)
  return segments, np.abs(scaled - segments - 0.5)


def _spiral_segments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  curve = moons_and_spirals.spiral()
  project = jax.jit(
    functools.partial(jax.lax.map, functools.partial(moons_and_spirals.project_onto_curve, curve))
  )
  arc_length = np.asarray(project(jnp.asarray(x)).arc_length)
  arms = len(curve.turns)
  return _segments(arc_length / (arms * curve.length), arms * _N_SEGMENTS)


def _parabola_segments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return _segments(np.asarray(jax.vmap(parabolas.fit_parabola)(jnp.asarray(x))) - 1, _N_SEGMENTS)


# Maps points [n, d] to their modes and to the distances to the centres of these.
LocateFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
# Mode assignment and std of visible noise.
SYNTHETIC_DATASETS: dict[str, tuple[LocateFn, float]] = {
  'ring': (functools.partial(_mixture_modes, mixtures.ring()), 0.01),
  'grid': (functools.partial(_mixture_modes, mixtures.grid()), 0.05),
  'spiral': (_spiral_segments, 0.02),
  'painter': (_parabola_segments, 0.02),
}
IMAGE_DATASETS = ('mnist', 'fashion_mnist')
_IMAGE_NOISE_STD = 20.0  # grey levels


def draw_synthetic_data(name: str, seed: int) -> BenchmarkData:
  """Draws training, held-out and pool data of a synthetic distribution."""
  locate, noise_std = SYNTHETIC_DATASETS[name]
  sample = jax.jit(jax.vmap(SYNTHETIC[name].sample))
  keys = jax.random.split(jax.random.fold_in(jax.random.key(77), seed), 2 * _N_SYNTHETIC + _N_POOL)
  drawn = np.asarray(sample(keys))
  train, held_out, pool = np.split(drawn, [_N_SYNTHETIC, 2 * _N_SYNTHETIC])
  modes, distances = locate(pool)
  ranks = _ranks_within_modes(modes, distances)
  embedding = embeddings.point_embedding(train)
  return BenchmarkData(name, train, held_out, pool, modes, ranks, noise_std, embedding)


def split_image_data(name: str, seed: int, data_dir: str, cache: Path | None) -> BenchmarkData:
  """Splits the images of a data set at random into training data, 10,000 held-out ones and a pool of 20,000."""
  dataset = data.load_dataset(name, data_dir)
  assert dataset.train_labels is not None
  network = classifier.load_or_train(dataset, cache)
  images = np.concatenate([dataset.train, dataset.validation, dataset.test])
  labels = np.concatenate([dataset.train_labels, dataset.validation_labels, dataset.test_labels])
  order = np.random.default_rng(seed).permutation(len(images))
  parts = np.split(order, [len(images) - 30_000, len(images) - 20_000])
  train, held_out, pool = (images[part] for part in parts)
  modes = labels[parts[2]]
  features = network.features(pool)
  means = np.stack([features[modes == c].mean(axis=0) for c in range(dataset.n_classes)])
  distances = np.linalg.norm(features - means[modes], axis=1)
  embedding = embeddings.image_embedding(train, network.features, f'classifier {network.hash[:16]}')
  ranks = _ranks_within_modes(modes, distances)
  return BenchmarkData(name, train, held_out, pool, modes, ranks, _IMAGE_NOISE_STD, embedding)
