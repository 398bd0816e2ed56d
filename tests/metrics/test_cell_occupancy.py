"""Where samples are too many, too few or too close together."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from gan_jax.metrics import cell_occupancy, kmeans

RNG = np.random.default_rng(0)
CENTRES = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)


def draw(shares, n=4000, width=1.0):
  labels = RNG.choice(4, n, p=shares)
  return (CENTRES[labels] + width * RNG.normal(size=(n, 2))).astype(np.float32)


def test_the_divergence_is_that_of_both_histograms():
  p, q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
  found = cell_occupancy.cell_occupancy(CENTRES, draw(p), draw(q))
  assert found.divergence == pytest.approx(jensenshannon(p, q) ** 2, abs=0.01)
  np.testing.assert_allclose(found.real, p, atol=0.03)


def test_of_the_same_distribution_it_is_zero_on_average():
  even = np.full(4, 0.25)
  found = [
    cell_occupancy.cell_occupancy(CENTRES, draw(even, 400), draw(even, 300)).divergence
    for _ in range(60)
  ]
  assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / np.sqrt(60))


def test_missing_is_the_share_of_the_data_that_no_sample_covers():
  found = cell_occupancy.cell_occupancy(CENTRES, draw([0.25] * 4), draw([0.5, 0.5, 0, 0]))
  assert found.missing == pytest.approx(0.5, abs=0.03)
  assert (
    cell_occupancy.cell_occupancy(CENTRES, draw([0.25] * 4), draw([0.4, 0.3, 0.2, 0.1])).missing
    == 0
  )


@pytest.mark.parametrize('width', [0.5, 1, 2])
def test_width_is_the_ratio_of_variances_within_cells(width):
  found = cell_occupancy.cell_occupancy(CENTRES, draw([0.25] * 4), draw([0.25] * 4, width=width))
  assert found.width == pytest.approx(width**2, rel=0.15)


def test_cells_of_few_are_not_compared_in_width():
  found = cell_occupancy.cell_occupancy(CENTRES, draw([0.25] * 4), draw([1, 0, 0, 0]))
  assert np.isfinite(found.spread).tolist() == [True, False, False, False]
  nothing = cell_occupancy.cell_occupancy(CENTRES, draw([0.25] * 4, 40), draw([0.25] * 4, 40))
  assert np.isnan(nothing.width)


def test_centres_come_from_the_training_set():
  centres = np.asarray(
    kmeans.fit_centres(jax.random.key(0), jax.numpy.asarray(draw([0.25] * 4)), 4)
  )
  np.testing.assert_allclose(centres[np.lexsort(centres.round().T)], CENTRES, atol=0.2)
