"""Tests the tests of two sets: against SciPy, and by how often they reject equal distributions."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from gan_jax.metrics.two_sample_test import HeldOutLogits, family_wise, separation_test


def single(real, fake):
  return HeldOutLogits(real, fake, np.arange(len(real)), np.arange(len(fake)))


def test_the_area_is_that_of_scikit_learn_with_ties():
  rng = np.random.default_rng(0)
  real, fake = rng.integers(0, 9, 200) + 0.0, rng.integers(0, 8, 300) + 0.0
  target = np.r_[np.ones(200), np.zeros(300)]
  expected = roc_auc_score(target, np.r_[real, fake])
  assert separation_test([single(real, fake)]).auc == pytest.approx(expected)


def test_the_p_value_is_at_most_twice_that_of_mann_whitney():
  rng = np.random.default_rng(1)
  real, fake = rng.normal(0.2, 1, 400), rng.normal(0, 1, 500)
  expected = scipy.stats.mannwhitneyu(
    real, fake, alternative='greater', method='asymptotic', use_continuity=False
  ).pvalue
  assert separation_test([single(real, fake)]).p <= 2.2 * expected


@pytest.mark.parametrize('kind', ['normal', 'heavy', 'copies', 'few', 'folds'])
def test_equal_distributions_are_rejected_no_more_often_than_stated(kind):
  rng, n = np.random.default_rng(2), 60 if kind == 'few' else 240
  draw = (lambda: rng.standard_t(1.5, n)) if kind == 'heavy' else (lambda: rng.normal(size=n))
  p_values = []
  for _ in range(1500):
    fold = single(draw(), draw())
    if kind == 'copies':
      real = np.repeat(fold.real[: n // 2], 2)
      fold = fold._replace(real=real, real_groups=np.repeat(np.arange(n // 2), 2))
    folds = [fold, single(draw(), draw())] if kind == 'folds' else [fold]
    p_values.append(separation_test(folds).p)
  for level in (0.001, 0.01, 0.05):
    rejected = int(np.sum(np.asarray(p_values) < level))
    assert scipy.stats.binom.sf(rejected - 1, 1500, 1.3 * level) > 1e-3


def test_copies_do_not_make_a_difference_surer():
  rng = np.random.default_rng(3)
  real, fake = rng.normal(0.3, 1, 100), rng.normal(0, 1, 100)
  once = separation_test([single(real, fake)]).p
  copies = HeldOutLogits(
    np.repeat(real, 9),
    np.repeat(fake, 9),
    np.repeat(np.arange(100), 9),
    np.repeat(np.arange(100), 9),
  )
  assert separation_test([copies]).p == pytest.approx(once, rel=0.2)
  assert separation_test([single(np.repeat(real, 9), np.repeat(fake, 9))]).p < once / 10


def test_logits_that_say_nothing_give_no_evidence():
  assert separation_test([single(np.zeros(50), np.zeros(50))]).p == 1


def test_a_rare_but_certain_difference_is_found():
  rng = np.random.default_rng(4)
  fake = np.where(rng.random(2000) < 0.03, -10.0, 0.0)
  assert separation_test([single(np.zeros(2000), fake)]).p < 1e-6


def test_too_few_logits_are_refused():
  with pytest.raises(ValueError, match='1 real and 3 fake logits'):
    separation_test([single(np.zeros(1), np.zeros(3))])


def test_correction_for_a_family_is_that_of_holm():
  p_values = [0.01, 0.2, 0.03, 0.04, 0.5]
  # By hand: .01 * 5, .03 * 4, .04 * 3, .2 * 2, .5 * 1, made monotone.
  assert family_wise(p_values) == pytest.approx([0.05, 0.4, 0.12, 0.12, 0.5])
