import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from gan_jax.metrics.support_size import estimate_support_size, median_closest_pair

KEY = jax.random.key(0)


def planted(n, values, d=2, p=None, seed=0):
  """n draws from `values` distinct points, each moved by far less than lies between them."""
  rng = np.random.default_rng(seed)
  points = rng.uniform(0, 1000, (values, d))
  return (points[rng.choice(values, n, p=p)] + rng.uniform(-0.01, 0.01, (n, d))).astype(np.float32)


@pytest.mark.parametrize(('values', 'd'), [(365, 2), (365, 20), (2000, 2)])
def test_a_planted_support_is_found(values, d):
  found = estimate_support_size(planted(6000, values, d), 0.5, KEY, batch=200)
  assert found.size == pytest.approx(values, rel=0.25)


def test_the_chance_of_a_repeat_is_that_of_birthdays():
  found = estimate_support_size(planted(6000, 365), 0.2, KEY, batch=60, trials=1000)
  all_different = np.concatenate([[1], np.cumprod(1 - np.arange(60) / 365)])
  np.testing.assert_allclose(found.probability, 1 - all_different, atol=0.05)
  assert abs(found.batch - 23) <= 2


def test_23_people_are_365_days():
  """What s gives is a closed form: 23 * 22 / (2 log 2) = 365.002."""
  for seed in range(20):
    found = estimate_support_size(planted(3000, 365, seed=seed), 0.2, KEY, batch=60, trials=100)
    if found.batch == 23:
      assert found.size == pytest.approx(365.002, abs=0.001)
      return
  pytest.fail('no seed of 20 gave the batch of the textbook')


def test_the_chance_with_unequal_values_is_that_of_a_simulation():
  p = np.r_[0.1, np.full(900, 0.001)]
  found = estimate_support_size(planted(20_000, 901, p=p), 0.2, KEY, batch=60, trials=1000)
  rng = np.random.default_rng(1)
  firsts = []
  for _ in range(3000):
    row = rng.choice(901, 60, p=p)
    firsts.append(next((s for s in range(2, 61) if len(set(row[:s])) < s), 61))
  expected = np.cumsum(np.bincount(firsts, minlength=62)[:61]) / 3000
  np.testing.assert_allclose(found.probability, expected, atol=0.06)


def test_a_generator_of_one_sample_repeats_at_once():
  found = estimate_support_size(np.ones((50, 3), np.float32), 0.1, KEY, batch=20, trials=10)
  assert found.batch == 2
  np.testing.assert_array_equal(found.probability, np.arange(21) >= 2)


def test_samples_that_never_meet_have_no_finite_support():
  found = estimate_support_size(
    np.arange(300, dtype=np.float32)[:, None], 0.5, KEY, batch=200, trials=10
  )
  assert found.size == found.batch == np.inf
  assert found.probability.max() == 0


def test_within_a_distance_means_up_to_it():
  pair = np.array([[0.0], [1.0]], np.float32)
  assert estimate_support_size(pair, 1.0, KEY, batch=2, trials=5).batch == 2
  assert estimate_support_size(pair, 0.99, KEY, batch=2, trials=5).batch == np.inf


def test_features_that_are_not_finite_have_no_support():
  assert np.isnan(
    estimate_support_size(np.full((30, 2), np.nan, np.float32), 1.0, KEY, batch=20).size
  )


def test_too_few_samples_are_an_error_that_says_how_many_are_needed():
  with pytest.raises(ValueError, match='99 samples: a batch of 100'):
    estimate_support_size(np.zeros((99, 2), np.float32), 1.0, KEY, batch=100)


def test_nearest_twins_make_half_of_all_batches_repeat():
  """Then the size is what the birthday paradox gives for that batch."""
  samples = jax.random.normal(jax.random.key(1), (2000, 3))
  distance = median_closest_pair(samples, KEY, batch=100, trials=400)
  found = estimate_support_size(samples, distance, KEY, batch=300, trials=400)
  assert found.batch == pytest.approx(100, rel=0.15)


def test_nearest_twins_are_those_of_scipy():
  samples = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
  assert median_closest_pair(jnp.asarray(samples), KEY, batch=40, trials=3) == pytest.approx(
    pdist(samples).min(), rel=1e-4
  )
