"""Where faults are planted: games and sets of images, with the cell of the data that each example lies in."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data
from gan_jax.data.synthetic import SYNTHETIC, curves, mixtures, parabolas
from gan_jax.evaluation import classifier
from gan_jax.metrics import embeddings
from gan_jax.metrics.embeddings import Embedding

_N_GAME = 20_000  # training examples of a game, and held-out ones
_N_POOL = 60_000  # draws that samplers choose from
_PIECES = 8  # cells along a curve, of one arm


class BenchmarkData(NamedTuple):
  """One draw of data: examples are points float32 [n, d] or images uint8 [n, h, w, c]."""

  name: str
  train: np.ndarray
  held_out: np.ndarray
  pool: np.ndarray  # more of the same, which neither training nor the referee sees
  cells: np.ndarray  # of the pool [n]: its mode, class or piece of the curve
  middle: np.ndarray  # rank of each within its cell, 0 in its middle and 1 at its edge
  grain: float  # how large noise is that a person would see, in the unit of the examples
  embedding: Embedding

  @property
  def is_images(self) -> bool:
    """Whether examples are images."""
    return self.pool.ndim == 4


def _ranked(cells: np.ndarray, distance: np.ndarray) -> np.ndarray:
  """The rank of each distance [n] within its cell, in [0, 1]."""
  ranks = np.zeros(len(cells))
  for cell in np.unique(cells):
    own = np.flatnonzero(cells == cell)
    ranks[own[np.argsort(distance[own])]] = np.linspace(0, 1, len(own))
  return ranks


def _of_mixture(mix: mixtures.Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  distances = np.linalg.norm(x[:, None] - np.asarray(mix.centres)[None], axis=-1)
  return distances.argmin(axis=1), distances.min(axis=1)


def _along(u: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
  """Cells of a coordinate in [0, 1], and the distance to their middle."""
  scaled = np.clip(u, 0, 1 - 1e-6) * n
  cells = scaled.astype(int)
  return cells, np.abs(scaled - cells - 0.5)


def _of_spiral(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  curve = curves.spiral()
  project = jax.jit(
    functools.partial(jax.lax.map, functools.partial(curves.project_onto_curve, curve))
  )
  along = np.asarray(project(jnp.asarray(x)).arc_length)
  arms = len(curve.turns)
  return _along(along / (arms * curve.length), arms * _PIECES)


def _of_painter(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return _along(np.asarray(jax.vmap(parabolas.fit_parabola)(jnp.asarray(x))) - 1, _PIECES)


LocateFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
SYNTHETIC_DATASETS: dict[str, tuple[LocateFn, float]] = {
  'ring': (functools.partial(_of_mixture, mixtures.ring()), 0.01),
  'grid': (functools.partial(_of_mixture, mixtures.grid()), 0.05),
  'spiral': (_of_spiral, 0.02),
  'painter': (_of_painter, 0.02),
}
IMAGE_DATASETS = ('mnist', 'fashion_mnist')
_GREY_LEVELS = 20.0  # of noise on an image that a person would see


def draw_synthetic_data(name: str, seed: int) -> BenchmarkData:
  """Draws of the game `name`, others for every seed."""
  locate, grain = SYNTHETIC_DATASETS[name]
  sample = jax.jit(jax.vmap(SYNTHETIC[name].sample))
  keys = jax.random.split(jax.random.fold_in(jax.random.key(77), seed), 2 * _N_GAME + _N_POOL)
  drawn = np.asarray(sample(keys))
  train, held_out, pool = np.split(drawn, [_N_GAME, 2 * _N_GAME])
  cells, distance = locate(pool)
  embedding = embeddings.point_embedding(train)
  return BenchmarkData(
    name, train, held_out, pool, cells, _ranked(cells, distance), grain, embedding
  )


def split_image_data(name: str, seed: int, data_dir: str, cache: Path | None) -> BenchmarkData:
  """The images of the set `name`, shuffled anew for every seed and parted into 40,000, 10,000 and 20,000."""
  known = data.load_dataset(name, data_dir)
  assert known.train_labels is not None
  judge = classifier.load_or_train(known, cache)
  images = np.concatenate([known.train, known.validation, known.test])
  labels = np.concatenate([known.train_labels, known.validation_labels, known.test_labels])
  order = np.random.default_rng(seed).permutation(len(images))
  parts = np.split(order, [len(images) - 30_000, len(images) - 20_000])
  train, held_out, pool = (images[part] for part in parts)
  cells = labels[parts[2]]
  features = judge.features(pool)
  means = np.stack([features[cells == c].mean(axis=0) for c in range(known.n_classes)])
  distance = np.linalg.norm(features - means[cells], axis=1)
  embedding = embeddings.image_embedding(train, judge.features, f'classifier {judge.hash[:16]}')
  ranks = _ranked(cells, distance)
  return BenchmarkData(name, train, held_out, pool, cells, ranks, _GREY_LEVELS, embedding)
