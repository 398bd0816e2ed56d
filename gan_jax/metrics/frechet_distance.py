"""Frechet distance between Gaussians fitted to features (Heusel et al., 2017), at any number of them.

NumPy in float64 on the host: a feature's variance may be a small difference of large sums, and
devices count in float32. Each tile is centred by its own mean before it is squared, and tiles are
joined by the pairwise update of Chan et al. (1979), so nothing large is ever subtracted.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

_TILE = 4096
_N_SIZES = 15  # numbers of fakes that the extrapolation fits


class Moments(NamedTuple):
  """What is known of n features: their mean [d] and the sum of squares about it [d, d], float64."""

  n: int
  mean: np.ndarray
  scatter: np.ndarray

  @property
  def covariance(self) -> np.ndarray:
    """The unbiased covariance [d, d]; raises ValueError below two features."""
    if self.n < 2:
      raise ValueError(f'{self.n} features have no covariance')
    return self.scatter / (self.n - 1)


def moments(features: npt.ArrayLike) -> Moments:
  """The moments of features [n, d], a tile at a time."""
  rows = np.asarray(features)
  return merge_moments(_tile_moments(rows[i : i + _TILE]) for i in range(0, len(rows), _TILE))


def merge_moments(parts: Iterable[Moments]) -> Moments:
  """The moments of all features together, from those of disjoint parts; raises without a part."""
  return functools.reduce(_join, parts)


def _tile_moments(rows: np.ndarray) -> Moments:
  rows = rows.astype(np.float64)
  mean = rows.mean(axis=0)
  centred = rows - mean
  return Moments(len(rows), mean, centred.T @ centred)


def _join(a: Moments, b: Moments) -> Moments:
  n = a.n + b.n
  delta = b.mean - a.mean
  scatter = a.scatter + b.scatter + np.outer(delta, delta) * (a.n * b.n / n)
  return Moments(n, a.mean + delta * (b.n / n), scatter)


def frechet_distance(
  mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray
) -> float:
  """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2): the squared distance of Dowson & Landau (1982).

  The trace of the root is that of the symmetric (C1^1/2 C2 C1^1/2)^1/2, from its eigenvalues. NaN
  where an argument is not finite.
  """
  if not all(np.isfinite(x).all() for x in (mean1, covariance1, mean2, covariance2)):
    return float('nan')
  return _distance(mean1, _root(covariance1), mean2, covariance2, np.trace(covariance1))


def _root(covariance: np.ndarray) -> np.ndarray:
  """The symmetric root of a covariance; most of a distance's cost, and the same for all that it is of."""
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


def frechet_infinity(real: Moments, fake: npt.ArrayLike, key: jax.Array) -> float:
  """Frechet distance to infinitely many fakes, from fake features [n, d] (Chong & Forsyth, 2020).

  The distance to n fakes is too large by about b / n, so scores at different n do not compare: fit
  a + b / n at 15 sizes from n / 10 to n, each a fresh draw of the fakes, and report a. It may fall
  below 0 where the distributions are equal, and keeps what the number of reals adds. Raises
  ValueError where a tenth of the fakes does not exceed d: below that the bias is no b / n.
  """
  rows = np.asarray(fake)
  n, d = rows.shape
  if n < 10 * (d + 1):
    raise ValueError(
      f'{n} fakes of {d} features: a tenth must exceed {d}, so {10 * (d + 1)} are needed'
    )
  sizes = np.linspace(n // 10, n, _N_SIZES).astype(int)
  covariance = real.covariance
  if not (np.isfinite(covariance).all() and np.isfinite(rows).all()):
    return float('nan')
  root, trace, distances = _root(covariance), np.trace(covariance), []
  for i, size in enumerate(sizes):
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, i), n))
    drawn = moments(rows[order[:size]])
    distances.append(_distance(real.mean, root, drawn.mean, drawn.covariance, trace))
  return float(np.polyfit(1 / sizes, distances, 1)[1])


def _without_noise(eigenvalues: np.ndarray) -> np.ndarray:
  """Eigenvalues with those set to 0 that rounding made: a root would make 1e-8 of a 1e-16."""
  least = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
  return np.where(eigenvalues > least, eigenvalues, 0)
