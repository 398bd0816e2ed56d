"""Holds images that were read, and stacks them into arrays of one size and number of channels."""

import collections
import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.data.reader.summary import ReadSummary, shown
from gan_jax.utils.errors import UserError


class MixedSizesError(UserError):
  """Reports images of different sizes where no size to resize them to is given."""


class Pixels:
  """Holds n decoded images in one array of bytes.

  Args:
    content: uint8 [m], possibly memory-mapped.
    offsets: of the images in `content`, int64 [n].
    shapes: (h, w) or (h, w, c) of each image.
  """

  def __init__(
    self, content: np.ndarray, offsets: np.ndarray, shapes: Sequence[tuple[int, ...]]
  ) -> None:
    self._content, self._offsets = content, offsets
    self.shapes = shapes
    self.kinds = collections.Counter(shapes)

  def __len__(self) -> int:
    return len(self.shapes)

  def __getitem__(self, i: int) -> np.ndarray:
    start, shape = self._offsets[i], self.shapes[i]
    return self._content[start : start + math.prod(shape)].reshape(shape)

  def select(self, rows: Sequence[int]) -> 'Pixels':
    """Returns the images at `rows`."""
    if len(rows) == len(self):
      return self
    return Pixels(self._content, self._offsets[rows], [self.shapes[i] for i in rows])

  @property
  def n_channels(self) -> int:
    """Returns the largest number of channels of an image."""
    return max(shape[2] if len(shape) == 3 else 1 for shape in self.kinds)

  def hash(self, i: int, n_channels: int) -> bytes:
    """Returns the SHA-256 of an image with `n_channels`."""
    shape = self.shapes[i]
    if (shape[2] if len(shape) == 3 else 1) == n_channels:
      start = self._offsets[i]
      return hashlib.sha256(self._content[start : start + math.prod(shape)].data).digest()
    return hashlib.sha256(np.atleast_3d(self[i]).repeat(n_channels, axis=2).data).digest()

  def stack(self, rows: np.ndarray, out: np.ndarray) -> None:
    """Copies the images at `rows` into `out` uint8 [m, h, w, c], grey ones to all channels."""
    size = math.prod(out.shape[1:])
    if (
      len(self.kinds) == 1
      and math.prod(self.shapes[0]) == size
      and not (self._offsets % size).any()
    ):
      images = self._content[: len(self._content) // size * size].reshape(-1, *out.shape[1:])
      np.take(images, self._offsets[rows] // size, axis=0, out=out, mode='clip')  # 'raise' buffers
      return
    for row, i in zip(out, rows, strict=True):
      row[:] = np.atleast_3d(self[i])


def pixels_of_array(images: np.ndarray) -> Pixels:
  """Returns the images of an array uint8 [n, h, w, c]."""
  images = np.ascontiguousarray(images)
  size = math.prod(images.shape[1:])
  offsets = np.arange(len(images), dtype=np.int64) * size
  return Pixels(images.reshape(-1), offsets, [images.shape[1:]] * len(images))


class ImageSet(NamedTuple):
  """Holds the images of a source in its order.

  Args:
    pixels: of n images, of any sizes, grey or RGB.
    names: of the files, for messages; empty for arrays.
    splits: the split that the source gives each image, '' for none.
    labels: int64 [n], or None.
    class_names: of the labels 0, 1, ...
    summary: what was read, converted and left out.
    damaged: names of image files that cannot be read, which are left out.
  """

  pixels: Pixels
  names: Sequence[str]
  splits: Sequence[str]
  labels: np.ndarray | None
  class_names: tuple[str, ...]
  summary: ReadSummary
  damaged: Sequence[str] = ()

  def common_shape(self, given: str, image_size: int) -> tuple[int, int, int]:
    """Returns the (h, w, c) of all images after stacking, c = 3 if one is coloured.

    Notes in the summary how many grey images become RGB. Raises MixedSizesError.
    """
    kinds = self.pixels.kinds
    n_grey = sum(n for shape, n in kinds.items() if len(shape) == 2)
    if 0 < n_grey < len(self.pixels):
      self.summary.conversions['grey to RGB, as others are coloured'] = n_grey
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    for shape, n in kinds.items():
      sizes[shape[0], shape[1]] += n
    (h, w), n = max(sizes.items(), key=lambda item: (item[1], item[0]))
    if len(sizes) > 1:
      i = next(i for i, shape in enumerate(self.pixels.shapes) if shape[:2] != (h, w))
      other = self.pixels.shapes[i]
      raise MixedSizesError(
        f'{given}: {n:,} of {len(self.pixels):,} images are {w}x{h} pixels, and {shown(self.names[i])} is '
        f'{other[1]}x{other[0]}: give images of one size, or --image_size={image_size or min(h, w)}'
      )
    return h, w, self.pixels.n_channels

  def stack(self, rows: Sequence[int] | np.ndarray, out: np.ndarray) -> np.ndarray:
    """Copies the images at `rows` into `out` uint8 [m, h, w, c], grey ones to all channels."""
    self.pixels.stack(np.asarray(rows, np.int64), out)
    return out

  def content_hashes(self) -> list[bytes]:
    """Returns the SHA-256 of the pixels of each image, as `stack` gives them, and counts duplicates."""
    n_channels = self.pixels.n_channels
    hashes = [self.pixels.hash(i, n_channels) for i in range(len(self.pixels))]
    self.summary.n_duplicates = len(hashes) - len(set(hashes))
    return hashes
