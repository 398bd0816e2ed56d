"""Crops images to their central square and resizes them with Pillow."""

import numpy as np
import PIL.Image


def crop_and_resize(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
  """Crops the largest central square of an image and resizes it to `size` x `size` pixels (Lanczos)."""
  width, height = image.size
  side = min(width, height)
  left, top = (width - side) // 2, (height - side) // 2
  square = image.crop((left, top, left + side, top + side))
  return square.resize((size, size), PIL.Image.Resampling.LANCZOS)


def crop_and_resize_array(pixels: np.ndarray, size: int) -> np.ndarray:
  """Applies `crop_and_resize` to pixels uint8 [h, w, c] and returns uint8 [size, size, c]."""
  image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
  return np.asarray(crop_and_resize(image, size)).reshape(size, size, pixels.shape[-1])
