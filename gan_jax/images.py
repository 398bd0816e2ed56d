"""Images as arrays: ranges, grids."""

import math

import jax.numpy as jnp
import numpy as np


def to_unit(images: jnp.ndarray) -> jnp.ndarray:
  """uint8 to float32 in [-1, 1], the range that networks see."""
  return images.astype(jnp.float32) / 127.5 - 1


def to_uint8(images: jnp.ndarray) -> jnp.ndarray:
  """[-1, 1] to uint8, rounded; values outside are clipped."""
  return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
  """Images [n, h, w, c] side by side, row by row, on mid-grey: uint8 [rows, cols, c]."""
  n, h, w, c = images.shape
  columns = columns or math.ceil(n**0.5)
  rows = math.ceil(n / columns)
  canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 96, np.uint8)
  for i, image in enumerate(images):
    y, x = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
    canvas[y : y + h, x : x + w] = image
  return canvas
