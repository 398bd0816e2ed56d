"""Computes the Frechet distance between Gaussians fitted to features (Heusel et al., 2017: FID).

In float64 NumPy on the host, since float32 loses small variances: tiles of features are centred by their mean
before squaring and joined by the pairwise update of Chan et al. (1979).
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

_TILE = 4096
_N_SIZES = 15  # numbers of fakes that `frechet_infinity` extrapolates from


class Moments(NamedTuple):
  """Holds the number n of features, their mean [d] and the scatter matrix about it [d, d], float64."""

  n: int
  mean: np.ndarray
  scatter: np.ndarray

  @property
  def covariance(self) -> np.ndarray:
    """Returns the unbiased covariance [d, d]; raises ValueError below two features."""
    if self.n < 2:
      raise ValueError(f'{self.n} features have no covariance')
    return self.scatter / (self.n - 1)


def moments(features: ArrayLike) -> Moments:
  """Returns the moments of features [n, d]."""
  rows = np.asarray(features)
  return merge_moments(_tile_moments(rows[i : i + _TILE]) for i in range(0, len(rows), _TILE))


def merge_moments(parts: Iterable[Moments]) -> Moments:
  """Returns the moments of a union of disjoint sets of features; raises TypeError without a set."""
  return functools.reduce(_join, parts)


def _tile_moments(rows: np.ndarray) -> Moments:
  rows = rows.astype(np.float64)
  mean = rows.mean(axis=0)
  centred = rows - mean
  return Moments(len(rows), mean, centred.T @ centred)


def _join(a: Moments, b: Moments) -> Moments:
  n, delta = a.n + b.n, b.mean - a.mean
  scatter = a.scatter + b.scatter + np.outer(delta, delta) * (a.n * b.n / n)
  return Moments(n, a.mean + delta * (b.n / n), scatter)


def frechet_distance(
  mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray
) -> float:
  """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2), the squared distance of Dowson & Landau (1982).

  tr (C1 C2)^1/2 is computed from the eigenvalues of the symmetric C1^1/2 C2 C1^1/2. Means are [d],
  covariances [d, d]. NaN where an argument is not finite.
  """
  if not all(np.isfinite(x).all() for x in (mean1, covariance1, mean2, covariance2)):
    return float('nan')
  return _distance(mean1, _sqrt(covariance1), mean2, covariance2, np.trace(covariance1))


def _sqrt(covariance: np.ndarray) -> np.ndarray:
  """Returns the symmetric square root of a covariance, the most expensive part of a distance."""
  values, vectors = np.linalg.eigh(covariance)
  return vectors * np.sqrt(_without_noise(values)) @ vectors.T


def _distance(
  mean1: np.ndarray, root1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray, trace1: float
) -> float:
  product = root1 @ covariance2 @ root1
  shared = np.sqrt(_without_noise(np.linalg.eigvalsh((product + product.T) / 2))).sum()
  difference = mean1 - mean2
  distance = difference @ difference + trace1 + np.trace(covariance2) - 2 * shared
  return max(float(distance), 0.0)


def frechet_infinity(real: Moments, fake: ArrayLike, key: jax.Array) -> float:
  """Returns the Frechet distance extrapolated to infinitely many fakes (Chong & Forsyth, 2020: FID_inf).

  The distance to n fakes has a bias near b / n. Fits a + b / n at 15 sizes from n / 10 to n, each a random
  subset of fake features [n, d], and returns a, which may be below 0 for equal distributions. The bias from
  the number of reals remains. Raises ValueError unless n / 10 > d: below, the bias is not of the form b / n.
  """
  rows = np.asarray(fake)
  n, d = rows.shape
  if n < 10 * (d + 1):
    raise ValueError(f'{n} fakes of {d} features: at least {10 * (d + 1)} are needed')
  sizes, covariance = np.linspace(n // 10, n, _N_SIZES).astype(int), real.covariance
  if not (np.isfinite(covariance).all() and np.isfinite(rows).all()):
    return float('nan')
  root, trace, distances = _sqrt(covariance), np.trace(covariance), []
  for i, size in enumerate(sizes):
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, i), n))
    drawn = moments(rows[order[:size]])
    distances.append(_distance(real.mean, root, drawn.mean, drawn.covariance, trace))
  return float(np.polyfit(1 / sizes, distances, 1)[1])


def _without_noise(eigenvalues: np.ndarray) -> np.ndarray:
  """Sets eigenvalues at the level of rounding to 0, since a square root would magnify 1e-16 to 1e-8."""
  threshold = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
  return np.where(eigenvalues > threshold, eigenvalues, 0)
