"""Computes statistics of single images at full resolution that faults of rendering and compression change.

Differences of pixels, their phase on lattices of 2, 4 and 8 pixels, cosine spectra of blocks, grey levels,
borders, channels, and the shape: a row of numbers for each image, all of whose pixels are read as integers.
"""

import functools
import math

import numpy as np

_CHUNK_PIXELS = 1 << 19  # that are processed together
_WINDOW = (
  48  # side, in pixels, of the nine windows that stand for an image of more than three of them
)
_N_POOLED = 8  # rows and columns of the pooled image
_N_PROFILE = 32  # bins of profiles over rows and over columns
_N_CHANNELS = 4  # of which each has its own statistics
_LATTICES = (2, 4, 8)  # pixels
_PERIODS = (2, 4, 8, 16, 32, 51)  # grey levels
_MANY_PIXELS = 8192
_LIMIT = 255  # to which differences are clipped
_N_SCALES = 3  # at which orientations are measured, each half the last
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def image_statistics(images: np.ndarray) -> np.ndarray:
  """Returns statistics float32 [n, d] of uint8 images [n, h, w, c]; d depends on the shape only.

  Sides above 144 pixels are represented by windows at both ends and in the middle, and by the pooled image.
  """
  windows = _take_windows(images)
  chunk = max(1, _CHUNK_PIXELS // math.prod(images.shape[1:]))
  starts = range(0, max(len(images), 1), chunk)
  rows = [_statistics(windows[i : i + chunk], images[i : i + chunk]) for i in starts]
  return np.nan_to_num(np.concatenate(rows)).astype(np.float32)


def pool_images(images: np.ndarray, side: int) -> np.ndarray:
  """Averages uint8 images [n, h, w, c] over rectangles into float32 in [0, 1], at most [n, side, side, c].

  Works in chunks of bounded memory; rectangles have whole bounds, and every pixel counts once.
  """
  h, w = images.shape[1:3]
  bounds = [np.linspace(0, x, min(side, x) + 1).round().astype(int) for x in (h, w)]
  sizes = np.diff(bounds[0])[:, None] * np.diff(bounds[1])[None, :]
  chunk = max(1, _CHUNK_PIXELS // math.prod(images.shape[1:]))
  pooled = []
  for i in range(0, max(len(images), 1), chunk):
    x = np.add.reduceat(images[i : i + chunk], bounds[0][:-1], axis=1, dtype=np.float32)
    pooled.append(np.add.reduceat(x, bounds[1][:-1], axis=2))
  return np.concatenate(pooled) / (255 * sizes[None, :, :, None]).astype(np.float32)


def _take_windows(images: np.ndarray) -> np.ndarray:
  """Keeps three windows along each side that is longer, at multiples of 8 pixels but for the last."""
  for axis in (1, 2):
    size = images.shape[axis]
    if size > 3 * _WINDOW:
      starts = (0, (size - _WINDOW) // 16 * 8, size - _WINDOW)
      kept = np.concatenate([np.arange(start, start + _WINDOW) for start in starts])
      images = np.take(images, kept, axis=axis)
  return images


def _statistics(images: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """Returns the statistics [n, d] of windows [n, h, w, c] of the images `whole`."""
  channels = [np.ascontiguousarray(images[..., i], np.int16) for i in range(images.shape[3])]
  total = np.asarray(np.sum(channels, axis=0, dtype=np.int32))
  grey = (total // len(channels)).astype(np.int16)
  channels = channels[:_N_CHANNELS]
  rows = [pool_images(whole, _N_POOLED).reshape(len(images), -1)]
  rows += [
    *_level_statistics(channels),
    *_channel_statistics(channels),
    *_border_statistics(images),
  ]
  rows += _gradient_statistics(grey)
  rows += [*_block_statistics(grey), *_shape_statistics(grey)]
  for other in channels[1:]:
    rows += _gradient_statistics(channels[0] - other, n_residuals=2)
  return np.concatenate([row.reshape(len(images), -1) for row in rows], axis=1)


def _histogram(values: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
  """Returns the histograms of integer values [n, ...] in [0, size), as shares of their number: [n, size]."""
  n = len(values)
  first = (np.arange(n) * size).reshape(-1, *[1] * (values.ndim - 1))
  keys = np.add(values, first, dtype=np.int64).ravel()
  flat = None if weights is None else weights.ravel()
  counts = np.bincount(keys, weights=flat, minlength=n * size).reshape(n, size)
  return counts.astype(np.float32) / max(values[0].size, 1)


def _level_statistics(channels: list[np.ndarray]) -> list[np.ndarray]:
  """Returns shares of grey levels and Fourier coefficients of their histograms, of each channel."""
  levels = np.arange(256)
  waves = [f(2 * np.pi * levels / period) for period in _PERIODS for f in (np.cos, np.sin)]
  bins = [(levels >> 4) == i for i in range(16)]
  ends = [levels == 0, levels == 255, levels <= 2, levels >= 253]
  projection = np.stack([*waves, *bins, *ends], axis=1).astype(np.float32)
  rows = []
  for channel in channels:
    shares = _histogram(channel, 256)
    entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-9)), axis=1)
    inner = shares[:, 1:255]
    spread = [(shares > 0).sum(axis=1), entropy, inner.max(axis=1), inner.sum(axis=1)]
    rows += [shares @ projection, np.stack(spread, axis=1)]
  return rows


def _channel_statistics(channels: list[np.ndarray]) -> list[np.ndarray]:
  """Returns moments of channels, of their differences and order by pairs, and shares of 64 colours."""
  floats = [channel.astype(np.float32) / 255 for channel in channels]
  mean = lambda x: x.mean(axis=(1, 2))
  means = [mean(x) for x in floats]
  squares = [np.einsum('nyx,nyx->n', x, x) / x[0].size for x in floats]
  rows = [*means, *(np.sqrt(np.maximum(s - m**2, 0)) for s, m in zip(squares, means, strict=True))]
  for i in range(len(channels)):
    for j in range(i):
      difference = channels[i] - channels[j]
      product = np.einsum('nyx,nyx->n', floats[i], floats[j]) / floats[i][0].size
      deviation = np.sqrt(np.maximum(rows[len(channels) + i] * rows[len(channels) + j], 1e-6))
      rows += [
        means[i] - means[j],
        mean(np.abs(difference)) / 255,
        *(mean(sign * difference > k) for sign in (1, -1) for k in (2, 40)),
        product,
        (product - means[i] * means[j]) / deviation**2,
        mean(np.maximum(difference, 0)) / 255,
      ]
  if len(channels) < 3:
    return [np.stack(rows, axis=1)]
  colours = sum((channel >> 6) << (2 * i) for i, channel in enumerate(channels[:3]))
  return [np.stack(rows, axis=1), _histogram(np.asarray(colours), 64)]


def _border_statistics(images: np.ndarray) -> list[np.ndarray]:
  """Returns statistics of the two outermost rows and columns, and differences to their neighbours."""
  rows = []
  for axis in (1, 2):
    size = images.shape[axis]
    for first, towards in ((0, 1), (size - 1, -1)):
      lines = [min(max(first + towards * i, 0), size - 1) for i in range(4)]
      outer = np.take(images, lines, axis=axis)
      outer = np.moveaxis(outer, axis, 1).astype(np.float32) / 255  # [n, 4, length, c]
      differences = np.abs(np.diff(outer, axis=1)).mean(axis=2)
      rows += [outer[:, :2].mean(axis=2), outer[:, :2].std(axis=2), outer[:, 0].min(axis=1)]
      rows += [outer[:, 0].max(axis=1), differences]
      rows.append(differences[:, 0] / (differences[:, 1] + differences[:, 2] + 1 / 255))
  return rows


def _gradient_statistics(x: np.ndarray, n_residuals: int = 6) -> list[np.ndarray]:
  """Returns moments of differences of neighbours in x [n, h, w], their phases, and profiles.

  The first `n_residuals` differences have moments: across, down, both again, diagonal, Laplacian.
  """
  across, down = np.diff(x, axis=2), np.diff(x, axis=1)
  second = [np.diff(across, axis=2), np.diff(down, axis=1)]
  diagonal = np.diff(across, axis=1)
  residuals = [across, down, *second, diagonal]
  if min(x.shape[1:]) > 2:
    residuals.append(second[0][:, 1:-1] + second[1][:, :, 1:-1])
  rows = [_residual_moments(residual) for residual in residuals[:n_residuals]]
  profiles = [
    np.abs(r).mean(axis=axis) for r, axis in zip(residuals[:4], (1, 2, 1, 2), strict=True)
  ]
  for profile in profiles:
    for period in _LATTICES:
      if profile.shape[1] >= 2 * period:
        rows.append(_phases(profile, period))
  for profile in profiles[:2]:
    size = profile.shape[1]
    bounds = np.linspace(0, size, min(size, _N_PROFILE) + 1).round().astype(int)[:-1]
    rows.append(np.minimum.reduceat(profile, bounds, axis=1) / 255)
    rows.append(
      np.stack([profile.min(axis=1), profile.max(axis=1), (profile < 0.05).mean(axis=1)], axis=1)
    )
  quarters = [diagonal[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
  rows.append(np.stack([q.mean(axis=(1, 2)) for q in quarters if q.size], axis=1))
  sizes = np.stack([np.abs(q).mean(axis=(1, 2)) for q in quarters if q.size], axis=1)
  return [*rows, sizes / (sizes.mean(axis=1, keepdims=True) + 0.25)]


def _residual_moments(residual: np.ndarray) -> np.ndarray:
  """Returns even and odd moments, shares of small values, and the largest, of residuals [n, h, w]: [n, k]."""
  values = np.arange(-_LIMIT, _LIMIT + 1, dtype=np.float32)
  size = np.abs(values)
  if residual[0].size > _MANY_PIXELS:
    residual = residual[:, ::2]  # enough for moments
  shares = _histogram(np.clip(residual, -_LIMIT, _LIMIT) + _LIMIT, len(values))
  powers = np.stack([size, values**2, values, values**3, values**4], axis=1)
  near = np.stack([size <= k for k in (0, 1, 3, 8, 24, 64)], axis=1).astype(np.float32)
  first, square, mean, cube, fourth = (shares @ powers).T
  scale = np.sqrt(square) + 0.25
  largest = np.where(shares > 0, size[None], 0).max(axis=1)
  moments = [np.log(first + 1e-2), np.log(square + 1e-2), mean / scale, cube / scale**3]
  moments += [np.log(fourth / scale**4 + 1e-3), largest]
  return np.concatenate([np.stack(moments, axis=1), shares @ near], axis=1)


def _phases(profile: np.ndarray, period: int) -> np.ndarray:
  """Returns the mean of a profile [n, size] at each phase, over the mean of all phases: [n, period]."""
  means = np.stack([profile[:, i::period].mean(axis=1) for i in range(period)], axis=1)
  return means / (means.mean(axis=1, keepdims=True) + 0.25)


def _cosine_transform() -> np.ndarray:
  """Returns the orthonormal cosine transform of 8x8 blocks, [64 pixels, 64 coefficients]."""
  k, i = np.mgrid[:8, :8]
  basis = np.cos(np.pi * k * (2 * i + 1) / 16) * np.where(k == 0, 0.5**0.5, 1) / 2
  return np.kron(basis, basis).T.astype(np.float32)


def _block_statistics(x: np.ndarray) -> list[np.ndarray]:
  """Returns sizes and shares near 0 of cosine coefficients of 8x8 blocks, and contrasts."""
  n, h, w = x.shape
  corners = [x[:, i : h // 2 * 2 : 2, j : w // 2 * 2 : 2] for i in (0, 1) for j in (0, 1)]
  highest, lowest = (functools.reduce(f, corners) for f in (np.maximum, np.minimum))
  contrasts = _histogram(highest - lowest, 256).cumsum(axis=1)
  rows = [contrasts[:, [0, 1, 2, 4, 8, 12, 16, 24, 32, 64, 128]]]
  if min(h, w) < 8:
    return rows
  blocks = x[:, : h // 8 * 8, : w // 8 * 8].reshape(n, h // 8, 8, w // 8, 8)
  blocks = blocks.transpose(0, 1, 3, 2, 4).reshape(n, -1, 64).astype(np.float32)
  size = np.abs(blocks.reshape(-1, 64) @ _cosine_transform()).reshape(blocks.shape)
  small = (size < 0.5).mean(axis=1).reshape(n, 8, 8)
  deviation = np.sqrt(np.einsum('nbk,nbk->nb', size[..., 1:], size[..., 1:])) / 8
  rows += [np.log(size.mean(axis=1) + 0.05), small.mean(axis=1), small.mean(axis=2)]
  return [*rows, np.quantile(deviation, _QUANTILES, axis=1).T]


def _shape_statistics(x: np.ndarray) -> list[np.ndarray]:
  """Returns moments of where x [n, h, w] differs from its border, its bounding box, and oriented gradients."""
  _, h, w = x.shape
  frame = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
  contrast = np.abs(x - np.median(frame, axis=1).astype(np.int16)[:, None, None])
  rows = [_shape_moments(contrast), _shape_moments(x)]
  for threshold in (8, 50):
    present = contrast > threshold
    for axis, size in ((2, h), (1, w)):
      line = present.any(axis=axis)
      ends = [line.argmax(axis=1), size - 1 - line[:, ::-1].argmax(axis=1)]
      rows.append(np.stack([*ends, sum(ends)], axis=1))
  for _ in range(_N_SCALES):
    if min(x.shape[1:]) < 4:
      break
    rows += _orientation_statistics(x)
    h, w = (size // 2 * 2 for size in x.shape[1:])
    x = (x[:, 0:h:2, 0:w:2] + x[:, 1:h:2, 0:w:2] + x[:, 0:h:2, 1:w:2] + x[:, 1:h:2, 1:w:2]) // 4
  return rows


def _orientation_statistics(x: np.ndarray) -> list[np.ndarray]:
  """Returns shares of orientations, and moments of gradients of x [n, h, w] that mirroring changes."""
  across, down = np.diff(x, axis=2)[:, 1:], np.diff(x, axis=1)[:, :, 1:]
  size = np.abs(across) + np.abs(down)
  sector = 4 * (across > 0) + 2 * (down > 0) + (np.abs(across) > np.abs(down))
  shares = _histogram(sector, 8, size)
  rows = [shares / (shares.sum(axis=1, keepdims=True) + 0.25)]
  a, d = across.astype(np.float32), down.astype(np.float32)
  lean, a2, d2 = a * d, a * a, d * d
  scale = np.sqrt((a2 + d2).mean(axis=(1, 2))) + 1
  h, w = x.shape[1] // 2, x.shape[2] // 2
  quarters = [lean[:, :h, :w], lean[:, :h, w:], lean[:, h:, :w], lean[:, h:, w:]]
  moments = [part.mean(axis=(1, 2)) / scale**2 for part in (lean, *quarters) if part.size]
  cubes = [(a, a2), (a, d2), (d, a2), (d, d2), (lean, np.abs(a)), (lean, np.abs(d))]
  # Triple correlations along a row and along a column.
  cubes += [(a2[:, :, 1:], a[:, :, :-1]), (a[:, :, 1:], a2[:, :, :-1])]
  cubes += [(d2[:, 1:], d[:, :-1]), (d[:, 1:], d2[:, :-1]), (d2[:, :, 1:], a[:, :, :-1])]
  cubes += [(d2[:, :, :-1], a[:, :, 1:]), (lean[:, 1:], a[:, :-1]), (lean[:, :-1], a[:, 1:])]
  products = (np.einsum('nyx,nyx->n', u, v) / max(u[0].size, 1) for u, v in cubes)
  return [*rows, np.stack([*moments, *(product / scale**3 for product in products)], axis=1)]


def _shape_moments(mass: np.ndarray) -> np.ndarray:
  """Returns the centre of mass, and moments of orders 2 and 3 around it, of mass [n, h, w]: [n, 11]."""
  _, h, w = mass.shape
  at_y, at_x = np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2
  x_powers = np.stack([(at_x / w) ** j for j in range(4)], axis=1).astype(np.float32)
  y_powers = np.stack([(at_y / h) ** i for i in range(4)], axis=1).astype(np.float32)
  raw = np.einsum('nyj,yi->nij', mass.astype(np.float32) @ x_powers, y_powers)
  raw = raw / (raw[:, :1, :1] + 1)
  y, x = raw[:, 1, 0], raw[:, 0, 1]
  central = [
    raw[:, 2, 0] - y**2,
    raw[:, 1, 1] - x * y,
    raw[:, 0, 2] - x**2,
    raw[:, 3, 0] - 3 * y * raw[:, 2, 0] + 2 * y**3,
    raw[:, 0, 3] - 3 * x * raw[:, 0, 2] + 2 * x**3,
    raw[:, 2, 1] - 2 * y * raw[:, 1, 1] - x * raw[:, 2, 0] + 2 * y**2 * x,
    raw[:, 1, 2] - 2 * x * raw[:, 1, 1] - y * raw[:, 0, 2] + 2 * x**2 * y,
  ]
  return np.stack([y, x, y * h % 1, x * w % 1, *central], axis=1)
