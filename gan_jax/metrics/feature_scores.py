"""All that features say of samples: how near they are, how varied, how much of them is known by heart."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.metrics import frechet_distance
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel_distance import kernel_distance
from gan_jax.metrics.memorisation import authenticity, data_copying_score
from gan_jax.metrics.precision_recall import PrecisionRecall, precision_recall

_CELLS = 8  # a side of what is left of averaged images
_CHUNK = 500  # images averaged at once


class FeatureScores(NamedTuple):
  """Scores of one set of samples; each is told by its own module."""

  frechet: float
  kernel: float  # the kernel distance
  precision: float
  recall: float
  density: float
  coverage: float
  authentic: float  # per cent
  copying: float  # C_T


def feature_scores(
  train: np.ndarray, held_out: np.ndarray, fake: np.ndarray, key: jax.Array
) -> FeatureScores:
  """Judge features `fake` [m, d] by `held_out` ones [n, d]; `train` [l, d] tells who copies.

  A score for which there are too few of them is NaN.
  """
  real, ours = frechet_distance.moments(held_out), frechet_distance.moments(fake)
  known, fresh, made = (jnp.asarray(x) for x in (train, held_out, fake))
  return FeatureScores(
    frechet_or_nan(ours, real),
    _or_nan(lambda: kernel_distance(fresh, made).value),
    *_manifold_or_nan(fresh, made),
    _or_nan(lambda: authenticity(known, made)),
    _or_nan(lambda: data_copying_score(known, fresh, made, key)),
  )


class NetworkScores(NamedTuple):
  """Scores of one set of samples in the features of a network that was trained on other images."""

  frechet: float
  frechet_infinity: float  # NaN below ten samples for each feature
  kernel: float  # the kernel distance
  precision: float
  recall: float
  density: float
  coverage: float
  inception_score: float  # NaN for a network without classes


def network_scores(
  held_out: np.ndarray, fake: np.ndarray, probabilities: np.ndarray | None, key: jax.Array
) -> NetworkScores:
  """Judge features `fake` [m, d], and their class probabilities [m, c], by `held_out` ones [n, d].

  A score for which there are too few of them is NaN.
  """
  real, made = frechet_distance.moments(held_out), jnp.asarray(fake)
  fresh = jnp.asarray(held_out)
  known = probabilities is not None and np.isfinite(probabilities).all()
  return NetworkScores(
    frechet_or_nan(frechet_distance.moments(fake), real),
    _or_nan(lambda: frechet_distance.frechet_infinity(real, fake, key)),
    _or_nan(lambda: kernel_distance(fresh, made).value),
    *_manifold_or_nan(fresh, made),
    inception_score(jnp.asarray(probabilities)) if known else math.nan,
  )


def _or_nan(score: Callable[[], float]) -> float:
  """A score; NaN where there are too few features, of which each module raises ValueError."""
  try:
    return score()
  except ValueError:
    return math.nan


def _manifold_or_nan(real: jax.Array, fake: jax.Array) -> PrecisionRecall:
  try:
    return precision_recall(real, fake)
  except ValueError:  # too few
    return PrecisionRecall(*[math.nan] * len(PrecisionRecall._fields))


def frechet_or_nan(a: frechet_distance.Moments, b: frechet_distance.Moments) -> float:
  """The Frechet distance of two sets of features; NaN where one of them has fewer than two."""
  if min(a.n, b.n) < 2:
    return math.nan
  return frechet_distance.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def average_pool_8x8(images: np.ndarray) -> np.ndarray:
  """Uint8 images [n, h, w, c] averaged down to 8 x 8 pixels in [0, 1]: float32 rows [n, 64 c].

  Features that every set has, without labels and at any size; smaller sides stay as they are.
  """
  n, h, w, c = images.shape
  rows, columns = (np.unique(np.arange(_CELLS) * side // _CELLS) for side in (h, w))
  found = np.empty((n, len(rows) * len(columns) * c), np.float32)
  areas = np.outer(np.diff([*rows, h]), np.diff([*columns, w]))[None, :, :, None]
  for i in range(0, n, _CHUNK):
    sums = np.add.reduceat(images[i : i + _CHUNK], rows, axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns, axis=2)
    found[i : i + _CHUNK] = (sums / (255 * areas)).reshape(len(sums), -1)
  return found
