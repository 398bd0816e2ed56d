"""Tests boosted trees: what they learn, and that useless columns teach them nothing."""

import numpy as np
import pytest

from gan_jax.diagnosis.boosted_trees import fit_boosted_trees, predict_logits


def two_sets(n, d=8, seed=0):
  """Two sets that differ in the sign of a product of two columns, which no single column shows."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(2 * n, d)).astype(np.float32)
  is_real = x[:, 2] * x[:, 5] + 0.3 * rng.normal(size=2 * n) > 0
  return x[is_real], x[~is_real]


def accuracy(logits):
  return float(np.mean([np.mean(logits[0] > 0), np.mean(logits[1] < 0)]))


def test_trees_learn_what_no_column_shows_alone():
  train, validation, test = (two_sets(n, seed=i) for i, n in enumerate((600, 300, 2000)))
  model = fit_boosted_trees(0, train, validation)
  assert accuracy([predict_logits(model, x) for x in test]) > 0.78


def test_equal_distributions_stop_early():
  rng = np.random.default_rng(1)
  parts = [tuple(rng.normal(size=(2, 200, 30)).astype(np.float32)) for _ in range(2)]
  assert fit_boosted_trees(0, *parts).n_trees < 60


def test_increasing_functions_of_columns_change_nothing():
  train, validation = two_sets(300, seed=3), two_sets(100, seed=4)
  warp = lambda sets: tuple(np.exp(x) for x in sets)
  plain = predict_logits(fit_boosted_trees(0, train, validation), train[0])
  warped = predict_logits(fit_boosted_trees(0, warp(train), warp(validation)), np.exp(train[0]))
  assert np.mean(np.sign(plain) == np.sign(warped)) > 0.99


@pytest.mark.parametrize('n', [3, 40])
def test_few_and_constant_rows_are_no_error(n):
  parts = [(np.zeros((n, 4), np.float32), np.zeros((n + 1, 4), np.float32))] * 2
  logits = predict_logits(fit_boosted_trees(0, *parts), parts[0][0])
  assert np.allclose(logits, logits[0])
