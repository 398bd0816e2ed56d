import math

import numpy as np
import pytest
from scipy import stats

from gan_jax.sweep import significance


def test_the_interval_is_students():
  values = np.random.default_rng(0).normal(size=8)
  summary = significance.summarize_seeds(values.tolist())
  low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
  np.testing.assert_allclose((summary.low, summary.high), (low, high))


def test_diverged_runs_are_counted_and_left_out():
  summary = significance.summarize_seeds([1.0, math.nan, 3.0])
  assert (summary.n, summary.lost, summary.mean) == (2, 1, 2.0)
  assert significance.summarize_seeds([math.nan]).n == 0


def test_holm_correction_is_that_of_its_definition():
  np.testing.assert_allclose(significance.holm_correction([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
  assert significance.holm_correction([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize('higher_is_better', [True, False])
def test_a_clear_difference_is_significant_and_no_difference_is_not(higher_is_better):
  rng = np.random.default_rng(1)
  values = {
    name: rng.normal(mean, 0.1, 8).tolist() for name, mean in (('a', 0), ('b', 5), ('c', 5))
  }
  found = {
    frozenset((p.better, p.worse)): p for p in significance.compare_pairs(values, higher_is_better)
  }
  assert found[frozenset('ab')].better == ('b' if higher_is_better else 'a')
  assert found[frozenset('ab')].significant
  assert not found[frozenset('bc')].significant


@pytest.mark.parametrize('higher_is_better', [True, False])
def test_a_diverged_run_has_the_worst_rank(higher_is_better):
  values = {'finite': [1.0] * 6, 'diverged': [math.nan] * 6}
  (pair,) = significance.compare_pairs(values, higher_is_better)
  assert (pair.better, pair.significant) == ('finite', True)


def test_p_is_that_of_scipy():
  x, y = [1.0, 2.0, 3.0, 4.0], [2.5, 3.5, 4.5, 5.5]
  (pair,) = significance.compare_pairs({'x': x, 'y': y}, True)
  assert pair.p == pytest.approx(stats.mannwhitneyu(x, y).pvalue)
