"""Tests the statistics of pixels: one row for each image, and what faults change."""

import numpy as np
import pytest
from scipy import fft

from gan_jax.metrics import image_statistics as statistics_lib
from gan_jax.metrics.image_statistics import image_statistics, pool_images

RNG = np.random.default_rng(0)


def images(n, h, w, c):
  return RNG.integers(0, 256, (n, h, w, c)).astype(np.uint8)


@pytest.mark.parametrize('shape', [(4, 4, 1), (5, 9, 2), (8, 8, 3), (28, 28, 1), (33, 150, 4)])
def test_each_image_has_a_row_of_its_own(shape):
  x = images(6, *shape)
  rows = image_statistics(x)
  assert rows.shape[0] == 6
  assert np.isfinite(rows).all()
  np.testing.assert_allclose(image_statistics(x[3:4])[0], rows[3], rtol=1e-3, atol=1e-3)


def test_flat_images_have_finite_statistics():
  assert np.isfinite(image_statistics(np.full((2, 16, 16, 3), 255, np.uint8))).all()


def test_the_chunk_does_not_matter(monkeypatch):
  x = images(7, 12, 12, 3)
  together = image_statistics(x)
  monkeypatch.setattr(statistics_lib, '_CHUNK_PIXELS', 2 * 12 * 12 * 3)
  np.testing.assert_allclose(image_statistics(x), together, rtol=1e-3, atol=1e-3)


def test_pooling_takes_means_of_rectangles():
  x = images(2, 6, 9, 2)
  means = x.reshape(2, 3, 2, 3, 3, 2).mean(axis=(2, 4)) / 255
  np.testing.assert_allclose(pool_images(x, 3), means, rtol=1e-6)
  np.testing.assert_allclose(pool_images(x, 50), x / 255, rtol=1e-6)


def test_the_blocks_are_transformed_as_by_scipy():
  block = RNG.normal(size=(8, 8)).astype(np.float32)
  coefficients = block.reshape(64) @ statistics_lib._cosine_transform()
  np.testing.assert_allclose(coefficients.reshape(8, 8), fft.dctn(block, norm='ortho'), atol=1e-5)


@pytest.mark.parametrize('period', [2, 4, 8])
def test_enlarged_pixels_show_in_the_phases_of_their_lattice(period):
  x = images(1, 64 // period, 64 // period, 1).repeat(period, axis=1).repeat(period, axis=2)
  profile = np.abs(np.diff(x[..., 0].astype(np.int16), axis=2)).mean(axis=1)
  phases = statistics_lib._phases(profile, period)[0]
  assert np.argmax(phases) == period - 1
  assert phases[: period - 1].max() == 0


def test_mirroring_turns_the_sign_of_odd_moments_only():
  x = images(3, 16, 16, 1).astype(np.int16)[..., 0]
  x = x.cumsum(axis=2).astype(np.int16) // 16
  moments = statistics_lib._shape_moments(x)
  mirrored = statistics_lib._shape_moments(x[:, :, ::-1])
  y, x_, yy, xy, xx = 0, 1, 4, 5, 6
  for i in (y, yy, xx):
    np.testing.assert_allclose(moments[:, i], mirrored[:, i], atol=1e-6)
  for i in (x_, xy):
    np.testing.assert_allclose(moments[:, i], -mirrored[:, i], atol=1e-6)


def test_images_of_any_size_cost_no_more_than_nine_windows():
  x = images(1, 400, 300, 1)
  windows = statistics_lib._take_windows(x)
  assert windows.shape == (1, 144, 144, 1)
  np.testing.assert_array_equal(windows[:, -48:, :48], x[:, -48:, :48])
