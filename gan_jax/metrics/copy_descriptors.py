"""Describes images by low frequencies, so that a copy is found after a shift, a crop or a change of light."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

N_FEATURES = 63  # of a descriptor
_N_FREQUENCIES = 8  # of each axis, in half cycles per side: 0 to 7
_COARSE_STEP = 0.055  # of a side, between the shifts of `describe_variants`
_COARSE_MARGINS = (0.125, 0.06, -0.06)
_FINE_SHIFTS = np.arange(-4, 5) * 0.0275  # of a side, of `aligned_distances`
_FINE_MARGINS = (0.16, 0.125, 0.09, 0.06, 0.03, 0.0, -0.03, -0.06)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of red, green and blue (ITU-R BT.601)
_CHUNK_BYTES = 2**24  # of examples at a time, before they become float32
_MAX_SIDE = 64  # pixels to which queries are averaged: no descriptor holds finer detail
_BATCH = 16  # queries aligned at a time

Window = tuple[float, float]  # start and end on an axis of the image, which spans 0 to 1


def describe_images(
  images: np.ndarray, rows: Window = (0.0, 1.0), columns: Window = (0.0, 1.0)
) -> np.ndarray:
  """Returns descriptors float32 [n, 63] of a window of images uint8 [n, h, w, c]: unit vectors, 0 if constant.

  A descriptor holds the cosine transform of the grey image at its lowest frequencies but for the mean, so
  neither brightness nor contrast changes it. Outside the image, its edge is repeated.
  """
  _, h, w, _ = images.shape
  down, across = _cosine_matrix(h, rows), _cosine_matrix(w, columns)
  parts = [np.empty((0, N_FEATURES), np.float32)]
  for part in split_by_bytes(images):
    spectrum = (down @ to_grey(part) @ across.T).reshape(len(part), -1)[:, 1:]
    norm = np.linalg.norm(spectrum, axis=1, keepdims=True)
    parts.append(np.where(norm > 1e-3, spectrum / np.maximum(norm, 1e-3), 0).astype(np.float32))
  return np.concatenate(parts)


def describe_variants(images: np.ndarray) -> np.ndarray:
  """Returns descriptors of shifted, zoomed and mirrored images uint8 [n, h, w, c]: float32 [v, n, 63]."""
  steps, small = (0.0, -_COARSE_STEP, _COARSE_STEP), shrink(images)
  straight = [(y, x) for y in steps for x in steps if not y or not x]
  diagonal = [(y, x) for y in steps for x in steps if y and x]
  windows = [((-margin, 1 + margin),) * 2 for margin in _COARSE_MARGINS]
  windows += [((y, 1 + y), (x, 1 + x)) for y, x in straight + diagonal]
  plain = np.stack([describe_images(small, *window) for window in windows])
  mirrored = plain[: len(windows) - len(diagonal)] * _mirror_signs()
  return np.concatenate([plain, mirrored])


def aligned_distances(images: np.ndarray, candidates: np.ndarray) -> np.ndarray:
  """Returns the least distance of each image's windows to its candidates, mirrored or not: [n, g].

  `images` are uint8 [n, h, w, c], `candidates` descriptors [n, g, 63]. Windows are shifted by up to 11 % of a
  side and zoomed so as to undo crops of 76 % or more.
  """
  small = shrink(images)
  _, h, w, _ = small.shape
  matrices = [
    [
      np.concatenate([_cosine_matrix(size, (s - m, 1 + m + s)) for s in _FINE_SHIFTS])
      for size in (h, w)
    ]
    for m in _FINE_MARGINS
  ]
  down, across = (jnp.asarray(np.stack(side)) for side in zip(*matrices, strict=True))
  found = []
  for start in range(0, len(small), _BATCH):
    rows = slice(start, start + _BATCH)
    missing = _BATCH - len(small[rows])  # padded, so that one program serves all batches
    grey = np.pad(to_grey(small[rows]), ((0, missing), (0, 0), (0, 0)))
    known = np.pad(candidates[rows], ((0, missing), (0, 0), (0, 0))).astype(np.float32)
    found.append(np.asarray(_align(grey, known, down, across))[: len(small[rows])])
  return np.concatenate(found)


@jax.jit
def _align(grey: jax.Array, candidates: jax.Array, down: jax.Array, across: jax.Array) -> jax.Array:
  n, shifts, size = len(grey), len(_FINE_SHIFTS), _N_FREQUENCIES
  both = jnp.concatenate([candidates, candidates * _mirror_signs()[None, None]], axis=1)
  best = jnp.full((n, both.shape[1]), -jnp.inf)
  for rows, columns in zip(down, across, strict=True):
    spectrum = jnp.einsum('ah,nhw,bw->nab', rows, grey, columns, precision='highest')
    windows = spectrum.reshape(n, shifts, size, shifts, size).transpose(0, 1, 3, 2, 4)
    windows = windows.reshape(n, shifts**2, size**2)[..., 1:]
    norm = jnp.linalg.norm(windows, axis=-1, keepdims=True)
    unit = jnp.where(norm > 1e-3, windows / jnp.maximum(norm, 1e-3), 0)
    cosines = jnp.einsum('nvf,ncf->nvc', unit, both, precision='highest')
    best = jnp.maximum(best, cosines.max(axis=1))
  cosine = jnp.maximum(*jnp.split(best, 2, axis=1))
  return jnp.sqrt(jnp.maximum(2 - 2 * cosine, 0))


def shrink(images: np.ndarray) -> np.ndarray:
  """Averages images uint8 [n, h, w, c] over rectangles until a side has at most 64 pixels: uint8."""
  _, h, w, c = images.shape
  down, across = (-(-size // _MAX_SIDE) for size in (h, w))
  if down == across == 1:
    return images
  rows, columns = h // down, w // across
  parts = [np.empty((0, rows, columns, c), np.uint8)]
  for part in split_by_bytes(images):
    cut = part[:, : rows * down, : columns * across]
    squares = cut.reshape(len(part), rows, down, columns, across, c)
    parts.append(np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8))
  return np.concatenate(parts)


def to_grey(images: np.ndarray) -> np.ndarray:
  """Returns the grey values float32 [n, h, w] of images uint8 [n, h, w, c], in 0 to 255."""
  n_channels = images.shape[-1]
  if n_channels == 1:
    return images[..., 0].astype(np.float32)
  weights = _LUMA if n_channels == 3 else np.full(n_channels, 1 / n_channels, np.float32)
  return images.astype(np.float32) @ weights


def split_by_bytes(examples: np.ndarray, n_bytes: int = _CHUNK_BYTES) -> Iterator[np.ndarray]:
  """Yields `examples` [n, ...] in parts of at most `n_bytes`, one example at least."""
  size = max(n_bytes // max(examples[:1].nbytes, 1), 1)
  yield from (examples[start : start + size] for start in range(0, len(examples), size))


def _mirror_signs() -> np.ndarray:
  """Returns the factors [63] that turn a descriptor into that of the mirrored image: -1 of odd cosines."""
  frequency = np.arange(_N_FREQUENCIES**2)[1:] % _N_FREQUENCIES
  return np.where(frequency % 2, -1, 1).astype(np.float32)


@functools.lru_cache(maxsize=512)
def _cosine_matrix(size: int, window: Window) -> np.ndarray:
  """Returns the cosine transform of a window on an axis of `size` pixels: float32 [frequencies, size]."""
  n = 4 * max(size, 4 * _N_FREQUENCIES)
  phase = (np.arange(n) + 0.5) / n
  pixel = np.floor((window[0] + (window[1] - window[0]) * phase) * size).clip(0, size - 1)
  matrix = np.zeros((_N_FREQUENCIES, size))
  for frequency in range(_N_FREQUENCIES):
    cosine = np.cos(math.pi * frequency * phase) * (math.sqrt(2) if frequency else 1) / n
    np.add.at(matrix[frequency], pixel.astype(int), cosine)
  return matrix.astype(np.float32)
