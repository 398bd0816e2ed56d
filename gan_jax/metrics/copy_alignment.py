"""Aligns a sample with the training image that it may copy, and says how the two differ."""

import functools
from typing import NamedTuple

import numpy as np

from gan_jax.metrics.copy_descriptors import shrink, to_grey

_COARSE_SIDE = 24  # pixels at which all alignments are tried
_N_REFINED = 4  # best ones that are tried at full size
_SCALES = (
  1.0,
  1.06,
  0.95,
  0.9,
  0.85,
  0.8,
  0.75,
)  # side of the sample, in sides of the training image
_MARGIN = 0.12  # of a side, by which the sample may reach beyond the training image
_MAX_UNEXPLAINED = 0.1  # of the variance of grey values; above, two images are alike at most
_MIN_LIGHT = 0.04  # of the range of grey values, and
_MIN_GAIN = 1.15  # of their differences: less is no change of light
_GAINS = (0.5, 2.0)  # of a distance: no constant image is at distance 0 from all others
_MAX_NOISE = 0.01  # root mean square of what rounding leaves


class _Alignment(NamedTuple):
  """Holds where a sample lies in a training image, in pixels of that image."""

  mirrored: bool
  scale: float
  top: int
  left: int


class _Fit(NamedTuple):
  """Holds how well an example, where a sample lies in it, explains the sample by a gain and an offset."""

  unexplained: float  # part of the variance of the sample's grey values
  distance: float  # root mean square of the rest in all channels, of values in [0, 1]
  gain: float
  offset: float  # at the example's mean


def describe_pair(sample: np.ndarray, example: np.ndarray) -> tuple[float, str]:
  """Returns the distance of two images uint8 [h, w, c] after alignment, and how they differ, in words.

  The distance is the root mean square of what differs where the two overlap, in [0, 1], after the best gain
  and offset of grey values; images above 64 pixels are averaged first. 'alike' means no more than that.
  """
  if np.array_equal(sample, example):
    return 0.0, 'equal'
  small = [shrink(x[None])[0] for x in (sample, example)]
  factor = min(1.0, _COARSE_SIDE / max(small[0].shape[:2]))
  sides = [max(round(factor * side), 1) for side in small[0].shape[:2]]
  coarse = [to_grey(_resize(x, *sides)[None])[0] / 255 for x in small]
  found = _best_alignments(coarse[0], coarse[1])
  refined = {near for at in found for near in _refinements(at, 1 / factor)}
  # Of equal fits the simplest: not mirrored, not scaled, not shifted.
  order = lambda at: (at.mirrored, abs(at.scale - 1), abs(at.top) + abs(at.left))
  fits = {at: _fit(small[0], small[1], at) for at in sorted(refined, key=order)}
  best = min(fits, key=lambda at: round(fits[at].unexplained, 3))
  return fits[best].distance, _describe(best, fits[best], sample.shape[0] / small[0].shape[0])


def _best_alignments(sample: np.ndarray, example: np.ndarray) -> list[_Alignment]:
  """Returns the alignments, of all, by which grey values [h, w] explain each other best."""
  h, w = example.shape
  margins = round(_MARGIN * h), round(_MARGIN * w)
  padded = np.pad(example, [(m, m) for m in margins])
  inside = np.pad(np.ones_like(example), [(m, m) for m in margins])
  found = []
  for scale in _SCALES:
    size = round(scale * h), round(scale * w)
    scaled = _resize(sample[..., None], *size)[..., 0]
    fits = [sum(margin) >= 0 for margin in zip(margins, (h - size[0], w - size[1]), strict=True)]
    if not all(fits):
      continue
    x, seen = (np.lib.stride_tricks.sliding_window_view(image, size) for image in (padded, inside))
    for mirrored in (False, True):
      y = scaled[:, ::-1] if mirrored else scaled
      over = lambda windows, image: np.tensordot(windows, image, axes=2)
      n, sum_x, sum_y = over(seen, np.ones_like(y)), over(x, np.ones_like(y)), over(seen, y)
      variance_x = over(x**2, np.ones_like(y)) - sum_x**2 / n
      variance_y = over(seen, y**2) - sum_y**2 / n
      covariance = np.maximum(over(x, y) - sum_x * sum_y / n, 0)
      explained = covariance**2 / (np.maximum(variance_x, 1e-4) * np.maximum(variance_y, 1e-4))
      for at in np.argsort(-explained, axis=None, kind='stable')[:_N_REFINED].tolist():
        top, left = divmod(at, explained.shape[1])
        alignment = _Alignment(mirrored, scale, top - margins[0], left - margins[1])
        found.append((-explained[top, left], alignment))
  return [alignment for _, alignment in sorted(found)[:_N_REFINED]]


