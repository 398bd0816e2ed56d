"""The augmentation pipeline of Karras et al. (2020), of one image [h, w, c] in [-1, 1]."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Scalar = float | jax.Array


class Pose(NamedTuple):
  """How an image is moved, each move as scalars; as it stands, not at all. Pairs are (rows, columns)."""

  drift: tuple[Scalar, Scalar] = (0.0, 0.0)  # pixels
  post_angle: Scalar = 0.0
  stretch: Scalar = 1.0  # columns by this, rows by its inverse
  pre_angle: Scalar = 0.0
  scale: Scalar = 1.0
  shift: tuple[Scalar, Scalar] = (0.0, 0.0)  # whole pixels
  turns: Scalar = 0  # quarter turns
  flip: Scalar = False


def coordinates(pose: Pose, h: int, w: int) -> tuple[jax.Array, jax.Array]:
  """Where each pixel of the moved image comes from: rows [h, w] and columns [h, w], in pixels.

  The pipeline of Karras et al. (2020), appendix B, from its last move back to its first. Flips, quarter
  turns and shifts of a square image are exact, since they lead from pixel to pixel.
  """
  y = jnp.broadcast_to(jnp.arange(h)[:, None] - (h - 1) / 2, (h, w)) + pose.drift[0]
  x = jnp.broadcast_to(jnp.arange(w)[None, :] - (w - 1) / 2, (h, w)) + pose.drift[1]
  y, x = _rotate(pose.post_angle, y, x)
  y, x = y / pose.stretch, x * pose.stretch
  y, x = _rotate(pose.pre_angle, y, x)
  y, x = y * pose.scale + pose.shift[0], x * pose.scale + pose.shift[1]
  odd, half = jnp.mod(pose.turns, 2) == 1, jnp.mod(pose.turns, 4) >= 2
  y, x = jnp.where(odd, x, y), jnp.where(odd, -y, x)
  y, x = jnp.where(half, -y, y), jnp.where(half, -x, x)
  return y + (h - 1) / 2, jnp.where(pose.flip, -x, x) + (w - 1) / 2


def _rotate(angle: Scalar, y: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return cos * y + sin * x, cos * x - sin * y


def warp(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """The image [h, w, c] at real-valued places [h, w], bilinear; beyond its border it is mirrored.

  A CPU gathers; an accelerator multiplies, since there the gradient of a gather adds in any order.
  """
  h, w, _ = image.shape
  rows, columns = _mirror(rows, h), _mirror(columns, w)
  return lax.platform_dependent(image, rows, columns, cpu=warp_by_gathers, default=warp_by_products)


def _mirror(places: jax.Array, size: int) -> jax.Array:
  """Places reflected at the centres of the outermost pixels, into [0, size - 1]."""
  last = size - 1
  return jnp.maximum(last - jnp.abs(jnp.mod(places, max(2 * last, 1)) - last), 0)


def warp_by_gathers(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """The mean of four neighbours, weighted by closeness; places [h, w] lie within the image [h, w, c]."""
  h, w, c = image.shape
  top, left = jnp.floor(rows), jnp.floor(columns)
  down, right = (rows - top)[..., None], (columns - left)[..., None]
  first, second = top.astype(jnp.int32), left.astype(jnp.int32)
  pixels = image.reshape(h * w, c)

  def at(row: jax.Array, column: jax.Array) -> jax.Array:
    place = jnp.minimum(row, h - 1) * w + jnp.minimum(column, w - 1)
    return pixels.at[place].get(mode='promise_in_bounds')

  upper = (1 - right) * at(first, second) + right * at(first, second + 1)
  lower = (1 - right) * at(first + 1, second) + right * at(first + 1, second + 1)
  return (1 - down) * upper + down * lower


def warp_by_products(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """The same as two matrix products, one for each direction: many operations, all of them dense."""
  h, w, _ = image.shape
  from_rows = jnp.maximum(0, 1 - jnp.abs(rows[..., None] - jnp.arange(h)[None, None]))
  from_columns = jnp.maximum(0, 1 - jnp.abs(columns[..., None] - jnp.arange(w)[None, None]))
  across = jnp.einsum('yxj,ijc->yxic', from_columns, image, precision='highest')
  return jnp.einsum('yxi,yxic->yxc', from_rows, across, precision='highest')


def recolor(
  image: jax.Array, light: Scalar, gain: Scalar, invert: Scalar, hue: Scalar, vividness: Scalar
) -> jax.Array:
  """Brightness, contrast, luma flip, hue (an angle) and saturation of Karras et al. (2020), in this order.

  Grey is scaled apart from the colour around it. A turn of the hue is about the grey axis, so the whole
  is a circulant matrix: each channel a weighted sum of the rolled channels. The hue of other than three
  channels stays; one channel has no colour, and its luma flip is the negative.
  """
  c = image.shape[-1]
  grey_gain = gain * jnp.where(invert, -1.0, 1.0)
  changed = grey_gain * light
  for i in range(c):
    apart = 2 / 3 * jnp.cos(hue - 2 * jnp.pi * i / 3) if c == 3 else float(i == 0) - 1 / c
    changed = changed + (grey_gain / c + gain * vividness * apart) * jnp.roll(image, i, axis=-1)
  return changed


def ada_pipeline(key: jax.Array, image: jax.Array, p: Scalar) -> jax.Array:
  """Flips, turns, warps and colours of Karras et al. (2020), each by itself with probability p.

  Left out are its image-space filters, noise and cutout, which it found of little use, and the wavelet
  filters around the warp, which would cost more than all the rest: bilinear weights blur a little instead.
  """
  uniform_key, normal_key = jax.random.split(key)
  coins, ways = jnp.split(jax.random.uniform(uniform_key, (21,)), [13])
  normal = jax.random.normal(normal_key, (7,))
  image = _move(image, p, coins[:8], 2 * ways[:6] - 1, normal[:4])
  return _color(image, coins[8:] < p, 2 * ways[6:] - 1, normal[4:])


def _move(
  image: jax.Array, p: Scalar, coins: jax.Array, ways: jax.Array, normal: jax.Array
) -> jax.Array:
  """One warp for `coins` of U(0, 1) [8], `ways` of U(-1, 1) [6] and `normal` [4]."""
  h, w, _ = image.shape
  # Two rotations: at least one of them with probability p.
  chosen = coins < jnp.stack([p] * 6 + [1 - jnp.sqrt(1 - p)] * 2)
  flip, turn, shift, scale, stretch, drift, pre, post = chosen
  a, b, c, d, e, f = ways
  pose = Pose(
    drift=(jnp.where(drift, normal[0] * h / 8, 0.0), jnp.where(drift, normal[1] * w / 8, 0.0)),
    post_angle=jnp.where(post, a * jnp.pi, 0.0),
    stretch=jnp.where(stretch, jnp.exp2(0.2 * normal[2]), 1.0),
    pre_angle=jnp.where(pre, b * jnp.pi, 0.0),
    scale=jnp.where(scale, jnp.exp2(0.2 * normal[3]), 1.0),
    shift=(
      jnp.where(shift, jnp.round(c * h / 8), 0.0),
      jnp.where(shift, jnp.round(d * w / 8), 0.0),
    ),
    turns=jnp.where(turn, jnp.floor(2 * e + 2), 0.0),
    flip=flip & (f < 0),
  )
  return jnp.where(chosen.any(), warp(image, *coordinates(pose, h, w)), image)


def _color(image: jax.Array, chosen: jax.Array, ways: jax.Array, normal: jax.Array) -> jax.Array:
  """One change of colour for `chosen` bool [5], `ways` of U(-1, 1) [2] and `normal` [3]."""
  light, gain, invert, hue, vividness = chosen
  a, b = ways
  changed = recolor(
    image,
    light=jnp.where(light, 0.2 * normal[0], 0.0),
    gain=jnp.where(gain, jnp.exp2(0.5 * normal[1]), 1.0),
    invert=invert & (a < 0),
    hue=jnp.where(hue, b * jnp.pi, 0.0),
    vividness=jnp.where(vividness, jnp.exp2(normal[2]), 1.0),
  )
  return jnp.where(chosen.any(), changed, image)
