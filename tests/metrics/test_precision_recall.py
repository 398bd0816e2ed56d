import contextlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prdc import compute_prdc

from gan_jax.metrics.nearest_neighbours import kth_smallest
from gan_jax.metrics.precision_recall import PrecisionRecall, precision_recall


def draws(n, d, seed, scale=1.0, shift=0.0):
  return np.random.default_rng(seed).normal(shift, scale, (n, d)).astype(np.float32)


def by_prdc(real, fake, k):
  with contextlib.redirect_stdout(io.StringIO()):
    scores = compute_prdc(real.astype(np.float64), fake.astype(np.float64), k)
  return PrecisionRecall(**scores)


@pytest.mark.parametrize(
  ('n', 'm', 'd', 'k'), [(300, 300, 2, 5), (7, 131, 3, 1), (700, 550, 64, 5)]
)
def test_scores_are_those_of_prdc(n, m, d, k):
  real, fake = draws(n, d, 0), draws(m, d, 1, 0.8, 0.1)
  ours, theirs = precision_recall(real, fake, k), by_prdc(real, fake, k)
  assert 0 < theirs.recall < 1  # a case that could go wrong
  # A distance that rounding takes across a radius moves one point of the smaller set.
  np.testing.assert_allclose(ours, theirs, atol=1.5 / min(n, m) if d > 16 else 1e-6)


def test_features_far_from_zero_are_judged_as_near_it():
  # Steps of 2^-12 are exact at both places.
  real, fake = (np.round(draws(400, 20, seed) * 4096) / 4096 for seed in (0, 1))
  np.testing.assert_allclose(
    precision_recall(real + 512, fake + 512), by_prdc(real, fake, 5), atol=0.003
  )


def test_modes_far_narrower_than_the_space_between_them_keep_their_digits():
  centres = np.array([[0, 0], [1000, 0], [0, 1000]], np.float32)
  real, fake = (
    centres[np.arange(600) % 3] + np.round(draws(600, 2, seed) * 1024) / 1024 for seed in (0, 1)
  )
  np.testing.assert_allclose(precision_recall(real, fake), by_prdc(real, fake, 5), atol=1e-6)


@pytest.mark.parametrize('d', [2, 32])
def test_a_copy_of_the_reals_is_perfect(d):
  """A fake lies in k balls on average: its own and, as the k-th neighbour is outside, k - 1 more."""
  # Whole numbers about 0, whose squared distances float32 holds exactly: rounding, which differs between
  # machines, would decide on the k-th neighbour itself, and all of them inside are a density of 1.2.
  half = np.rint(100 * np.asarray(draws(250, d, 0)))
  real = np.concatenate([half, -half]).astype(np.float32)
  scores = precision_recall(real, real)
  assert scores.precision == scores.recall == scores.coverage == 1
  assert scores.density == pytest.approx(1, abs=0.05)


def test_two_draws_of_one_distribution_have_the_expected_density_and_coverage():
  """From Naeem et al. (2020): density 1; coverage 1 - [(m - 1) choose k] / [(2m - 1) choose k]."""
  scores = [precision_recall(draws(400, 8, 2 * i), draws(400, 8, 2 * i + 1)) for i in range(10)]
  missed = np.prod([(400 - 1 - j) / (800 - 1 - j) for j in range(5)])
  assert np.mean([s.density for s in scores]) == pytest.approx(1, abs=0.05)
  assert np.mean([s.coverage for s in scores]) == pytest.approx(1 - missed, abs=0.01)


def test_sets_that_lie_apart_share_nothing():
  assert precision_recall(draws(100, 20, 0), draws(100, 20, 1, shift=100)) == (0, 0, 0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_nothing():
  real = draws(300, 4, 0)
  scores = precision_recall(real, np.zeros((300, 4), np.float32))
  assert scores.precision == 1
  assert scores.recall == 0
  # As many balls hold that point as a ball has neighbours.
  assert scores.density == pytest.approx(1)
  assert scores.coverage < 0.2


def test_features_that_are_not_finite_have_no_scores():
  broken = draws(20, 3, 0)
  broken[3, 1] = np.nan
  assert np.isnan(precision_recall(draws(20, 3, 1), broken)).all()


@pytest.mark.parametrize(('n', 'm'), [(5, 100), (100, 5)])
def test_too_few_features_are_an_error_that_says_how_many_are_needed(n, m):
  with pytest.raises(ValueError, match=f'{n} real and {m} fake features.* 6 of each'):
    precision_recall(draws(n, 2, 0), draws(m, 2, 1))


@pytest.mark.parametrize(('m', 'k'), [(32, 5), (64, 2), (64, 3), (3200, 1), (3200, 5)])
def test_kth_smallest_is_that_of_a_sort(m, k):
  values = jax.random.normal(jax.random.key(m), (m,)).at[:7].set(-1.5)  # with ties
  assert float(kth_smallest(values, k)) == float(jnp.sort(values)[k - 1])
