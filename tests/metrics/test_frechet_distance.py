import jax
import numpy as np
import pytest
import scipy.linalg

from gan_jax.metrics import frechet_distance


def features(n, d, seed=0, rank=None):
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(rank or d, d))
  return rng.normal(size=(n, rank or d)) @ mix + rng.normal(size=d)


def distance(a, b):
  one, two = frechet_distance.moments(a), frechet_distance.moments(b)
  return frechet_distance.frechet_distance(one.mean, one.covariance, two.mean, two.covariance)


def by_scipy(a, b):
  one, two = np.cov(a.T), np.cov(b.T)
  root = scipy.linalg.sqrtm(one @ two).real
  return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root)


@pytest.mark.parametrize('n', [2, 300, frechet_distance._TILE, 3 * frechet_distance._TILE + 17])
def test_moments_are_numpys(n):
  x = features(n, 7)
  found = frechet_distance.moments(x)
  assert found.n == n
  np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12, atol=1e-13)
  np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-10, atol=1e-12)


def test_merged_parts_are_the_whole():
  x = features(1000, 5)
  parts = [frechet_distance.moments(part) for part in np.split(x, [1, 3, 500])]
  for found, expected in zip(
    frechet_distance.merge_moments(parts), frechet_distance.moments(x), strict=True
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_moments_of_float32_far_from_zero_keep_their_digits():
  x = (features(9000, 3) * 0.01 + 1000).astype(np.float32)
  found = frechet_distance.moments(x).covariance
  np.testing.assert_allclose(found, np.cov(x.T.astype(np.float64)), rtol=1e-9)


def test_one_feature_has_no_covariance():
  with pytest.raises(ValueError, match='1 features'):
    _ = frechet_distance.moments(np.zeros((1, 3))).covariance


@pytest.mark.parametrize('d', [2, 64])
def test_distance_is_scipys(d):
  a, b = features(500, d, 1), features(400, d, 2)
  np.testing.assert_allclose(distance(a, b), by_scipy(a, b), rtol=1e-10)


def test_distance_of_numbers_is_the_closed_form():
  a, b = features(500, 1, 1), features(400, 1, 2)
  expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
  assert distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize('seed', range(3))
def test_distance_of_commuting_gaussians_is_the_closed_form(seed):
  rng = np.random.default_rng(seed)
  basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  one, two = rng.uniform(0, 3, (2, 6))
  means = rng.normal(size=(2, 6))
  found = frechet_distance.frechet_distance(
    means[0], (basis * one) @ basis.T, means[1], (basis * two) @ basis.T
  )
  expected = ((means[0] - means[1]) ** 2).sum() + ((one**0.5 - two**0.5) ** 2).sum()
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_distance_of_rank_deficient_sets_is_scipys():
  a, b = features(300, 20, 1, rank=4), features(300, 20, 2, rank=6)
  np.testing.assert_allclose(distance(a, b), by_scipy(a, b), rtol=1e-6)


def test_distance_of_fewer_features_than_dimensions_is_the_nuclear_norm():
  a, b = features(10, 30, 1), features(12, 30, 2)
  centred = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b)]
  nuclear = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
  expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + sum((x**2).sum() for x in centred) - 2 * nuclear
  np.testing.assert_allclose(distance(a, b), expected, rtol=1e-10)


@pytest.mark.parametrize('rank', [None, 3])
def test_a_set_is_at_distance_zero_from_itself(rank):
  x = features(200, 30, rank=rank)
  assert distance(x, x) == pytest.approx(0, abs=1e-10 * np.trace(np.cov(x.T)))


def test_distance_is_symmetric_and_moves_with_nothing():
  a, b = features(300, 8, 1), features(300, 8, 2)
  turn = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
  assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-10)
  assert distance(a @ turn + 5, b @ turn + 5) == pytest.approx(distance(a, b), rel=1e-10)


def test_features_that_are_not_finite_have_no_distance():
  x = features(20, 3)
  broken = x.copy()
  broken[0, 0] = np.inf
  with np.errstate(invalid='ignore'):
    assert np.isnan(distance(x, broken))


def test_constant_features_are_at_the_distance_of_their_means():
  assert distance(np.zeros((5, 3)), np.ones((5, 3))) == 3


SPREAD = np.linspace(0.5, 1.5, 16)
# Known, not estimated: N(0, I) against a mean of .1 and deviations SPREAD in 16 dimensions.
KNOWN = frechet_distance.Moments(2, np.zeros(16), np.eye(16))
TRUTH = 16 * 0.1**2 + ((SPREAD - 1) ** 2).sum()


def fakes(n, seed):
  return 0.1 + SPREAD * np.random.default_rng(seed).normal(size=(n, 16))


def test_distance_to_infinitely_many_fakes_is_nearer_to_the_truth_than_that_to_n():
  finite, infinite = [], []
  for seed in range(30):
    x = fakes(400, seed)
    found = frechet_distance.moments(x)
    finite.append(
      frechet_distance.frechet_distance(KNOWN.mean, np.eye(16), found.mean, found.covariance)
    )
    infinite.append(frechet_distance.frechet_infinity(KNOWN, x, jax.random.key(seed)))
  bias = np.mean(finite) - TRUTH
  assert bias > 5 * np.std(finite) / np.sqrt(30)
  assert abs(np.mean(infinite) - TRUTH) < bias / 4
  assert np.mean(np.abs(np.subtract(infinite, TRUTH))) < np.mean(np.abs(np.subtract(finite, TRUTH)))


def test_fakes_that_are_all_alike_are_as_far_at_any_number():
  """|(0, 1, 2)|^2 and the trace of the unit covariance."""
  same = np.tile(np.arange(3.0), (50, 1))
  known = frechet_distance.Moments(2, np.zeros(3), np.eye(3))
  assert frechet_distance.frechet_infinity(known, same, jax.random.key(0)) == pytest.approx(
    5 + 3, rel=1e-9
  )


def test_too_few_fakes_to_extrapolate_are_an_error_that_says_how_many_are_needed():
  with pytest.raises(ValueError, match=r'169 fakes of 16 features.* 170 are needed'):
    frechet_distance.frechet_infinity(KNOWN, fakes(169, 0), jax.random.key(0))
