"""Augments the inputs of D at random against overfitting on small data sets, and adds instance noise.

Every augmentation is affine in the image, so losses and penalties can be differentiated through it any number
of times. Real and generated images must pass through the same augmentation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.gan.augment import ada_transforms, diffaugment
from gan_jax.utils.errors import UserError

Scalar = float | Array
Augmentation = Callable[[Array, Array, Scalar], Array]  # key, image [h, w, c], p


def _compose(*transforms: Callable[[Array, Array], Array]) -> Augmentation:
  """Returns an augmentation that applies all `transforms` in turn with probability p, else none."""

  def augmentation(key: Array, image: Array, p: Scalar) -> Array:
    coin_key, *transform_keys = jax.random.split(key, 1 + len(transforms))
    changed = image
    for transform, transform_key in zip(transforms, transform_keys, strict=True):
      changed = transform(transform_key, changed)
    return jnp.where(jax.random.bernoulli(coin_key, p), changed, image)

  return augmentation


def _flip(key: Array, image: Array, p: Scalar) -> Array:
  """Exchanges left and right with probability p/2."""
  return jnp.where(jax.random.uniform(key) < p / 2, image[:, ::-1], image)


_COLOR = (diffaugment.brightness, diffaugment.saturation, diffaugment.contrast)
AUGMENTATIONS: dict[str, Augmentation] = {
  'none': lambda key, image, p: image,
  'color': _compose(*_COLOR),
  'translation': _compose(diffaugment.translation),
  'cutout': _compose(diffaugment.cutout),
  'diffaugment': _compose(*_COLOR, diffaugment.translation, diffaugment.cutout),
  'flip': _flip,
  'ada': ada_transforms.ada_pipeline,
}


def check_augmentation(name: str, shape: tuple[int, ...]) -> None:
  """Raises UserError where examples of `shape` are no images and augmentation `name` needs images."""
  if name != 'none' and len(shape) != 3:
    raise UserError(
      f'--augment={name}: works on images, and the data has points of shape {shape}; '
      'use --augment=none'
    )


def augment_images(name: str, keys: Array, images: Array, p: Scalar = 1.0) -> Array:
  """Augments images [n, h, w, c] in [-1, 1], each by its own of `keys` [n]; results may leave [-1, 1].

  p is the probability of each augmentation.
  """
  return jax.vmap(AUGMENTATIONS[name], (0, 0, None))(keys, images, p)


def instance_noise(keys: Array, examples: Array, std: Scalar) -> Array:
  """Adds Gaussian noise of deviation `std` to examples [n, ...] of any shape, Sonderby et al. (2017)."""
  draw = jax.vmap(lambda key: jax.random.normal(key, examples.shape[1:]))
  return examples + std * draw(keys)
