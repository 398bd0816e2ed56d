"""Tests the energy distance against all pairs, and closed forms."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from gan_jax.metrics.energy_distance import energy_distance


@pytest.mark.parametrize(('d', 'exponent'), [(2, 0.5), (2, 1.0), (40, 1.0)])
def test_the_distance_is_that_of_all_pairs(d, exponent):
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(600, d)), rng.normal(0.5, 1, size=(301, d))
  powers = lambda distances: (distances**exponent).mean()
  expected = 2 * powers(cdist(x, y)) - powers(pdist(x)) - powers(pdist(y))
  assert energy_distance(x, y, exponent) == pytest.approx(expected, abs=1e-4)


def test_equal_distributions_have_none_on_average():
  rng = np.random.default_rng(1)
  values = [energy_distance(*rng.normal(size=(2, 200, 3))) for _ in range(60)]
  assert np.mean(values) == pytest.approx(0, abs=3 * np.std(values) / np.sqrt(60))


def test_one_row_is_refused():
  with pytest.raises(ValueError, match='1 and 5 rows'):
    energy_distance(np.zeros((1, 2)), np.zeros((5, 2)))
