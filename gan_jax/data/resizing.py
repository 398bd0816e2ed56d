"""Images of one size: a square cut out of the middle, resampled by Pillow with antialiasing."""

import numpy as np
import PIL.Image


def crop_and_resize(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
  """The largest centred square of an image, `size` pixels a side, by Lanczos's filter."""
  width, height = image.size
  side = min(width, height)
  left, top = (width - side) // 2, (height - side) // 2
  square = image.crop((left, top, left + side, top + side))
  return square.resize((size, size), PIL.Image.Resampling.LANCZOS)


def crop_and_resize_array(pixels: np.ndarray, size: int) -> np.ndarray:
  """`fit` for pixels uint8 [h, w, c]: uint8 [size, size, c]."""
  image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
  return np.asarray(crop_and_resize(image, size)).reshape(size, size, pixels.shape[-1])
