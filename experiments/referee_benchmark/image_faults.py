"""Defines faults of images as functions of (images, rng, strength), at the strength where a person sees them.

Strengths are those at which the fault shows in a contact sheet of 8 images at twice their size.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

Rng = np.random.Generator
FaultFn = Callable[[np.ndarray, Rng, float], np.ndarray]  # uint8 images [n, h, w, c] to such images


def _rounded(images: np.ndarray) -> np.ndarray:
  return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _in_share(images: np.ndarray, changed: np.ndarray, rng: Rng, share: float) -> np.ndarray:
  """Replaces a share of the images, drawn at random, by their changed versions."""
  chosen = rng.random(len(images)) < share
  return np.where(chosen[:, None, None, None], changed, images)


def shuffle_blocks(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Permutes the pixels of each 2x2 block, in a share `strength` of the blocks."""
  n, h, w, c = images.shape
  blocks = images.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  blocks = blocks.reshape(-1, 4, c)
  order = np.argsort(rng.random((len(blocks), 4)), axis=1)
  order = np.where(rng.random((len(blocks), 1)) < strength, order, np.arange(4)[None])
  shuffled = np.take_along_axis(blocks, order[..., None], axis=1)
  shuffled = shuffled.reshape(n, h // 2, w // 2, 2, 2, c)
  return shuffled.transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


def checkerboard(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Adds a checkerboard of +-`strength` grey levels, as transposed convolutions do."""
  del rng
  y, x = np.mgrid[: images.shape[1], : images.shape[2]]
  return _rounded(images + strength * np.where((y + x) % 2, 1.0, -1.0)[None, :, :, None])


def drop_channel(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Sets the channel number `strength` to 0."""
  del rng
  changed = images.copy()
  changed[..., int(strength)] = 0
  return changed


def swap_channels(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Exchanges the first and the last channel in a share `strength` of the images."""
  return _in_share(images, images[..., ::-1], rng, strength)


def blur(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Blurs by a Gaussian whose deviation is `strength` pixels."""
  del rng
  return _rounded(ndimage.gaussian_filter(images.astype(np.float32), (0, strength, strength, 0)))


def noise(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Adds Gaussian noise of `strength` grey levels to each value."""
  return _rounded(images + rng.normal(0, strength, images.shape))


def compress(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Compresses as JPEG of quality `strength`, whose blocks of 8 pixels become visible."""
  del rng
  return np.stack([_through_jpeg(image, int(strength)) for image in images])


def _through_jpeg(image: np.ndarray, quality: int, subsampling: int = 0) -> np.ndarray:
  stream, grey = io.BytesIO(), image.shape[2] == 1
  options = {} if grey else {'subsampling': subsampling}
  Image.fromarray(image[..., 0] if grey else image).save(stream, 'JPEG', quality=quality, **options)
  return np.asarray(Image.open(stream)).reshape(image.shape)


def border(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Draws a frame of one pixel in the grey level `strength`."""
  del rng
  changed = images.copy()
  changed[:, [0, -1]] = changed[:, :, [0, -1]] = int(strength)
  return changed


def shift(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Moves all images to the right by `strength` pixels; the first column is repeated."""
  del rng
  columns = np.maximum(np.arange(images.shape[2]) - int(strength), 0)
  return images[:, :, columns]


def quantise(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Rounds each value to one of `strength` equidistant levels."""
  del rng
  step = 255 / (strength - 1)
  return _rounded(np.rint(images / step) * step)


def mirror(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Mirrors left and right in a share `strength` of the images."""
  return _in_share(images, images[:, :, ::-1], rng, strength)


def vignette(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Darkens towards the corners, where a share `strength` of the brightness is lost."""
  del rng
  y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in images.shape[1:3]), indexing='ij')
  return _rounded(images * (1 - strength * (y**2 + x**2) / 2)[None, :, :, None])


def gamma(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Raises values in [0, 1] to the power `strength`."""
  del rng
  return _rounded(255 * (images / 255) ** strength)


def ringing(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Adds `strength` times the difference to a blurred image: bright and dark lines along edges."""
  del rng
  smooth = ndimage.gaussian_filter(images.astype(np.float32), (0, 1.5, 1.5, 0))
  return _rounded(images + strength * (images - smooth))


def repeat_row(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Repeats the middle row `strength` times over those below it."""
  del rng
  rows = np.arange(images.shape[1])
  middle = images.shape[1] // 2
  rows[middle : middle + 1 + int(strength)] = middle
  return images[:, rows]


def subsample_chroma(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Averages colour, less the grey level, over squares of `strength` pixels."""
  del rng
  n, h, w, c = images.shape
  side = int(strength)
  grey = images.mean(axis=3, keepdims=True)
  colour = images - grey
  squares = colour[:, : h // side * side, : w // side * side]
  squares = squares.reshape(n, h // side, side, w // side, side, c).mean(axis=(2, 4))
  colour[:, : h // side * side, : w // side * side] = squares.repeat(side, 1).repeat(side, 2)
  return _rounded(grey + colour)


def rotate(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Rotates by `strength` degrees, with linear interpolation."""
  del rng
  return _rounded(
    ndimage.rotate(
      images.astype(np.float32), strength, axes=(2, 1), reshape=False, order=1, mode='nearest'
    )
  )


def dead_pixels(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Sets a share `strength` of the pixels to black or white."""
  n, h, w, _ = images.shape
  draw = rng.random((n, h, w, 1))
  return np.where(draw < strength, np.where(draw < strength / 2, 0, 255), images).astype(np.uint8)


def stripes(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Adds `strength` grey levels to each fourth row."""
  del rng
  rows = np.arange(images.shape[1]) % 4 == 0
  return _rounded(images + strength * rows[None, :, None, None])


def zoom(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Enlarges by the factor `strength` around the centre, with linear interpolation."""
  del rng
  h, w = images.shape[1:3]
  factors = [np.eye(size) for size in (h, w)]
  for matrix in factors:
    size = len(matrix)
    at = (np.arange(size) - (size - 1) / 2) / strength + (size - 1) / 2
    matrix[:] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size)[None]))
  return _rounded(np.einsum('yi,xj,nijc->nyxc', *factors, images.astype(np.float32), optimize=True))


def desaturate(images: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
  """Moves colours towards grey by the share `strength`."""
  del rng
  grey = images.mean(axis=3, keepdims=True)
  return _rounded(images + strength * (grey - images))


class ImageFault(NamedTuple):
  """Holds a fault, its strength, and the images in which a person sees it."""

  apply: FaultFn
  strength: float
  needs: str = ''  # 'colour', or 'direction' where left and right differ

  def __call__(self, images: np.ndarray, rng: Rng) -> np.ndarray:
    """Returns the images with the fault."""
    return self.apply(images, rng, self.strength)


IMAGE_FAULTS = {
  '2x2 blocks shuffled': ImageFault(shuffle_blocks, 1),
  'checkerboard': ImageFault(checkerboard, 12),
  'channel missing': ImageFault(drop_channel, 2, 'colour'),
  'channels swapped': ImageFault(swap_channels, 1, 'colour'),
  'channels swapped in a third': ImageFault(swap_channels, 1 / 3, 'colour'),
  'blur': ImageFault(blur, 0.7),
  'noise': ImageFault(noise, 15),
  'JPEG': ImageFault(compress, 30),
  'border': ImageFault(border, 128),
  'shift by a pixel': ImageFault(shift, 1),
  'quantised': ImageFault(quantise, 8),
  'mirrored': ImageFault(mirror, 1, 'direction'),
  'mirrored in a third': ImageFault(mirror, 1 / 3, 'direction'),
  'vignette': ImageFault(vignette, 0.4),
  'gamma': ImageFault(gamma, 1.4),
  'ringing': ImageFault(ringing, 0.6),
  'row repeated': ImageFault(repeat_row, 2),
  'chroma subsampled': ImageFault(subsample_chroma, 4, 'colour'),
  'rotated': ImageFault(rotate, 3),
  'dead pixels': ImageFault(dead_pixels, 0.01),
  'stripes': ImageFault(stripes, 10),
  'zoomed': ImageFault(zoom, 1.05),
  'desaturated': ImageFault(desaturate, 0.4, 'colour'),
}
# Kinds on which no probe was tuned.
HELD_OUT_KINDS = frozenset(
  {
    *('checkerboard', 'channel missing', 'blur', 'border'),
    *('vignette', 'gamma', 'ringing', 'row repeated', 'chroma subsampled', 'rotated'),
    *('dead pixels', 'stripes', 'zoomed', 'desaturated'),
  }
)
