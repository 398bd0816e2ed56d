"""Tests that the parts of a divergence add up and are named after the fault."""

import math

import numpy as np
import pytest

from gan_jax.diagnosis.divergence_parts import divide_divergence, histogram_divergence
from gan_jax.metrics.cell_occupancy import CellOccupancy


def cells(fake, width=1.0):
  n = len(fake)
  return CellOccupancy(np.full(n, 1 / n), np.asarray(fake), 10_000, 10_000, np.full(n, width))


EVEN = cells([0.25] * 4)


def test_half_of_the_modes_missing_is_the_whole_divergence_of_a_perfect_rest():
  # JSD of uniform shares on four cells and on two of them: log 2 - (3/4) log 3 + (1/2) log 2 nats.
  expected = histogram_divergence(np.full(4, 0.25), np.array([0.5, 0.5, 0, 0]))
  assert expected == pytest.approx(1.5 * math.log(2) - 0.75 * math.log(3))
  (part,) = divide_divergence(expected, expected, cells([0.5, 0.5, 0, 0]), None, False)
  assert part.name == 'missing modes'
  assert part.nats == pytest.approx(expected, abs=1e-3)
  assert part.detail.startswith('50% of the data')


def test_parts_add_up_to_the_total():
  parts = divide_divergence(0.3, 0.2, cells([0.4, 0.3, 0.2, 0.1]), None, True)
  assert {part.name for part in parts} == {'weights of modes', 'coarse structure', 'fine detail'}
  assert sum(part.nats for part in parts) == pytest.approx(0.3)
  assert parts[0].nats >= parts[1].nats >= parts[2].nats


@pytest.mark.parametrize(
  ('width', 'name'),
  [(1.0, 'shape within modes'), (3.0, 'too wide within modes'), (0.3, 'too narrow within modes')],
)
def test_what_is_left_of_points_is_named_by_the_spread(width, name):
  (part,) = divide_divergence(0.2, 0.2, cells([0.25] * 4, width), None, False)
  assert part.name == name
  assert part.nats == pytest.approx(0.2, abs=1e-3)


def test_classes_count_where_they_show_more_than_cells():
  shares = (np.full(10, 0.1), np.array([0.19] * 5 + [0.01] * 5))
  parts = divide_divergence(0.3, 0.25, EVEN, shares, True)
  modes = next(part for part in parts if part.name == 'weights of modes')
  assert modes.nats == pytest.approx(histogram_divergence(*shares))
  assert 'classes' in modes.detail


def test_no_divergence_has_no_part():
  assert divide_divergence(-0.003, -0.003, EVEN, None, True) == []
