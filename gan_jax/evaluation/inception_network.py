"""Defines the Inception-v3 (Szegedy et al., 2016) of Frechet Inception distances (Heusel et al., 2017).

The network is TensorFlow's graph of December 2015 as in the public PyTorch checkpoint: average pools
exclude padding, the last block pools by maxima, and there are 1008 classes. Modules and layers have the
checkpoint's names.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

N_FEATURES = 2048  # of the last average pool, `pool3` in TensorFlow
N_CLASSES = 1008  # 1000 of ImageNet and some that were never used
SIDE = 299  # pixels a side of the training images
_MIN_SIDE = 75  # pixels a side, below which the last grid is empty
ConvSize = tuple[int, int, int]  # features, and height and width of the kernel
_1X7, _7X1 = (1, 7), (7, 1)


def resize_images(images: jax.Array) -> jax.Array:
  """Resizes images uint8 [n, h, w, 1 or 3] to float32 [n, 299, 299, 3], about [0, 255].

  By the antialiased bicubic filter, without rounding (Parmar et al., 2022); a single channel is repeated.
  """
  n, _, _, c = images.shape
  images = jax.image.resize(images.astype(jnp.float32), (n, SIDE, SIDE, c), 'cubic', antialias=True)
  return jnp.broadcast_to(images, (n, SIDE, SIDE, 3))


def scale_pixels(images: jax.Array) -> jax.Array:
  """Scales pixels from [0, 255] to [-1, 1), dividing by 128 as TensorFlow's graph does."""
  return (images - 128) / 128


class ConvBatchNormRelu(nn.Module):
  """Applies a convolution, batch norm with running statistics, and ReLU."""

  features: int
  size: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: str = 'SAME'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h', w', features]."""
    # In the highest precision, so that features are equal on every device.
    shape = (self.features, self.size, self.stride, self.padding)
    x = nn.Conv(*shape, use_bias=False, precision='highest', name='conv')(x)
    return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name='bn')(x))


def _chain(x: jax.Array, name: str, *sizes: ConvSize) -> jax.Array:
  """Applies convolutions of these sizes in sequence, named name_1, name_2 and so on."""
  for i, (features, h, w) in enumerate(sizes, start=1):
    x = ConvBatchNormRelu(features, (h, w), name=f'{name}_{i}')(x)
  return x


def _mean_pool(x: jax.Array) -> jax.Array:
  """Average-pools 3 x 3 windows at stride 1, excluding padding."""
  return nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False)


def _halving_pool(x: jax.Array) -> jax.Array:
  """Max-pools 3 x 3 windows at stride 2."""
  return nn.max_pool(x, (3, 3), (2, 2))


class InceptionA(nn.Module):
  """Concatenates 1x1, 5x5, double 3x3 and pooled branches: figure 5 of Szegedy et al. (2016)."""

  pooled: int  # features of the pooled branch

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h, w, 224 + pooled]."""
    branch_1x1 = ConvBatchNormRelu(64, name='branch1x1')(x)
    branch_5x5 = _chain(x, 'branch5x5', (48, 1, 1), (64, 5, 5))
    branch_3x3 = _chain(x, 'branch3x3dbl', (64, 1, 1), (96, 3, 3), (96, 3, 3))
    branch_pool = ConvBatchNormRelu(self.pooled, name='branch_pool')(_mean_pool(x))
    return jnp.concatenate([branch_1x1, branch_5x5, branch_3x3, branch_pool], axis=-1)


class InceptionB(nn.Module):
  """Halves the grid by 3x3, double 3x3 and pooled branches: figure 10."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h', w', 480 + c]."""
    branch_3x3 = ConvBatchNormRelu(384, (3, 3), 2, 'VALID', name='branch3x3')(x)
    branch_double = _chain(x, 'branch3x3dbl', (64, 1, 1), (96, 3, 3))
    branch_double = ConvBatchNormRelu(96, (3, 3), 2, 'VALID', name='branch3x3dbl_3')(branch_double)
    return jnp.concatenate([branch_3x3, branch_double, _halving_pool(x)], axis=-1)


