"""Converts arrays of images: value range, contrast normalization, channel stacking, image grids."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np


def uint8_to_float(images: jnp.ndarray) -> jnp.ndarray:
  """Maps uint8 pixels to float32 in [-1, 1], the range of the networks."""
  return images.astype(jnp.float32) / 127.5 - 1


def float_to_uint8(images: jnp.ndarray) -> jnp.ndarray:
  """Maps pixels in [-1, 1] to uint8 by rounding; values outside the range are clipped."""
  return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def global_contrast_normalize(images: jnp.ndarray, scale: float = 55.0) -> jnp.ndarray:
  """Subtracts from each of n images its mean and rescales it to Euclidean norm `scale`; flat images become 0.

  The preprocessing of CIFAR-10 in Goodfellow et al. (2014): with scale 55 the standard deviation of
  32 x 32 x 3 pixels is 1.
  """
  images = images.astype(jnp.float32)
  centred = images - images.mean(axis=(1, 2, 3), keepdims=True)
  norms = jnp.sqrt(jnp.sum(centred**2, axis=(1, 2, 3), keepdims=True)) / scale
  return centred / jnp.where(norms < 1e-8, 1, norms)


def stack_channels(images: jnp.ndarray, indices: jnp.ndarray) -> jnp.ndarray:
  """Concatenates images [n, h, w, c] at `indices` [s, m] along the channels: [m, h, w, s c].

  Stacked MNIST (Metz et al., 2017) stacks s = 3 digits as red, green and blue.
  """
  return jnp.concatenate([images[row] for row in indices], axis=-1)


def stack_labels(labels: jnp.ndarray, indices: jnp.ndarray, n_classes: int) -> jnp.ndarray:
  """Returns the labels [m] of the images stacked at `indices` [s, m]: with 10 classes, 100 a + 10 b + c."""
  total = jnp.zeros_like(labels, shape=indices.shape[1:])
  for row in indices:
    total = total * n_classes + labels[row]
  return total


def padded_chunks(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
  """Yields images [n, ...] in chunks [size, ...], the last padded by zeros: one program serves all chunks."""
  for i in range(0, max(len(images), 1), size):
    chunk = images[i : i + size]
    yield np.pad(chunk, ((0, size - len(chunk)), *[(0, 0)] * (images.ndim - 1)))


def image_grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
  """Arranges images uint8 [n, h, w, c] row by row, `gap` pixels apart, as one image [height, width, c]."""
  n, h, w, c = images.shape
  columns = columns or math.ceil(n**0.5)
  rows = math.ceil(n / columns)
  canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 96, np.uint8)
  for i, image in enumerate(images):
    y, x = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
    canvas[y : y + h, x : x + w] = image
  return canvas
