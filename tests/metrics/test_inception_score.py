import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from gan_jax.metrics.inception_score import inception_score


@pytest.mark.parametrize('c', [2, 10, 1000])
def test_a_classifier_that_sees_no_difference_scores_one(c):
  same = np.tile(softmax(np.random.default_rng(0).normal(size=c)), (300, 1))
  assert inception_score(same.astype(np.float32)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('c', [2, 10, 1000])
def test_sure_and_even_classes_score_their_number(c):
  assert inception_score(np.eye(c, dtype=np.float32)[np.arange(3 * c) % c]) == pytest.approx(
    c, rel=1e-5
  )


def test_sure_classes_score_the_exponential_of_their_entropy():
  counts = np.array([50, 30, 15, 5, 0])
  sure = np.repeat(np.eye(5, dtype=np.float32), counts, axis=0)
  assert inception_score(sure) == pytest.approx(np.exp(entropy(counts)), rel=1e-5)


def test_the_score_is_that_of_scipys_entropies():
  p = softmax(3 * np.random.default_rng(0).normal(size=(500, 10)), axis=1)
  expected = np.exp(np.mean([entropy(row, p.mean(axis=0)) for row in p]))
  assert inception_score(p.astype(np.float32)) == pytest.approx(expected, rel=1e-5)


def test_no_samples_are_an_error_that_says_how_many_are_needed():
  with pytest.raises(ValueError, match='at least 1'):
    inception_score(np.zeros((0, 10)))
