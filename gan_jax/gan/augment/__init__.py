"""Random changes of the images that D sees, so that it cannot learn a small set by heart.

Each is affine in its image, so losses and penalties differentiate through it as often as they like. Real
images and fakes must pass through the same augmentation; what G is asked for is never augmented.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.gan.augment import ada_transforms, diffaugment
from gan_jax.utils.errors import UserError

Scalar = float | jax.Array
Augmentation = Callable[[jax.Array, jax.Array, Scalar], jax.Array]  # key, image [h, w, c], p


def _together(*parts: Callable[[jax.Array, jax.Array], jax.Array]) -> Augmentation:
  """All parts in turn with probability p, and none of them otherwise."""

  def augmentation(key: jax.Array, image: jax.Array, p: Scalar) -> jax.Array:
    coin_key, *part_keys = jax.random.split(key, 1 + len(parts))
    changed = image
    for part, part_key in zip(parts, part_keys, strict=True):
      changed = part(part_key, changed)
    return jnp.where(jax.random.bernoulli(coin_key, p), changed, image)

  return augmentation


def _none(key: jax.Array, image: jax.Array, p: Scalar) -> jax.Array:
  del key, p
  return image


def _flip(key: jax.Array, image: jax.Array, p: Scalar) -> jax.Array:
  """Left and right exchanged with probability p/2."""
  return jnp.where(jax.random.uniform(key) < p / 2, image[:, ::-1], image)


_COLOR = (diffaugment.brightness, diffaugment.saturation, diffaugment.contrast)
AUGMENTATIONS: dict[str, Augmentation] = {
  'none': _none,
  'color': _together(*_COLOR),
  'translation': _together(diffaugment.translation),
  'cutout': _together(diffaugment.cutout),
  'diffaugment': _together(*_COLOR, diffaugment.translation, diffaugment.cutout),
  'flip': _flip,
  'ada': ada_transforms.ada_pipeline,
}


def check_augmentation(name: str, shape: tuple[int, ...]) -> None:
  """Raises UserError where points of this shape are not images and `name` works on images only."""
  if name != 'none' and len(shape) != 3:
    raise UserError(
      f'--augment={name}: works on images, and the data has points of shape {shape}; '
      'use --augment=none'
    )


def augment_images(name: str, keys: jax.Array, images: jax.Array, p: Scalar = 1.0) -> jax.Array:
  """Each of `images` [n, h, w, c] in [-1, 1] changed as its own key of [n] says; results may leave [-1, 1]."""
  return jax.vmap(AUGMENTATIONS[name], (0, 0, None))(keys, images, p)


def instance_noise(keys: jax.Array, examples: jax.Array, std: Scalar) -> jax.Array:
  """Examples [n, ...] of any shape with Gaussian noise of deviation `std`, Sonderby et al. (2017)."""
  draw = jax.vmap(lambda key: jax.random.normal(key, examples.shape[1:]))
  return examples + std * draw(keys)
