"""Draws images above their copies in grey, with the pixels in colour on which a decision rests."""

import numpy as np
from PIL import Image

from gan_jax.data.image_arrays import image_grid

_COLUMNS = 6  # images in a row
_HEAT = np.array([235, 95, 0], np.float32)  # red, green, blue
_WIDTH = 960  # pixels of a picture, at least, by a whole number of pixels for each one of an image
_STRONG = 0.995  # quantile of a map that gets the full colour


def draw_saliency(images: np.ndarray, maps: np.ndarray) -> Image.Image:
  """Draws rows of six images, and below each row its copies in grey, coloured where `maps` are large.

  All maps share one scale: an image in which nothing matters stays grey.

  Args:
    images: uint8 [n, h, w, c]; other numbers of channels than 1 and 3 are averaged.
    maps: how much each pixel matters, [n, h, w]; values below 0 and such that are not finite count as 0.
  """
  maps = np.maximum(np.nan_to_num(np.asarray(maps, np.float32), posinf=0, neginf=0), 0)
  strong = float(np.quantile(maps, _STRONG))
  strength = np.clip(maps / (strong or float(maps.max()) or 1.0), 0, 1)[..., None]
  grey = images.mean(axis=3, keepdims=True)
  faint = 72 + 0.45 * grey  # leaves room for the colour at both ends
  coloured = np.rint((1 - strength) * faint + strength * _HEAT).astype(np.uint8)
  rows = []
  for i in range(0, len(images), _COLUMNS):
    for row in (_colour(images[i : i + _COLUMNS]), coloured[i : i + _COLUMNS]):
      rows.append(np.pad(row, ((0, _COLUMNS - len(row)), *[(0, 0)] * 3), constant_values=96))
  grid = image_grid(np.concatenate(rows), _COLUMNS)
  scale = -(-_WIDTH // grid.shape[1])
  return Image.fromarray(grid.repeat(scale, axis=0).repeat(scale, axis=1))


def _colour(images: np.ndarray) -> np.ndarray:
  """Returns images uint8 [..., c] with three channels: those of colour images, else three times their mean."""
  if images.shape[-1] == 3:
    return images
  grey = images.mean(axis=-1, keepdims=True)
  return np.rint(grey).astype(np.uint8).repeat(3, axis=-1)
