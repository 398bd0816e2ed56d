"""Where samples are too many, too few or too close together: cells of the data, one by one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gan_jax.metrics.kmeans import assign_cells, fit_centres

_FEW = 20  # examples of a cell below which its spread is not compared


class CellOccupancy(NamedTuple):
  """Shares of held-out examples and of fakes in each cell, and how wide the fakes lie there."""

  real: np.ndarray  # [cells], sums to 1
  fake: np.ndarray
  n_real: int
  n_fake: int
  spread: np.ndarray  # mean square distance to the cell's own mean, fakes' over reals'; NaN for few

  @property
  def divergence(self) -> float:
    """Jensen-Shannon divergence of both histograms in nats, less what sampling alone would give."""
    m = len(self.real)
    chance = (m - 1) / 8 * (1 / self.n_real + 1 / self.n_fake)
    middle = (self.real + self.fake) / 2
    terms = [np.where(p > 0, p * np.log(np.maximum(p, 1e-30) / middle), 0) for p in self[:2]]
    return float((terms[0].sum() + terms[1].sum()) / 2 - chance)

  @property
  def missing(self) -> float:
    """Share of the data that lies in cells with less than a tenth of the fakes that belong there."""
    return float(self.real[self.fake < 0.1 * self.real].sum())

  @property
  def width(self) -> float:
    """Median over cells of how wide fakes lie, 1 as the data do; NaN where no cell has enough."""
    found = self.spread[np.isfinite(self.spread)]
    return float(np.median(found)) if found.size else float('nan')


def partition_of(key: jax.Array, train: jax.Array, n_cells: int) -> jax.Array:
  """Centres [n_cells, d] of cells of the training set, by k-means."""
  return fit_centres(key, train, n_cells)


def cell_occupancy(
  centres: jax.Array, held_out: npt.ArrayLike, fake: npt.ArrayLike
) -> CellOccupancy:
  """Compare fakes [m, d] with held-out examples [n, d] in the cells around `centres` [k, d]."""
  ours, theirs = (np.asarray(assign_cells(jnp.asarray(x), centres)) for x in (held_out, fake))
  return occupancy_from_labels(ours, theirs, len(centres), np.asarray(held_out), np.asarray(fake))


def occupancy_from_labels(
  real: np.ndarray,
  fake: np.ndarray,
  n_cells: int,
  real_points: np.ndarray,
  fake_points: np.ndarray,
) -> CellOccupancy:
  """The same from the cell of each example, [n] and [m]: classes, say."""
  shares, variances = [], []
  for labels, points in ((real, real_points), (fake, fake_points)):
    counts = np.bincount(labels, minlength=n_cells)
    shares.append(counts / len(labels))
    within = np.full(n_cells, np.nan)
    for cell in np.flatnonzero(counts >= _FEW):
      # Quartiles rather than variances: one stray sample is not a wide cell.
      own = points[labels == cell]
      within[cell] = np.median(np.sum((own - np.median(own, axis=0)[None]) ** 2, axis=1))
    variances.append(within)
  spread = np.full(n_cells, np.nan)
  fit = np.isfinite(variances[0]) & np.isfinite(variances[1]) & (variances[0] > 0)
  spread[fit] = variances[1][fit] / variances[0][fit]
  return CellOccupancy(shares[0], shares[1], len(real), len(fake), spread)
