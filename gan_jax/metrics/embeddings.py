"""Embeds examples as standardised vectors: points as they are, images by principal components."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gan_jax.metrics.content_order import shuffle_by_content

FeatureFn = Callable[[np.ndarray], np.ndarray]  # uint8 images [n, h, w, c] to float32 [n, d]
_MAX_POOLED_VALUES = 1024  # of one image after pooling
_N_COMPONENTS = 48
_N_FITTED = 10_000  # images that the components are fitted to


class Embedding(NamedTuple):
  """Holds functions from examples [n, ...] to float32 rows [n, d], in which data have a variance near 1."""

  full: Callable[[np.ndarray], np.ndarray]  # input of probes: pixels, and features where given
  raw: Callable[[np.ndarray], np.ndarray]  # for distances to training data: coordinates or pixels
  name: str


def point_embedding(real: np.ndarray) -> Embedding:
  """Returns the embedding of points: (x - mean of `real`) / std, one std for all coordinates."""
  rows = real.reshape(len(real), -1).astype(np.float64)
  mean, std = rows.mean(axis=0), max(float(rows.std(axis=0).mean()), 1e-12)
  embed = lambda x: ((x.reshape(len(x), -1) - mean[None]) / std).astype(np.float32)
  return Embedding(embed, embed, 'points')


def image_embedding(real: np.ndarray, features: FeatureFn | None, name: str) -> Embedding:
  """Returns the embedding by principal components of pixels, and of `features` if given, called `name`.

  The components are fitted to 10,000 of `real`, uint8 images [n, h, w, c], whatever their order.
  """
  fitted = shuffle_by_content(real, _N_FITTED)
  project_pixels = _fit_principal_components(average_pool(fitted))
  raw = lambda images: project_pixels(average_pool(images))
  if features is None:
    return Embedding(raw, raw, 'principal components of pixels')
  project_features = _fit_principal_components(features(fitted))
  full = lambda images: np.concatenate([raw(images), project_features(features(images))], axis=1)
  return Embedding(full, raw, f'principal components of pixels and of {name}')


def average_pool(images: np.ndarray) -> np.ndarray:
  """Returns uint8 images [n, h, w, c] as rows [n, d] in [0, 1], pooled over squares until d <= 1024."""
  n, h, w, c = images.shape
  side = 1
  while (h // side) * (w // side) * c > _MAX_POOLED_VALUES:
    side += 1
  rows, columns = h // side, w // side
  squares = images[:, : rows * side, : columns * side].reshape(n, rows, side, columns, side, c)
  return (squares.mean(axis=(2, 4), dtype=np.float32) / 255).reshape(n, -1)


def _fit_principal_components(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a projection on the first 48 principal components of rows [n, d] and the log residual.

  A component is divided by the geometric mean of its std and the largest std: small components are mostly
  noise. The standardised log of the squared residual tells a blurred or a noisy image from a sharp one.
  """
  mean = rows.mean(axis=0)
  centred = rows - mean
  variances, components = np.linalg.eigh(np.cov(centred, rowvar=False).astype(np.float64))
  components = components[:, ::-1][:, :_N_COMPONENTS].astype(np.float32)
  scales = np.sqrt(np.maximum(variances[::-1][:_N_COMPONENTS], 1e-12)).astype(np.float32)
  scales = np.sqrt(scales * scales[0])

  def log_residual(x: np.ndarray, projected: np.ndarray) -> np.ndarray:
    squares = np.sum(x**2, axis=1) - np.sum(projected**2, axis=1)
    return np.log(np.maximum(squares, 1e-6))[:, None]

  residuals = log_residual(centred, centred @ components)
  residual_mean, residual_std = residuals.mean(), residuals.std() + 1e-6

  def project(x: np.ndarray) -> np.ndarray:
    x = x - mean
    projected = x @ components
    residual = np.clip((log_residual(x, projected) - residual_mean) / residual_std, -10, 10)
    return np.concatenate([projected / scales, residual], axis=1).astype(np.float32)

  return project
