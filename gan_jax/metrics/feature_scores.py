"""Computes all scores of samples in a feature space: fidelity, diversity and memorisation."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.metrics import frechet_distance
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel_distance import kernel_distance
from gan_jax.metrics.memorisation import authenticity, data_copying_score
from gan_jax.metrics.precision_recall import PrecisionRecall, precision_recall

T = TypeVar('T')
_POOLED_SIDE = 8  # pixels per side of pooled images
_CHUNK = 500  # images pooled at once
_NANS = PrecisionRecall(*[math.nan] * 4)


class FeatureScores(NamedTuple):
  """Holds the scores of one set of samples, each defined in the module of its metric."""

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
  """Scores fake features [m, d] against held-out [n, d] and, for memorisation, training features [l, d].

  A score without enough features is NaN.
  """
  moments = [frechet_distance.moments(x) for x in (held_out, fake)]
  trained, real, generated = (jnp.asarray(x) for x in (train, held_out, fake))
  return FeatureScores(
    frechet_or_nan(moments[1], moments[0]),
    _or_nan(lambda: kernel_distance(real, generated).value, math.nan),
    *_or_nan(lambda: precision_recall(real, generated), _NANS),
    _or_nan(lambda: authenticity(trained, generated), math.nan),
    _or_nan(lambda: data_copying_score(trained, real, generated, key), math.nan),
  )


class NetworkScores(NamedTuple):
  """Holds the scores of one set of samples in the features of a pretrained network."""

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
  """Scores fake features [m, d], and their class probabilities [m, c], against held-out features [n, d].

  A score without enough features is NaN.
  """
  moments = frechet_distance.moments(held_out)
  real, generated = jnp.asarray(held_out), jnp.asarray(fake)
  has_classes = probabilities is not None and np.isfinite(probabilities).all()
  return NetworkScores(
    frechet_or_nan(frechet_distance.moments(fake), moments),
    _or_nan(lambda: frechet_distance.frechet_infinity(moments, fake, key), math.nan),
    _or_nan(lambda: kernel_distance(real, generated).value, math.nan),
    *_or_nan(lambda: precision_recall(real, generated), _NANS),
    inception_score(jnp.asarray(probabilities)) if has_classes else math.nan,
  )


def _or_nan(score: Callable[[], T], nan: T) -> T:
  """Returns `score()`, or `nan` if it raises ValueError for too few features."""
  try:
    return score()
  except ValueError:
    return nan


def frechet_or_nan(a: frechet_distance.Moments, b: frechet_distance.Moments) -> float:
  """Returns the Frechet distance of two sets of features; NaN if one has fewer than two."""
  if min(a.n, b.n) < 2:
    return math.nan
  return frechet_distance.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def average_pool_8x8(images: np.ndarray) -> np.ndarray:
  """Returns uint8 images [n, h, w, c] averaged down to 8 x 8 pixels in [0, 1]: float32 rows [n, 64 c].

  Sides below 8 pixels are kept. These features need no trained network.
  """
  n, h, w, c = images.shape
  rows, columns = (np.unique(np.arange(_POOLED_SIDE) * side // _POOLED_SIDE) for side in (h, w))
  pooled = np.empty((n, len(rows) * len(columns) * c), np.float32)
  areas = np.outer(np.diff([*rows, h]), np.diff([*columns, w]))[None, :, :, None]
  for i in range(0, n, _CHUNK):
    sums = np.add.reduceat(images[i : i + _CHUNK], rows, axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns, axis=2)
    pooled[i : i + _CHUNK] = (sums / (255 * areas)).reshape(len(sums), -1)
  return pooled