class InceptionC(nn.Module):
  """Concatenates factorized 7x7 branches (1x7 and 7x1), a 1x1 and a pooled one: figure 6."""

  inner: int  # features between the factors

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h, w, 768]."""
    c = self.inner
    branch_1x1 = ConvBatchNormRelu(192, name='branch1x1')(x)
    branch_7x7 = _chain(x, 'branch7x7', (c, 1, 1), (c, *_1X7), (192, *_7X1))
    factors = ((c, *_7X1), (c, *_1X7), (c, *_7X1), (192, *_1X7))
    branch_double = _chain(x, 'branch7x7dbl', (c, 1, 1), *factors)
    branch_pool = ConvBatchNormRelu(192, name='branch_pool')(_mean_pool(x))
    return jnp.concatenate([branch_1x1, branch_7x7, branch_double, branch_pool], axis=-1)


class InceptionD(nn.Module):
  """Halves the grid by 3x3, factorized 7x7 and pooled branches."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h', w', 512 + c]."""
    branch_3x3 = _chain(x, 'branch3x3', (192, 1, 1))
    branch_3x3 = ConvBatchNormRelu(320, (3, 3), 2, 'VALID', name='branch3x3_2')(branch_3x3)
    branch_7x7 = _chain(x, 'branch7x7x3', (192, 1, 1), (192, *_1X7), (192, *_7X1))
    branch_7x7 = ConvBatchNormRelu(192, (3, 3), 2, 'VALID', name='branch7x7x3_4')(branch_7x7)
    return jnp.concatenate([branch_3x3, branch_7x7, _halving_pool(x)], axis=-1)


class InceptionE(nn.Module):
  """Concatenates branches that end in parallel 1x3 and 3x1 convolutions: figure 7."""

  max_pool: bool  # else average; True in the last block alone

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [n, h, w, c] to [n, h, w, 2048]."""
    branch_1x1 = ConvBatchNormRelu(320, name='branch1x1')(x)
    branch_3x3 = _chain(x, 'branch3x3', (384, 1, 1))
    branch_double = _chain(x, 'branch3x3dbl', (448, 1, 1), (384, 3, 3))
    parts = [
      ConvBatchNormRelu(384, size, name=f'{name}{side}')(branch)
      for name, branch in (('branch3x3_2', branch_3x3), ('branch3x3dbl_3', branch_double))
      for side, size in (('a', (1, 3)), ('b', (3, 1)))
    ]
    pool = nn.max_pool(x, (3, 3), padding='SAME') if self.max_pool else _mean_pool(x)
    pool = ConvBatchNormRelu(192, name='branch_pool')(pool)
    return jnp.concatenate([branch_1x1, *parts, pool], axis=-1)


class InceptionV3(nn.Module):
  """Computes features and logits with fixed batch statistics."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps images [n, h, w, 3] in [-1, 1) to features [n, 2048] and logits [n, 1008].

    The weights were trained at h = w = 299. Raises ValueError below 75.
    """
    if min(x.shape[1:3]) < _MIN_SIDE:
      raise ValueError(f'images {x.shape}: Inception-v3 needs at least {_MIN_SIDE} pixels a side')
    x = ConvBatchNormRelu(32, (3, 3), 2, 'VALID', name='Conv2d_1a_3x3')(x)
    x = ConvBatchNormRelu(32, (3, 3), 1, 'VALID', name='Conv2d_2a_3x3')(x)
    x = ConvBatchNormRelu(64, (3, 3), name='Conv2d_2b_3x3')(x)
    x = ConvBatchNormRelu(80, name='Conv2d_3b_1x1')(_halving_pool(x))
    x = _halving_pool(ConvBatchNormRelu(192, (3, 3), 1, 'VALID', name='Conv2d_4a_3x3')(x))
    for name, width in (('5b', 32), ('5c', 64), ('5d', 64)):
      x = InceptionA(width, name=f'Mixed_{name}')(x)
    x = InceptionB(name='Mixed_6a')(x)
    for name, width in (('6b', 128), ('6c', 160), ('6d', 160), ('6e', 192)):
      x = InceptionC(width, name=f'Mixed_{name}')(x)
    x = InceptionD(name='Mixed_7a')(x)
    x = InceptionE(max_pool=False, name='Mixed_7b')(x)
    x = InceptionE(max_pool=True, name='Mixed_7c')(x)
    pooled = x.mean(axis=(1, 2))
    return pooled, nn.Dense(N_CLASSES, precision='highest', name='fc')(pooled)
