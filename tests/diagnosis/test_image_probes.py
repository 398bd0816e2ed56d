"""Tests the probes of images: they find what a person sees, and nothing where there is nothing."""

import functools

import numpy as np
import pytest
from scipy import ndimage, stats

from experiments.referee_benchmark.image_faults import IMAGE_FAULTS
from gan_jax.diagnosis import convolutional_probes, image_probes
from gan_jax.diagnosis.convolutional_probes import crop
from gan_jax.diagnosis.probe_types import ExampleParts

N = 120


def smooth_images(seed, n=4 * N, side=12, c=1):
  """Blobs of random places, sizes and brightness."""
  noise = np.random.default_rng(seed).normal(size=(n, side, side, c))
  smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
  return np.clip(128 + 120 * smooth / smooth.std() / 2, 0, 255).astype(np.uint8)


def parts(images):
  return ExampleParts(*np.split(images, [2 * N, 3 * N]))


def p_value(scores):
  return stats.mannwhitneyu(scores.real, scores.fake, alternative='greater').pvalue


@functools.cache
def probes_of(fault):
  real, fake = smooth_images(0), smooth_images(1)
  if fault:
    fake = IMAGE_FAULTS[fault](fake, np.random.default_rng(2))
  return image_probes.fit_image_probes(0, parts(real), parts(fake))


@pytest.mark.parametrize('fault', ['2x2 blocks shuffled', 'checkerboard', 'border'])
def test_faults_that_a_person_sees_are_found_by_every_probe(fault):
  for scores in probes_of(fault).scores:
    assert p_value(scores) < 1e-6, scores.name
    assert scores.validation_cross_entropy < 0.5


def test_equal_distributions_are_not_separated():
  for scores in probes_of('').scores:
    assert p_value(scores) > 0.01, scores.name
    assert scores.validation_cross_entropy > 0.6


def test_scores_keep_the_order_of_the_test_examples():
  scores = probes_of('border').scores[0]
  real, fake = smooth_images(0), IMAGE_FAULTS['border'](smooth_images(1), None)
  mixed = parts(real)._replace(test=np.concatenate([real[3 * N :][:5], fake[3 * N :][:5]]))
  again = image_probes.score_statistics(0, mixed, parts(fake))
  np.testing.assert_allclose(again.real[:5], scores.real[:5], atol=1e-6)
  assert again.real[5:].max() < again.real[:5].min()


def test_crops_know_where_they_are():
  image = np.arange(50 * 60).reshape(1, 50, 60, 1).astype(np.int32)
  pixels = crop(image, np.asarray([[0.5, 1.0]]), (10, 20))
  np.testing.assert_array_equal(pixels.values[0], image[0, 20:30, 40:])
  last = pixels.corner[0] + pixels.pitch * [9, 19]
  np.testing.assert_allclose(last, [2 * 29 / 49 - 1, 1.0], rtol=1e-6)


def test_logits_do_not_depend_on_the_other_images():
  probe = probes_of('border').network
  images = smooth_images(5, 300)
  together = convolutional_probes.predict_logits(probe, images)
  alone = convolutional_probes.predict_logits(probe, images[7:8])
  np.testing.assert_allclose(alone, together[7:8], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['2x2 blocks shuffled', 'channels swapped in a third', 'border'])
def test_large_images_are_judged_by_crops(fault):
  real, fake = (smooth_images(i, side=64, c=3) // [1, 2, 3] for i in range(2))
  real, fake = real.astype(np.uint8), fake.astype(np.uint8)
  fake = IMAGE_FAULTS[fault](fake, np.random.default_rng(2))
  scores = image_probes.train_image_probes(0, parts(real), parts(fake))
  assert len(scores) == 5
  assert p_value(scores[-1]) < 1e-6
