"""Images as arrays: ranges, contrast, stacks, grids."""

import math

import jax.numpy as jnp
import numpy as np


def uint8_to_float(images: jnp.ndarray) -> jnp.ndarray:
  """uint8 to float32 in [-1, 1], the range that networks see."""
  return images.astype(jnp.float32) / 127.5 - 1


def float_to_uint8(images: jnp.ndarray) -> jnp.ndarray:
  """[-1, 1] to uint8, rounded; values outside are clipped."""
  return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def global_contrast_normalize(images: jnp.ndarray, scale: float = 55.0) -> jnp.ndarray:
  """Images [n, h, w, c] less their own mean, at Euclidean norm `scale`; a flat image becomes zeros.

  The preprocessing of CIFAR-10 in Goodfellow et al. (2014): 55 lets 32 x 32 x 3 pixels spread by 1.
  """
  images = images.astype(jnp.float32)
  centred = images - images.mean(axis=(1, 2, 3), keepdims=True)
  norms = jnp.sqrt(jnp.sum(centred**2, axis=(1, 2, 3), keepdims=True)) / scale
  return centred / jnp.where(norms < 1e-8, 1, norms)


def stack_channels(images: jnp.ndarray, indices: jnp.ndarray) -> jnp.ndarray:
  """Images [m, h, w, s c] whose channels are those of s images each: `images[indices]`, side by side.

  images: [n, h, w, c]; indices: [s, m], one row for each place in the stack. Stacked MNIST (Metz et
  al., 2017) takes s = 3 digits for red, green and blue.
  """
  return jnp.concatenate([images[row] for row in indices], axis=-1)


def stack_labels(labels: jnp.ndarray, indices: jnp.ndarray, n_classes: int) -> jnp.ndarray:
  """Labels [m] of what `stack` makes of `indices` [s, m]: digits a, b, c of 10 are 100 a + 10 b + c."""
  total = jnp.zeros_like(labels, shape=indices.shape[1:])
  for row in indices:
    total = total * n_classes + labels[row]
  return total


def image_grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
  """Images [n, h, w, c] side by side, row by row, on mid-grey: uint8 [rows, cols, c]."""
  n, h, w, c = images.shape
  columns = columns or math.ceil(n**0.5)
  rows = math.ceil(n / columns)
  canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 96, np.uint8)
  for i, image in enumerate(images):
    y, x = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
    canvas[y : y + h, x : x + w] = image
  return canvas