def _refinements(at: _Alignment, ratio: float) -> list[_Alignment]:
  """Returns the alignments at a size `ratio` times as large that are rounded to `at`."""
  steps = range(-int(ratio), int(ratio) + 1)
  top, left = round(at.top * ratio), round(at.left * ratio)
  return [at._replace(top=top + y, left=left + x) for y in steps for x in steps]


def _fit(sample: np.ndarray, example: np.ndarray, at: _Alignment) -> _Fit:
  """Fits gain and offset where `sample`, placed `at` an alignment, overlaps `example`, both [h, w, c]."""
  h, w = example.shape[:2]
  part = sample[:, ::-1] if at.mirrored else sample
  if at.scale != 1:
    part = _resize(part, round(at.scale * h), round(at.scale * w))
  top, left = max(at.top, 0), max(at.left, 0)
  known = example[top : at.top + part.shape[0], left : at.left + part.shape[1]]
  part = part[top - at.top :, left - at.left :][: known.shape[0], : known.shape[1]]
  x, y = (to_grey(image[None]) / 255 for image in (known, part))
  variances = max(float(x.var()), 1e-6), max(float(y.var()), 1e-6)
  covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
  gain = covariance / variances[0]
  unexplained = 1 - covariance**2 / (variances[0] * variances[1]) if covariance > 0 else 1.0
  rest = part / 255 - y.mean() - np.clip(gain, *_GAINS) * (known / 255 - x.mean())
  return _Fit(unexplained, float(np.sqrt(np.mean(rest**2))), gain, float(y.mean() - x.mean()))


def _describe(at: _Alignment, fit: _Fit, pixels: float) -> str:
  """Returns the differences in words; a pixel of the alignment is `pixels` pixels of the image."""
  if fit.unexplained > _MAX_UNEXPLAINED:
    return 'alike'
  words = ['mirrored'] if at.mirrored else []
  if at.scale != 1:
    words.append(f'cropped to {at.scale:.0%}' if at.scale < 1 else 'shrunk')
  elif at.top or at.left:
    # The part of the training image that a sample shows has moved the other way.
    moves = [(at.top, 'up', 'down'), (at.left, 'left', 'right')]
    steps = [f'{abs(x) * pixels:.0f} {back if x > 0 else on}' for x, back, on in moves if x]
    words.append(f'shifted {" and ".join(steps)}')
  if abs(fit.offset) > _MIN_LIGHT:
    words.append('brighter' if fit.offset > 0 else 'darker')
  if not 1 / _MIN_GAIN < fit.gain < _MIN_GAIN:
    words.append('more contrast' if fit.gain > 1 else 'less contrast')
  if fit.distance > _MAX_NOISE:
    words.append('small differences')
  return ', '.join(words) or 'nearly equal'


def _resize(image: np.ndarray, h: int, w: int) -> np.ndarray:
  """Resizes an image [height, width, c] to float32 [h, w, c] bilinearly, averaging where it shrinks."""
  rows, columns = _resizing_matrix(image.shape[0], h), _resizing_matrix(image.shape[1], w)
  return np.einsum('ah,hwc,bw->abc', rows, image, columns, optimize=True)


@functools.lru_cache(maxsize=256)
def _resizing_matrix(size: int, new_size: int) -> np.ndarray:
  """Returns weights float32 [new_size, size] of a triangle as wide as two pixels of the coarser axis."""
  centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5
  width = max(size / new_size, 1)
  weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(size)[None]) / width, 0)
  return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
