"""Compares samples with data per cell of a partition: shares of examples, and spread within a cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from gan_jax.metrics.kmeans import assign_cells

_MIN_FOR_SPREAD = 20  # examples of a cell, of real and of fake ones, to compare their spread


class CellOccupancy(NamedTuple):
  """Holds, per cell, the shares of held-out examples and of fakes, and the ratio of their spreads."""

  real: np.ndarray  # [cells], sums to 1
  fake: np.ndarray
  n_real: int
  n_fake: int
  spread: np.ndarray  # [cells], median squared distances to the median, fakes over reals, or NaN

  @property
  def divergence(self) -> float:
    """Returns the Jensen-Shannon divergence of both histograms in nats, less its finite-sample bias."""
    m = len(self.real)
    bias = (m - 1) / 8 * (1 / self.n_real + 1 / self.n_fake)
    middle = (self.real + self.fake) / 2
    terms = [np.where(p > 0, p * np.log(np.maximum(p, 1e-30) / middle), 0) for p in self[:2]]
    return float((terms[0].sum() + terms[1].sum()) / 2 - bias)

  @property
  def missing(self) -> float:
    """Returns the share of data in cells whose share of fakes is below a tenth of their share of data."""
    return float(self.real[self.fake < 0.1 * self.real].sum())

  @property
  def width(self) -> float:
    """Returns the median of `spread` over cells: 1 for fakes as wide as the data; NaN for few examples."""
    known = self.spread[np.isfinite(self.spread)]
    return float(np.median(known)) if known.size else float('nan')


def cell_occupancy(centres: jax.Array, held_out: ArrayLike, fake: ArrayLike) -> CellOccupancy:
  """Compares fakes [m, d] with held-out examples [n, d] in the Voronoi cells of `centres` [k, d]."""
  points = [np.asarray(x) for x in (held_out, fake)]
  real, fakes = (np.asarray(assign_cells(jnp.asarray(x), centres)) for x in points)
  return occupancy_from_labels(real, fakes, len(centres), *points)


def occupancy_from_labels(
  real: np.ndarray, fake: np.ndarray, n_cells: int, real_points: np.ndarray, fake_points: np.ndarray
) -> CellOccupancy:
  """Compares fakes [m, d] with real examples [n, d], given the cell or class of each: int [m], int [n]."""
  shares, variances = [], []
  for labels, points in ((real, real_points), (fake, fake_points)):
    counts = np.bincount(labels, minlength=n_cells)
    shares.append(counts / len(labels))
    within = np.full(n_cells, np.nan)
    for cell in np.flatnonzero(counts >= _MIN_FOR_SPREAD):
      # Medians rather than means: a single outlier does not widen a cell.
      members = points[labels == cell]
      offsets = members - np.median(members, axis=0)[None]
      within[cell] = np.median(np.sum(offsets**2, axis=1))
    variances.append(within)
  spread = np.full(n_cells, np.nan)
  fit = np.isfinite(variances[0]) & np.isfinite(variances[1]) & (variances[0] > 0)
  spread[fit] = variances[1][fit] / variances[0][fit]
  return CellOccupancy(shares[0], shares[1], len(real), len(fake), spread)
