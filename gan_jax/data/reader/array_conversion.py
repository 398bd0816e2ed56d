"""Converts arrays of any layout and range of values to uint8 images [n, h, w, c] or float32 points [n, ...]."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from gan_jax.data.reader.options import ReadOptions
from gan_jax.utils.errors import UserError

Note = Callable[[str], None]
Allocate = Callable[[tuple[int, ...]], np.ndarray]
_OVERSHOOT = 0.01  # of a range of pixels, by which rounding may exceed it
_CHANNELS = (1, 3, 4)  # of images: grey, RGB, RGBA
_CHUNK = 2**24  # numbers converted at once
_MIN_BYTE_RANGE = 64  # fractions below that, such as floats in [0, 3], are no pixels in [0, 255]
_RANGES = ((0, 1, 255.0), (-1, 1, 127.5), (0, 255, 1.0))  # least, most, factor to 8 bits


def convert_array(
  given: str, x: np.ndarray, options: ReadOptions, note: Note, allocate: Allocate
) -> np.ndarray:
  """Converts an array to images uint8 [n, h, w, c] with c = 1 or 3, or to points float32 [n, ...].

  `note` receives a line for each conversion that is not certain or changes values. `allocate` returns a new
  array uint8 of a shape. Raises UserError.
  """
  if x.ndim < 2 or not x.size:
    raise UserError(f'{given}: an array {list(x.shape)}; give [n, ...] with n above 0')
  if x.dtype.kind not in 'fiub':
    raise UserError(f'{given}: it holds {x.dtype}; give numbers')
  if options.kind == 'points' or (options.kind == 'auto' and x.ndim == 2):
    if x.dtype == np.uint8 and options.kind == 'auto':
      note(f'read as points [n, d], {_axes(x)}; --kind=images reads flattened images')
    points = np.asarray(x, np.float32)
    return points if x.ndim < 4 else points.reshape(len(x), -1)
  x = _as_nhwc(given, x, options, note)
  low, high, finite = _value_range(x)
  if not finite:
    raise UserError(f'{given}: it holds infinite or NaN numbers')
  if x.ndim == 3 and _image_range(x, low, high) is None and options.kind == 'auto':
    if x.dtype.kind != 'f':
      raise _range_error(given, low, high)
    note(f'read as series [n, t, d] of points, {_axes(x)}')
    return np.asarray(x, np.float32)
  if x.ndim == 3:
    x = x[..., None]
  return _flatten_alpha(_to_uint8(given, x, low, high, note, allocate), options, note, allocate)


def _axes(x: np.ndarray) -> str:
  return ' x '.join(map(str, x.shape))


def _as_nhwc(given: str, x: np.ndarray, options: ReadOptions, note: Note) -> np.ndarray:
  """Returns an array of images with the channels, if it has any, as the last of four axes."""
  if x.ndim == 2:
    x = _unflatten(given, x, options)
  if x.ndim == 3:
    one_image = x.shape[2] in (3, 4) and min(x.shape[:2]) >= 8 and x.dtype.kind in 'ub'
    if one_image and options.kind == 'auto':
      mend = 'add an axis for n, or give --kind=images if it is [n, h, w]'
      raise UserError(f'{given}: an array {list(x.shape)} looks like one image [h, w, c]; {mend}')
    return x
  if x.ndim != 4:
    mend = 'images are [n, h, w, c], [n, c, h, w] or [n, h, w]; --kind=points takes any axes'
    raise UserError(f'{given}: an array {list(x.shape)}; {mend}')
  first, last = x.shape[1] in _CHANNELS, x.shape[3] in _CHANNELS
  layout = options.layout
  if layout == 'auto':
    if not first and not last:
      mend = 'give --layout=nhwc or --layout=nchw, with 1, 3 or 4 channels'
      raise UserError(
        f'{given}: in an array {list(x.shape)} no axis is certain to be channels; {mend}'
      )
    layout = 'nhwc' if last else 'nchw'
    if not last:
      note(f'read as images [n, c, h, w], {_axes(x)}')
    elif first and x.shape[1:3] != (1, 1) and x.shape[1:] != (x.shape[1],) * 3:
      note(f'read as images [n, h, w, c], {_axes(x)}; --layout=nchw reads the other order')
  x = x.transpose(0, 2, 3, 1) if layout == 'nchw' else x
  if x.shape[3] not in (1, 2, 3, 4):
    mend = 'give 1, 3 or 4, or another --layout'
    raise UserError(
      f'{given}: {x.shape[3]} channels in an array {list(x.shape)} [n, h, w, c]; {mend}'
    )
  return x


def _unflatten(given: str, x: np.ndarray, options: ReadOptions) -> np.ndarray:
  """Returns rows [n, d] as square images: grey, or with three channels in the order of --layout."""
  side, colour_side = math.isqrt(x.shape[1]), math.isqrt(x.shape[1] // 3)
  if side**2 == x.shape[1]:
    return x.reshape(-1, side, side, 1)
  if 3 * colour_side**2 != x.shape[1]:
    raise UserError(
      f'{given}: rows of {x.shape[1]} numbers are no square images; give [n, h, w, c]'
    )
  if options.layout == 'auto':
    mend = 'give --layout=nhwc or --layout=nchw (the order of CIFAR-10)'
    raise UserError(
      f'{given}: rows of {x.shape[1]} numbers are colour images of either order; {mend}'
    )
  if options.layout == 'nchw':
    return x.reshape(-1, 3, colour_side, colour_side)
  return x.reshape(-1, colour_side, colour_side, 3)


def chunks(x: np.ndarray) -> Iterator[slice]:
  """Yields slices of the first axis with at most 16 million numbers each, at least one row."""
  n = max(1, _CHUNK // max(1, math.prod(x.shape[1:])))
  for start in range(0, len(x), n):
    yield slice(start, start + n)


def finite_rows(x: np.ndarray) -> np.ndarray:
  """Returns bool [n]: whether all numbers of a row are finite."""
  if x.dtype.kind != 'f':
    return np.ones(len(x), bool)
  return np.concatenate([np.isfinite(x[s]).reshape(len(x[s]), -1).all(axis=1) for s in chunks(x)])


def _value_range(x: np.ndarray) -> tuple[float, float, bool]:
  """Returns the least and the largest number, and whether all are finite."""
  pairs = [(float(x[s].min()), float(x[s].max())) for s in chunks(x)]
  low, high = min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
  return low, high, math.isfinite(sum(map(sum, pairs)))


def _image_range(x: np.ndarray, low: float, high: float) -> tuple[float, float, float] | None:
  """Returns (least, most, factor) of the range of pixels that the numbers lie in, None for none."""
  if x.dtype == np.uint8:
    return 0, 255, 1.0
  if x.dtype == bool:
    return 0, 1, 255.0
  if x.dtype == np.uint16 and high > 255:
    return 0, 65535, 1 / 257
  for least, most, factor in _RANGES:
    margin = _OVERSHOOT * (most - least)
    if least - margin <= low and high <= most + margin and high > most / 100:
      if most == 255 and high < _MIN_BYTE_RANGE and not _holds_integers(x):
        return None
      return least, most, factor
  return None


def _holds_integers(x: np.ndarray) -> bool:
  return x.dtype.kind != 'f' or all((x[s] == np.rint(x[s])).all() for s in chunks(x))


def _range_error(given: str, low: float, high: float) -> UserError:
  mend = 'give uint8, or floats in [0, 1], [-1, 1] or [0, 255]'
  return UserError(f'{given}: pixels from {low:.3g} to {high:.3g}; {mend}')


def _to_uint8(
  given: str, x: np.ndarray, low: float, high: float, note: Note, allocate: Allocate
) -> np.ndarray:
  """Scales pixels to uint8 and clips those that rounding took out of their range; raises UserError."""
  if x.dtype == np.uint8:
    return x if x.flags.c_contiguous else _copy(x, allocate(x.shape))
  found = _image_range(x, low, high)
  if found is None:
    raise _range_error(given, low, high)
  least, most, factor = found
  if low < least or high > most:
    note(f'pixels from {low:.4g} to {high:.4g} are clipped to [{least}, {most}]')
  if most > 255:
    note('pixels of 16 bits are scaled to 8')
  pixels = allocate(x.shape)
  for s in chunks(x):
    part = x[s].astype(np.float32) if x.dtype.kind != 'f' or x.dtype.itemsize < 4 else x[s]
    pixels[s] = np.rint((np.clip(part, least, most) - least) * factor)
  return pixels


def _copy(x: np.ndarray, out: np.ndarray) -> np.ndarray:
  for s in chunks(x):
    out[s] = x[s]
  return out


def _flatten_alpha(
  x: np.ndarray, options: ReadOptions, note: Note, allocate: Allocate
) -> np.ndarray:
  """Composites images with a fourth or second channel, alpha, on the background."""
  n_colours = x.shape[3] - 1
  if x.shape[3] not in (2, 4):
    return x
  background = options.background_color()
  note(f'{x.shape[3]} channels are read as {"RGBA" if n_colours == 3 else "grey and alpha"} and composited '
       f'on {options.background}')  # fmt: skip
  if n_colours == 1 and len({*background}) > 1:
    x, n_colours = x[..., [0, 0, 0, 1]], 3
  behind = np.array(background[:n_colours], np.float32)
  flat = allocate((*x.shape[:3], n_colours))
  for s in chunks(x):
    alpha = x[s, ..., -1:].astype(np.float32) / 255
    flat[s] = np.rint(x[s, ..., :-1] * alpha + behind.reshape(1, 1, 1, -1) * (1 - alpha))
  return flat
