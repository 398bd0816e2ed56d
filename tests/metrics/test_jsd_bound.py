"""What logits on held-out examples prove: held against closed forms, SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from gan_jax.metrics import jsd_bound, two_sample_test

RNG = np.random.default_rng(0)
P, Q = scipy.stats.norm(0, 1), scipy.stats.norm(1, 1.3)


def jsd():
  def terms(x):
    p, q = P.pdf(x), Q.pdf(x)
    return (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2

  return scipy.integrate.quad(terms, -8, 10)[0]


def drawn(n, rng=RNG):
  """Log-odds of the optimal D on n draws of P and of Q."""
  odds = lambda x: P.logpdf(x) - Q.logpdf(x)
  return odds(P.rvs(n, random_state=rng)), odds(Q.rvs(n, random_state=rng))


def test_the_optimal_d_reaches_the_divergence_itself():
  assert jsd_bound.jsd_bound(*drawn(100_000), n_draws=2).value == pytest.approx(jsd(), abs=0.003)


def test_no_other_d_exceeds_it():
  real, fake = drawn(100_000)
  for change in (lambda x: x * 0.3, lambda x: x * 3, lambda x: x + 1, np.tanh, np.sign):
    assert jsd_bound.jsd_bound(change(real), change(fake), n_draws=2).value < jsd()


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
  rng = np.random.default_rng(1)
  held = [jsd_bound.jsd_bound(*drawn(1000, rng), seed=i) for i in range(100)]
  inside = sum(bound.low <= jsd() <= bound.high for bound in held)
  assert scipy.stats.binom.cdf(inside, 100, 0.95) > 1e-3


def test_a_d_that_says_nothing_proves_nothing():
  bound = jsd_bound.jsd_bound(np.zeros(10), np.zeros(12))
  assert bound.value == pytest.approx(0, abs=1e-12)
  assert bound.low <= 0 <= bound.high


def test_a_sure_d_proves_log_two_at_most():
  assert jsd_bound.jsd_bound(np.full(5, 1e4), np.full(5, -1e4)).value == pytest.approx(math.log(2))


def test_the_two_sample_test_is_that_of_a_binomial():
  real, fake = drawn(2000)
  found = two_sample_test.c2st(real, fake)
  right = int((real > 0).sum() + (fake < 0).sum())
  assert found.accuracy == pytest.approx(right / 4000)
  real, fake = RNG.normal(0.05, 1, 2000), RNG.normal(0, 1, 2000)
  found = two_sample_test.c2st(real, fake)
  right = int((real > 0).sum() + (fake < 0).sum())
  exact = scipy.stats.binomtest(right, 4000, alternative='greater').pvalue
  assert found.p == pytest.approx(exact, abs=0.01)


def test_where_nothing_differs_its_p_is_uniform():
  p = [two_sample_test.c2st(RNG.normal(size=500), RNG.normal(size=700)).p for _ in range(400)]
  assert scipy.stats.kstest(p, 'uniform').pvalue > 1e-3


@pytest.mark.parametrize('decimals', [0, 8])
def test_ranks_are_the_area_under_the_curve(decimals):
  a, b = RNG.normal(0.3, 1, 300).round(decimals), RNG.normal(0, 1, 200).round(decimals)
  area, std = jsd_bound.roc_auc(a, b)
  labels = np.repeat([1, 0], [300, 200])
  assert area == pytest.approx(roc_auc_score(labels, np.concatenate([a, b])))
  exact = scipy.stats.mannwhitneyu(a, b, method='asymptotic', use_continuity=False)
  z = (area - 0.5) / std
  # With ties SciPy's variance is a little smaller.
  assert z == pytest.approx(
    scipy.stats.norm.isf(exact.pvalue / 2), rel=0.05 if decimals == 0 else 1e-6
  )


def test_mended_confidence_is_logistic_regression():
  real, fake = drawn(3000)
  slope, offset = jsd_bound.platt_scaling(7 * real - 3, 7 * fake - 3)
  model = LogisticRegression(C=1e6, tol=1e-10).fit(
    np.concatenate([7 * real - 3, 7 * fake - 3])[:, None], np.repeat([1, 0], 3000)
  )
  assert slope == pytest.approx(model.coef_[0, 0], rel=1e-2)
  assert offset == pytest.approx(model.intercept_[0], abs=2e-2)
  assert slope == pytest.approx(1 / 7, rel=0.1)  # what was done to the log-odds is undone


def test_a_d_that_is_wrong_on_the_whole_knows_nothing():
  real, fake = drawn(500)
  assert jsd_bound.platt_scaling(-real, -fake) == (0, 0)


def test_separable_outputs_stay_finite():
  slope, offset = jsd_bound.platt_scaling(np.ones(50), -np.ones(50))
  assert slope > 1
  assert math.isfinite(slope)
  assert abs(offset) < 1


@pytest.mark.parametrize('fn', [jsd_bound.jsd_bound, two_sample_test.c2st])
def test_both_sets_are_needed(fn):
  with pytest.raises(ValueError, match='needs both'):
    fn(np.zeros(0), np.zeros(3))
