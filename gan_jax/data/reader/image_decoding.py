"""Decodes the content of an image file to 8-bit grey or RGB pixels."""

import functools
import io
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps

from gan_jax.data import resizing
from gan_jax.data.reader.options import MAX_PIXELS
from gan_jax.data.reader.summary import NOT_IMAGES, OTHER, TOO_LARGE

# EPS needs Ghostscript and WMF Windows; the others are stubs that Pillow identifies and cannot decode.
_UNSUPPORTED = {'EPS', 'WMF', 'BUFR', 'GRIB', 'HDF5', 'MPEG'}
_FREQUENT = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF')
_TGA_END = b'TRUEVISION-XFILE.\0'  # TGA has no signature at its start
_ORIENTATION = 0x0112
_EXIF_KEYS = {'exif', 'Raw profile type exif', 'xmp', 'XML:com.adobe.xmp'}  # where Pillow keeps it
_MODE_NAMES = {'I': '32 bits', 'F': 'float'}


class NotAnImageError(Exception):
  """Reports content that is not decoded; `reason` is a reason of `summary`."""

  def __init__(self, reason: str) -> None:
    self.reason = reason


class DecodedImage(NamedTuple):
  """Holds the bytes of pixels uint8 [h, w] or [h, w, 3], the size before cropping, and what was converted."""

  content: bytes
  shape: tuple[int, ...]
  size: tuple[int, int]
  format: str
  mode: str
  conversions: tuple[str, ...]


def decode_image(
  content: bytes, name: str, image_size: int, background: tuple[int, int, int]
) -> DecodedImage:
  """Decodes a file's first frame: rotated by EXIF, in 8 bits, on `background` where it is transparent.

  It is cropped and resized if `image_size` is not 0. Raises NotAnImageError.
  """
  try:
    suffix = '.tga' if content.endswith(_TGA_END) else suffix_of(name)
    file = PIL.Image.open(io.BytesIO(content), formats=_formats(suffix))
  except PIL.Image.DecompressionBombError:
    raise NotAnImageError(TOO_LARGE) from None
  except MemoryError:
    raise
  except Exception:  # decoders raise many kinds on damaged files
    raise NotAnImageError(NOT_IMAGES if _looks_like_image(name) else OTHER) from None
  if file.width * file.height > MAX_PIXELS:
    raise NotAnImageError(TOO_LARGE)
  try:
    is_animated = getattr(file, 'is_animated', False)
    file.load()
    image, conversions = _rotate(file)
    if is_animated:
      conversions.append('animations or pages to their first frame')
    image = _to_grey_or_rgb(image, background, conversions)
    size, mode, kind = image.size, file.mode, file.format or ''
    if image_size:
      image = resizing.crop_and_resize(image, image_size)
  except MemoryError:
    raise
  except Exception:
    raise NotAnImageError(NOT_IMAGES) from None
  shape = (image.height, image.width, 3) if image.mode == 'RGB' else (image.height, image.width)
  return DecodedImage(image.tobytes(), shape, size, kind, mode, tuple(conversions))


def suffix_of(name: str) -> str:
  """Returns the suffix of a file name in lower case, with its dot, or ''."""
  stem, dot, suffix = name.rpartition('/')[2].rpartition('.')
  return f'.{suffix.lower()}' if dot and stem else ''


@functools.cache
def _formats(suffix: str) -> tuple[str, ...]:
  """Returns the formats to try: formats without a signature only where the suffix names them."""
  PIL.Image.init()
  readable = [kind for kind in PIL.Image.ID if kind not in _UNSUPPORTED]
  named = PIL.Image.EXTENSION.get(suffix)
  certain = [kind for kind in readable if PIL.Image.OPEN[kind][1] is not None or kind == named]
  return (*_FREQUENT, *(kind for kind in certain if kind not in _FREQUENT))


def _looks_like_image(name: str) -> bool:
  PIL.Image.init()
  return suffix_of(name) in PIL.Image.EXTENSION


def _rotate(file: PIL.Image.Image) -> tuple[PIL.Image.Image, list[str]]:
  """Applies the orientation of the EXIF data, and ignores EXIF data that are broken."""
  info = file.info
  if not (info.keys() & _EXIF_KEYS or hasattr(file, 'tag_v2')):
    return file, []
  try:
    if file.getexif().get(_ORIENTATION, 1) in range(2, 9):
      return PIL.ImageOps.exif_transpose(file), ['rotated by EXIF']
  except Exception:  # of struct, of Pillow's parser, of XML
    return file, ['with broken EXIF, which is ignored']
  return file, []


def _to_grey_or_rgb(
  image: PIL.Image.Image, background: tuple[int, int, int], conversions: list[str]
) -> PIL.Image.Image:
  """Converts an image to mode L or RGB, and appends what it did to `conversions`."""
  mode = image.mode
  if mode in ('L', 'RGB') and 'transparency' not in image.info:
    return image
  if mode[0] in 'IF':
    conversions.append(f'{_MODE_NAMES.get(mode, "16 bits")} to 8')
    return PIL.Image.fromarray(_eight_bits(np.asarray(image)))
  grey = mode in ('1', 'L', 'LA', 'La')
  if image.has_transparency_data:
    conversions.append('transparent')
    if mode in ('La', 'RGBa'):
      image = image.convert('LA' if grey else 'RGBA')
    behind = PIL.Image.new('RGBA', image.size, background)
    flat = PIL.Image.alpha_composite(behind, image.convert('RGBA'))
    return flat.convert('L' if grey and len({*background}) == 1 else 'RGB')
  if mode not in ('1', 'L'):
    conversions.append(f'{"palette" if mode == "P" else mode} to RGB')
  return image.convert('L' if grey else 'RGB')


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
  """Scales pixels of 16 bits, or floats in [0, 1] or [0, 255], to uint8; raises ValueError."""
  low, high = float(pixels.min()), float(pixels.max())
  if not (low >= 0 and high <= 65535):  # also where it is not a number
    raise ValueError(f'pixels from {low} to {high}')
  is_deep = pixels.dtype.kind != 'f' or high > 255
  scale = 1 / 257 if is_deep else 1.0 if high > 1 else 255.0
  return np.rint(pixels * scale).astype(np.uint8)
