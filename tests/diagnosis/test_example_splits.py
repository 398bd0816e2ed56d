"""Tests that parts share no example, follow from content alone, and hold every example once."""

import numpy as np
import pytest

from gan_jax.diagnosis import example_splits
from gan_jax.metrics.content_order import content_hashes

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(600, 3)).astype(np.float32)
FAKE = RNG.normal(size=(450, 3)).astype(np.float32)


def content(examples, rows):
  return {row.tobytes() for row in examples[rows]}


@pytest.mark.parametrize('folds', [1, 5])
def test_parts_are_disjoint_and_hold_every_example(folds):
  for split in example_splits.paired_splits(REAL, FAKE, folds):
    for part, n in ((split.real, 600), (split.fake, 450)):
      assert sorted(np.concatenate(part)) == list(range(n))


def test_test_parts_of_all_folds_cover_each_example_once():
  splits = example_splits.paired_splits(REAL, FAKE, 5)
  tested = np.concatenate([split.real.test for split in splits])
  assert sorted(tested) == list(range(600))


def test_any_order_of_rows_gives_the_same_parts():
  order = RNG.permutation(600)
  (first,) = example_splits.paired_splits(REAL, FAKE, 1)
  (second,) = example_splits.paired_splits(REAL[order], FAKE[::-1], 1)
  for a, b in zip(first.real.take(REAL), second.real.take(REAL[order]), strict=True):
    np.testing.assert_array_equal(a, b)
  for a, b in zip(first.fake.take(FAKE), second.fake.take(FAKE[::-1]), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('folds', [1, 5])
def test_copies_never_stand_in_two_parts(folds):
  real, fake = np.repeat(REAL[:200], 3, axis=0), np.concatenate([FAKE[:300], REAL[:50]])
  for split in example_splits.paired_splits(real, fake, folds):
    fitted = content(real, np.concatenate(split.real[:2])) | content(
      fake, np.concatenate(split.fake[:2])
    )
    chosen = content(real, split.real.validation) | content(fake, split.fake.validation)
    scored = content(real, split.real.test) | content(fake, split.fake.test)
    assert not scored & (fitted | chosen)
    assert not chosen & fitted
    assert len(split.real.test) > 60


def test_copies_in_the_test_part_are_one_group():
  real = np.repeat(REAL[:200], 3, axis=0)
  (split,) = example_splits.paired_splits(real, FAKE, 1)
  np.testing.assert_array_equal(
    split.real_groups == split.real_groups[0],
    content_hashes(real[split.real.test]) == content_hashes(real[split.real.test])[0],
  )
  assert len(np.unique(split.real_groups)) == pytest.approx(len(split.real.test) / 3, abs=1)


def test_a_generator_of_one_sample_keeps_its_test_part():
  (split,) = example_splits.paired_splits(REAL, np.zeros_like(FAKE), 1)
  assert len(split.fake.test) == 90


def test_small_sets_are_cross_fitted():
  assert example_splits.n_folds(300, 20_000) == 5
  assert example_splits.n_folds(2500, 2500) == 1
