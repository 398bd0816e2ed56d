"""Tests the training of a new discriminator of a run's own architecture."""

import jax
import numpy as np
import pytest
from scipy import stats

from gan_jax.diagnosis.discriminator_retraining import LabelParts, retrain_discriminator
from gan_jax.diagnosis.probe_types import ExampleParts
from tests.helpers.tiny_gan import tiny_gan

RNG = np.random.default_rng(0)


def parts(x):
  return ExampleParts(x[:300], x[300:400], x[400:])


def points(shift=0.0):
  return parts((RNG.normal(size=(600, 2)) + shift).astype(np.float32))


def p_value(scores):
  return stats.mannwhitneyu(scores.real, scores.fake, alternative='greater').pvalue


def test_a_new_discriminator_separates_what_differs_and_nothing_else():
  gan, _, state = tiny_gan(shape=(2,), network='relu')
  before = jax.tree.map(np.array, state.d.params)
  far = retrain_discriminator(0, gan, state, points(), points(2.0))
  same = retrain_discriminator(0, gan, state, points(), points())
  assert p_value(far) < 1e-6
  assert far.validation_cross_entropy < 0.4
  assert p_value(same) > 0.01
  assert same.validation_cross_entropy > 0.67
  jax.tree.map(np.testing.assert_array_equal, before, state.d.params)


def test_images_are_scaled_as_in_training():
  gan, _, state = tiny_gan(dropout=False)
  dark, light = (
    parts(RNG.integers(low, low + 100, (600, 6, 6, 1)).astype(np.uint8)) for low in (0, 150)
  )
  assert retrain_discriminator(0, gan, state, light, dark).validation_cross_entropy < 0.1


def test_a_conditional_discriminator_compares_images_with_their_labels():
  gan, _, state = tiny_gan(n_classes=2, dropout=False, spec={'d_width': 32})
  labels = RNG.integers(0, 2, 600)
  images = (200 * labels[:, None, None, None] * np.ones((600, 6, 6, 1))).astype(np.uint8)
  with pytest.raises(ValueError, match='labels'):
    retrain_discriminator(0, gan, state, parts(images), parts(images))
  right, wrong = parts(labels), parts(1 - labels)
  same = retrain_discriminator(
    0, gan, state, parts(images), parts(images), LabelParts(right, right)
  )
  swapped = retrain_discriminator(
    0, gan, state, parts(images), parts(images), LabelParts(right, wrong)
  )
  assert same.validation_cross_entropy == pytest.approx(np.log(2), abs=0.02)
  assert swapped.validation_cross_entropy < 0.5


def test_the_cost_is_bounded_by_flops():
  gan, _, state = tiny_gan(shape=(2,), network='relu')
  few = retrain_discriminator(0, gan, state, points(), points(0.3), max_flops=1.0)
  many = retrain_discriminator(0, gan, state, points(), points(0.3))
  assert few.validation_cross_entropy >= many.validation_cross_entropy - 0.02
