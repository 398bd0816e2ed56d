"""Applies the augmentation pipeline of ADA, Karras et al. (2020), to one image [h, w, c] in [-1, 1]."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

Scalar = float | Array


class GeometricTransform(NamedTuple):
  """Holds the parameters of a geometric transform, by default the identity; pairs are (rows, columns)."""

  translation: tuple[Scalar, Scalar] = (0.0, 0.0)  # pixels
  post_angle: Scalar = 0.0  # radians, after the stretch
  stretch: Scalar = 1.0  # of columns; rows are stretched by its inverse
  pre_angle: Scalar = 0.0  # radians, before the stretch
  scale: Scalar = 1.0
  shift: tuple[Scalar, Scalar] = (0.0, 0.0)  # whole pixels
  quarter_turns: Scalar = 0
  flip: Scalar = False


def source_coordinates(transform: GeometricTransform, h: int, w: int) -> tuple[Array, Array]:
  """Returns the source row [h, w] and column [h, w], in pixels, of each pixel of the transformed image.

  Inverts the pipeline of Karras et al. (2020), appendix B, from its last transform to its first. Flips,
  quarter turns and integer shifts of a square image map pixels to pixels, and are exact.
  """
  y = jnp.broadcast_to(jnp.arange(h)[:, None] - (h - 1) / 2, (h, w)) + transform.translation[0]
  x = jnp.broadcast_to(jnp.arange(w)[None, :] - (w - 1) / 2, (h, w)) + transform.translation[1]
  y, x = _rotate(transform.post_angle, y, x)
  y, x = y / transform.stretch, x * transform.stretch
  y, x = _rotate(transform.pre_angle, y, x)
  y, x = y * transform.scale + transform.shift[0], x * transform.scale + transform.shift[1]
  odd, half = jnp.mod(transform.quarter_turns, 2) == 1, jnp.mod(transform.quarter_turns, 4) >= 2
  y, x = jnp.where(odd, x, y), jnp.where(odd, -y, x)
  y, x = jnp.where(half, -y, y), jnp.where(half, -x, x)
  return y + (h - 1) / 2, jnp.where(transform.flip, -x, x) + (w - 1) / 2


def _rotate(angle: Scalar, y: Array, x: Array) -> tuple[Array, Array]:
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return cos * y + sin * x, cos * x - sin * y


def warp(image: Array, rows: Array, columns: Array) -> Array:
  """Samples the image [h, w, c] bilinearly at real-valued rows and columns [h, w], mirrored at its border.

  Gathers pixels on a CPU; multiplies matrices on accelerators, where the gradient of a gather sums in an
  order that varies from run to run.
  """
  h, w, _ = image.shape
  rows, columns = _mirror(rows, h), _mirror(columns, w)
  return lax.platform_dependent(image, rows, columns, cpu=warp_by_gather, default=warp_by_matmul)


def _mirror(positions: Array, size: int) -> Array:
  """Reflects positions at the centres of the outermost pixels, into [0, size - 1]."""
  last = size - 1
  return jnp.maximum(last - jnp.abs(jnp.mod(positions, max(2 * last, 1)) - last), 0)


def warp_by_gather(image: Array, rows: Array, columns: Array) -> Array:
  """Interpolates the four nearest pixels; rows and columns [h, w] must lie within the image [h, w, c]."""
  h, w, c = image.shape
  top, left = jnp.floor(rows), jnp.floor(columns)
  down, right = (rows - top)[..., None], (columns - left)[..., None]
  i, j = top.astype(jnp.int32), left.astype(jnp.int32)
  pixels = image.reshape(h * w, c)

  def pixel(row: Array, column: Array) -> Array:
    index = jnp.minimum(row, h - 1) * w + jnp.minimum(column, w - 1)
    return pixels.at[index].get(mode='promise_in_bounds')

  upper = (1 - right) * pixel(i, j) + right * pixel(i, j + 1)
  lower = (1 - right) * pixel(i + 1, j) + right * pixel(i + 1, j + 1)
  return (1 - down) * upper + down * lower


def warp_by_matmul(image: Array, rows: Array, columns: Array) -> Array:
  """Interpolates as `warp_by_gather`, by one dense matrix product per axis."""
  h, w, _ = image.shape
  row_weights = jnp.maximum(0, 1 - jnp.abs(rows[..., None] - jnp.arange(h)[None, None]))
  column_weights = jnp.maximum(0, 1 - jnp.abs(columns[..., None] - jnp.arange(w)[None, None]))
  across = jnp.einsum('yxj,ijc->yxic', column_weights, image, precision='highest')
  return jnp.einsum('yxi,yxic->yxc', row_weights, across, precision='highest')


def recolor(
  image: Array,
  brightness: Scalar,
  contrast: Scalar,
  luma_flip: Scalar,
  hue: Scalar,
  saturation: Scalar,
) -> Array:
  """Applies the color transforms of Karras et al. (2020) in the order of the arguments.

  Adds the brightness, multiplies by the contrast, negates the mean of each pixel's channels where
  `luma_flip`, rotates by the hue [radians] about the grey axis (where c is 3), and multiplies differences
  from the grey by the saturation: a circulant matrix of the channels, as a weighted sum of rolled channels.
  """
  c = image.shape[-1]
  grey_factor = contrast * jnp.where(luma_flip, -1.0, 1.0)
  changed = grey_factor * brightness
  for i in range(c):
    color = 2 / 3 * jnp.cos(hue - 2 * jnp.pi * i / 3) if c == 3 else float(i == 0) - 1 / c
    weight = grey_factor / c + contrast * saturation * color
    changed = changed + weight * jnp.roll(image, i, axis=-1)
  return changed


def ada_pipeline(key: Array, image: Array, p: Scalar) -> Array:
  """Applies the geometric and color transforms of Karras et al. (2020), each with probability p.

  Omits the paper's image-space filters, noise and cutout, which it found of little use, and replaces the
  costly wavelet filters around the warp by bilinear interpolation.
  """
  uniform_key, normal_key = jax.random.split(key)
  coins, uniform = jnp.split(jax.random.uniform(uniform_key, (21,)), [13])
  normal = jax.random.normal(normal_key, (7,))
  image = _random_warp(image, p, coins[:8], 2 * uniform[:6] - 1, normal[:4])
  return _random_recolor(image, coins[8:] < p, 2 * uniform[6:] - 1, normal[4:])


def _random_warp(image: Array, p: Scalar, coins: Array, uniform: Array, normal: Array) -> Array:
  """Warps the image, given `coins` of U(0, 1) [8], `uniform` of U(-1, 1) [6] and `normal` [4]."""
  h, w, _ = image.shape
  # The last two are the rotations: at least one is applied with probability p.
  applied = coins < jnp.stack([p] * 6 + [1 - jnp.sqrt(1 - p)] * 2)
  flip, turn, shift, scale, stretch, translate, pre, post = applied
  a, b, c, d, e, f = uniform
  transform = GeometricTransform(
    translation=(
      jnp.where(translate, normal[0] * h / 8, 0.0),
      jnp.where(translate, normal[1] * w / 8, 0.0),
    ),
    post_angle=jnp.where(post, a * jnp.pi, 0.0),
    stretch=jnp.where(stretch, jnp.exp2(0.2 * normal[2]), 1.0),
    pre_angle=jnp.where(pre, b * jnp.pi, 0.0),
    scale=jnp.where(scale, jnp.exp2(0.2 * normal[3]), 1.0),
    shift=(
      jnp.where(shift, jnp.round(c * h / 8), 0.0),
      jnp.where(shift, jnp.round(d * w / 8), 0.0),
    ),
    quarter_turns=jnp.where(turn, jnp.floor(2 * e + 2), 0.0),
    flip=flip & (f < 0),
  )
  return jnp.where(applied.any(), warp(image, *source_coordinates(transform, h, w)), image)


def _random_recolor(image: Array, applied: Array, uniform: Array, normal: Array) -> Array:
  """Changes the colors, given `applied` bool [5], `uniform` of U(-1, 1) [2] and `normal` [3]."""
  brightness, contrast, luma_flip, hue, saturation = applied
  a, b = uniform
  changed = recolor(
    image,
    brightness=jnp.where(brightness, 0.2 * normal[0], 0.0),
    contrast=jnp.where(contrast, jnp.exp2(0.5 * normal[1]), 1.0),
    luma_flip=luma_flip & (a < 0),
    hue=jnp.where(hue, b * jnp.pi, 0.0),
    saturation=jnp.where(saturation, jnp.exp2(normal[2]), 1.0),
  )
  return jnp.where(applied.any(), changed, image)
