import math

import jax
import numpy as np
import pytest

from gan_jax.metrics.feature_scores import (
  FeatureScores,
  NetworkScores,
  average_pool_8x8,
  feature_scores,
  network_scores,
)


def drawn(n):
  return np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)


@pytest.mark.parametrize(
  ('held_out', 'fake', 'finite'),
  [
    (1, 1, {'authentic'}),
    (2, 2, {'authentic', 'frechet', 'kernel'}),
    (30, 6, {*FeatureScores._fields} - {'copying'}),
    (30, 600, {*FeatureScores._fields}),
  ],
)
def test_scores_for_which_there_are_too_few_features_are_nan(held_out, fake, finite):
  scores = feature_scores(drawn(50), drawn(held_out), drawn(fake), jax.random.key(0))
  assert {name for name, x in scores._asdict().items() if math.isfinite(x)} == finite


@pytest.mark.parametrize(
  ('held_out', 'fake', 'classes', 'finite'),
  [
    (1, 1, 3, {'inception_score'}),
    (2, 2, 0, {'frechet', 'kernel'}),
    (30, 49, 3, {*NetworkScores._fields} - {'frechet_infinity'}),
    (30, 50, 3, {*NetworkScores._fields}),
  ],
)
def test_a_network_gives_the_scores_for_which_it_has_enough(held_out, fake, classes, finite):
  probabilities = np.full((fake, classes), 1 / classes) if classes else None
  scores = network_scores(drawn(held_out), drawn(fake), probabilities, jax.random.key(0))
  assert {name for name, x in scores._asdict().items() if math.isfinite(x)} == finite


def test_images_are_averaged_to_eight_pixels_a_side():
  images = np.random.default_rng(0).integers(0, 256, (510, 16, 24, 3), np.uint8)
  expected = images.reshape(510, 8, 2, 8, 3, 3).mean(axis=(2, 4)) / 255
  np.testing.assert_allclose(average_pool_8x8(images), expected.reshape(510, -1), atol=1e-6)


@pytest.mark.parametrize(('h', 'w'), [(8, 8), (11, 21), (5, 900), (1, 1)])
def test_averages_of_a_flat_image_are_flat_at_any_size(h, w):
  rows = average_pool_8x8(np.full((2, h, w, 1), 51, np.uint8))
  assert rows.shape == (2, min(h, 8) * min(w, 8))
  np.testing.assert_allclose(rows, 0.2, rtol=1e-6)
