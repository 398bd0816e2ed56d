"""Divides the divergence of samples from data into parts: by modes, by coarse shape, by fine detail.

The JSD is the information that an example holds about the set it comes from. The cell of an example is a
function of its vector, and that of the example: by the chain rule of information the parts add up.
"""

import math
from typing import NamedTuple

import numpy as np

from gan_jax.metrics.cell_occupancy import CellOccupancy

_LEAST = 0.002  # nats, below which a part is not named


class DivergencePart(NamedTuple):
  """Holds one kind of difference between samples and data."""

  name: str  # one of `PART_NAMES`
  nats: float
  detail: str  # what was measured, for a person


MODE_PARTS = ('missing modes', 'weights of modes')
PART_NAMES = (
  *MODE_PARTS,
  'too narrow within modes',
  'too wide within modes',
  'shape within modes',
  'coarse structure',
  'fine detail',
)


def divide_divergence(
  total: float,
  by_vectors: float,
  cells: CellOccupancy,
  class_shares: tuple[np.ndarray, np.ndarray] | None,
  is_images: bool,
) -> list[DivergencePart]:
  """Returns the parts of a divergence that are worth naming, the largest first.

  Args:
    total: lower bound on the JSD by the best probe, in nats.
    by_vectors: that by probes of vectors: of all coordinates of points, of coarse features of images.
    cells: shares of both sets in cells of the data.
    class_shares: shares of real and of fake examples by class, where a classifier knows them.
    is_images: whether vectors hold less than the examples do.
  """
  total = max(total, 0.0)
  by_modes, where = max(cells.divergence, 0.0), 'cells'
  if class_shares is not None:
    by_class = histogram_divergence(*class_shares)
    by_modes, where = max((by_modes, where), (by_class, 'classes'))
  by_modes = min(by_modes, total)
  coarse = min(max(by_vectors, by_modes), total)
  parts = [_of_modes(by_modes, cells, where)]
  if is_images:
    detail = 'probes of pooled pixels and features see it'
    parts.append(DivergencePart('coarse structure', coarse - by_modes, detail))
    detail = 'only probes of whole images at full resolution see it'
    parts.append(DivergencePart('fine detail', total - coarse, detail))
  else:
    parts.append(_within_modes(total - by_modes, cells.width))
  return sorted((x for x in parts if x.nats > _LEAST), key=lambda x: -x.nats)


def _of_modes(nats: float, cells: CellOccupancy, where: str) -> DivergencePart:
  if cells.missing >= 0.02:
    detail = f'{cells.missing:.0%} of the data lie in cells with hardly a sample'
    return DivergencePart('missing modes', nats, detail)
  ratios = cells.fake / np.maximum(cells.real, 1e-9)
  known = ratios[cells.real > 0.002]
  least, most = (float(x) for x in (known.min(), known.max())) if known.size else (1.0, 1.0)
  detail = f'the share of samples in {where} is {least:.2g} to {most:.2g} times that of data'
  return DivergencePart('weights of modes', nats, detail)


def _within_modes(nats: float, width: float) -> DivergencePart:
  name = 'shape within modes'
  if math.isfinite(width) and not 0.85 <= width <= 1.2:
    name = 'too narrow within modes' if width < 1 else 'too wide within modes'
  detail = f'squared spread within cells: {width:.2g} times that of data'
  return DivergencePart(name, nats, detail)


def histogram_divergence(real: np.ndarray, fake: np.ndarray) -> float:
  """Returns the Jensen-Shannon divergence of two histograms [cells], each of sum 1, in nats."""
  middle = (real + fake) / 2
  terms = [np.where(p > 0, p * np.log(np.maximum(p, 1e-30) / middle), 0) for p in (real, fake)]
  return float(sum(term.sum() for term in terms) / 2)
