"""Tests that colour lies where maps are large, on one scale for all images."""

import numpy as np
import pytest

from gan_jax.evaluation.saliency_pictures import draw_saliency


def cells(picture, n, side):
  """Cuts a picture into its n images and their grey copies, both uint8 [n, side, side, 3]."""
  pixels = np.asarray(picture)
  scale = pixels.shape[1] // (6 * (side + 2) + 2)
  pixels = pixels[::scale, ::scale]
  cut = lambda row, column: pixels[
    row * (side + 2) + 2 : (row + 1) * (side + 2),
    column * (side + 2) + 2 : (column + 1) * (side + 2),
  ]
  places = [(i // 6, i % 6) for i in range(n)]
  images = [cut(2 * row, column) for row, column in places]
  return np.stack(images), np.stack([cut(2 * row + 1, column) for row, column in places])


@pytest.mark.parametrize(('n', 'channels'), [(3, 1), (6, 3), (8, 3), (2, 4)])
def test_each_image_stands_above_its_map(n, channels):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (n, 6, 6, channels), np.uint8)
  maps = np.zeros((n, 6, 6))
  maps[0, 1, 2], maps[1, :, 4] = 1.0, 0.5
  shown, marked = cells(draw_saliency(images, maps), n, 6)
  colours = (
    images if channels == 3 else np.rint(images.mean(axis=3, keepdims=True)).repeat(3, axis=3)
  )
  np.testing.assert_array_equal(shown, colours)
  colour = marked.max(axis=3).astype(int) - marked.min(axis=3)
  assert (colour[maps == 0] == 0).all()
  assert (colour[maps > 0] > 50).all()
  assert colour[0, 1, 2] >= colour[1, :, 4].max()


def test_maps_that_are_zero_negative_or_not_finite_leave_images_grey():
  images = np.full((2, 5, 5, 1), 200, np.uint8)
  maps = np.stack([np.full((5, 5), -1.0), np.full((5, 5), np.nan)])
  for given in (maps, 0 * np.ones((2, 5, 5))):
    _, marked = cells(draw_saliency(images, given), 2, 5)
    assert (marked == marked[..., :1]).all()


def test_a_picture_is_wide_enough_to_be_seen():
  assert draw_saliency(np.zeros((1, 4, 4, 1), np.uint8), np.zeros((1, 4, 4))).width >= 960
