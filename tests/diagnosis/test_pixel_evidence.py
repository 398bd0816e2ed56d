"""Tests that maps lie where planted differences are, and divide the logits."""

import numpy as np
import pytest

from gan_jax.diagnosis import convolutional_probes, pixel_evidence
from gan_jax.diagnosis.convolutional_probes import ProbeNetwork
from gan_jax.diagnosis.probe_types import ExampleParts


def textures(n, side, seed):
  """Returns grey images uint8 [n, side, side, 1] of smooth random brightness with fine noise."""
  rng = np.random.default_rng(seed)
  coarse = rng.normal(128, 30, (n, 4, 4, 1)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
  return np.clip(coarse + rng.normal(0, 8, (n, side, side, 1)), 0, 255).astype(np.uint8)


def parts(images):
  third = len(images) // 3
  return ExampleParts(images[:third], images[third : 2 * third], images[2 * third :])


@pytest.mark.parametrize('side', [16, pytest.param(48, marks=pytest.mark.slow)])
def test_maps_lie_where_samples_differ_in_both_sets(side):
  real, fake = textures(750, side, 0), textures(750, side, 1)
  box = (slice(side // 2, side), slice(0, side // 2))
  # Every second row of a quarter is brighter: no pixel alone, only neighbours tell.
  fake[:, side // 2 : side : 2, : side // 2] += 24
  sets = parts(real), parts(fake)
  probe = convolutional_probes.fit_convolutional_probe('p', ProbeNetwork(8, 2, True), 0, *sets)
  images, maps = pixel_evidence.find_pixel_evidence(probe, sets[0].test, sets[1].test, n=4)
  assert images.shape == (8, side, side, 1)
  assert maps.shape == (8, side, side)
  of_real = {image.tobytes() for image in sets[0].test}
  assert [image.tobytes() in of_real for image in images] == [True] * 4 + [False] * 4
  shares = maps[:, *box].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
  assert shares[:4].mean() > 0.7
  assert shares[4:].mean() > 0.7


def test_contributions_of_pixels_add_up_to_the_difference_of_logits():
  real, fake = textures(300, 16, 0), textures(300, 16, 1) // 2
  sets = parts(real), parts(fake)
  probe = convolutional_probes.fit_convolutional_probe('p', ProbeNetwork(4, 2, True), 0, *sets)
  rng = np.random.default_rng(0)
  told = pixel_evidence._contributions(probe, real[:4], fake, rng).sum(axis=(1, 2))
  logits = [convolutional_probes.predict_logits(probe, x) for x in (real[:4], fake)]
  np.testing.assert_allclose(told, logits[0] - logits[1].mean(), rtol=0.2, atol=0.5)
