"""The space in which examples are compared: points as they are, images by their main directions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Features = Callable[[np.ndarray], np.ndarray]  # uint8 images [n, h, w, c] to float32 [n, d]
_MOST_PIXELS = 1024  # of a flattened image, after averaging
_DIRECTIONS = 48
_FITTED = 10_000  # images that directions are found from


class Embedding(NamedTuple):
  """Examples [n, ...] to float32 rows [n, d], in which the data have a variance of about 1."""

  whole: Callable[[np.ndarray], np.ndarray]  # everything that a probe should be able to see
  plain: Callable[[np.ndarray], np.ndarray]  # without features, in which copies lie near: pixels
  name: str


def of_points(real: np.ndarray) -> Embedding:
  """Points [n, ...] less their mean, over one standard deviation for all coordinates."""
  rows = real.reshape(len(real), -1).astype(np.float64)
  mean, std = rows.mean(axis=0), max(float(rows.std(axis=0).mean()), 1e-12)

  def embed(points: np.ndarray) -> np.ndarray:
    return ((points.reshape(len(points), -1) - mean[None]) / std).astype(np.float32)

  return Embedding(embed, embed, 'points')


def of_images(real: np.ndarray, features: Features | None, name: str) -> Embedding:
  """Images uint8 [n, h, w, c]: their main directions in pixels, what is left over, and of `features`."""
  pixels = _principal(pooled(real[:_FITTED]))
  plain = lambda images: pixels(pooled(images))
  if features is None:
    return Embedding(plain, plain, 'main directions of pixels')
  seen = _principal(features(real[:_FITTED]))

  def whole(images: np.ndarray) -> np.ndarray:
    return np.concatenate([plain(images), seen(features(images))], axis=1)

  return Embedding(whole, plain, f'main directions of pixels and of {name}')


def pooled(images: np.ndarray) -> np.ndarray:
  """Uint8 images [n, h, w, c] as rows in [0, 1], averaged over squares where they are large: [n, d]."""
  n, h, w, c = images.shape
  side = 1
  while (h // side) * (w // side) * c > _MOST_PIXELS:
    side += 1
  rows, columns = h // side, w // side
  cut = images[:, : rows * side, : columns * side]
  squares = cut.reshape(n, rows, side, columns, side, c)
  return (squares.mean(axis=(2, 4), dtype=np.float32) / 255).reshape(n, -1)


def _principal(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """Projection on the main directions of rows [n, d], and the log of what they leave out.

  All directions keep their relative width, over the largest: small ones are mostly noise. What is left
  out tells a blurred or a noisy image from a sharp one.
  """
  mean = rows.mean(axis=0)
  variances, directions = np.linalg.eigh(np.cov(rows - mean, rowvar=False).astype(np.float64))
  directions = directions[:, ::-1][:, :_DIRECTIONS].astype(np.float32)
  # Between true widths and equal ones: otherwise a few directions decide every distance.
  widths = np.sqrt(np.maximum(variances[::-1][:_DIRECTIONS], 1e-12)).astype(np.float32)
  widths = np.sqrt(widths * widths[0])

  def left(x: np.ndarray, projected: np.ndarray) -> np.ndarray:
    squares = np.sum(x**2, axis=1) - np.sum(projected**2, axis=1)
    return np.log(np.maximum(squares, 1e-6))[:, None]

  own = rows - mean
  rest = left(own, own @ directions)
  origin, scale = rest.mean(), rest.std() + 1e-6

  def project(x: np.ndarray) -> np.ndarray:
    x = x - mean
    projected = x @ directions
    rest = np.clip((left(x, projected) - origin) / scale, -10, 10)
    return np.concatenate([projected / widths, rest], axis=1).astype(np.float32)

  return project
