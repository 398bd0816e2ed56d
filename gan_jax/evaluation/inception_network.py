"""The Inception-v3 (Szegedy et al., 2016) of Frechet Inception distances (Heusel et al., 2017).

TensorFlow's graph of December 2015, as the public checkpoint for PyTorch holds it: average pools leave
padding out, the last block pools by maxima, and there are 1008 classes. Modules and their order of layers
bear that checkpoint's names, so its tensors find their place by name.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

N_FEATURES = 2048  # of the last average pool, `pool3` in TensorFlow
N_CLASSES = 1008  # 1000 of ImageNet and some that were never used
SIDE = 299  # pixels a side of what it was trained on
_SMALLEST = 75  # pixels a side, below which nothing is left to pool
Layer = tuple[int, int, int]  # features, height and width of the window
_WIDE, _TALL = (1, 7), (7, 1)


def resize_images(images: jax.Array) -> jax.Array:
  """Images uint8 [n, h, w, 1 or 3] as float32 [n, 299, 299, 3] in [0, 255] and a little beyond.

  By the bicubic filter with antialiasing, without rounding, as Parmar et al. (2022) ask for; grey becomes
  equal parts of three colours.
  """
  n, _, _, c = images.shape
  images = jax.image.resize(images.astype(jnp.float32), (n, SIDE, SIDE, c), 'cubic', antialias=True)
  return jnp.broadcast_to(images, (n, SIDE, SIDE, 3))


def scale_pixels(images: jax.Array) -> jax.Array:
  """[0, 255] as the network wants it: [-1, 1), by 128 as in its graph."""
  return (images - 128) / 128


class ConvBatchNormRelu(nn.Module):
  """A convolution, batch norm by what training measured, and ReLU."""

  features: int
  size: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: str = 'SAME'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h', w', features]."""
    strides = (self.stride, self.stride)
    x = nn.Conv(
      *(self.features, self.size, strides, self.padding),
      use_bias=False,
      precision='highest',  # equal features on every device
      name='conv',
    )(x)
    return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name='bn')(x))


def _chain(x: jax.Array, name: str, *layers: Layer) -> jax.Array:
  """Units name_1, name_2 and so on, one after another."""
  for i, (features, h, w) in enumerate(layers, start=1):
    x = ConvBatchNormRelu(features, (h, w), name=f'{name}_{i}')(x)
  return x


def _mean_pool(x: jax.Array) -> jax.Array:
  """Means over 3 x 3 cells, of those that there are at the border."""
  return nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False)


def _halving_pool(x: jax.Array) -> jax.Array:
  return nn.max_pool(x, (3, 3), (2, 2))


class InceptionA(nn.Module):
  """Windows of 1, 5 and 3 + 3 cells beside a pool: figure 5 of Szegedy et al. (2016)."""

  pooled: int  # features after the pool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h, w, 224 + pooled]."""
    small = ConvBatchNormRelu(64, name='branch1x1')(x)
    middle = _chain(x, 'branch5x5', (48, 1, 1), (64, 5, 5))
    double = _chain(x, 'branch3x3dbl', (64, 1, 1), (96, 3, 3), (96, 3, 3))
    pool = ConvBatchNormRelu(self.pooled, name='branch_pool')(_mean_pool(x))
    return jnp.concatenate([small, middle, double, pool], axis=-1)


class InceptionB(nn.Module):
  """Half the grid: figure 10."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h', w', 480 + c]."""
    single = ConvBatchNormRelu(384, (3, 3), 2, 'VALID', name='branch3x3')(x)
    double = _chain(x, 'branch3x3dbl', (64, 1, 1), (96, 3, 3))
    double = ConvBatchNormRelu(96, (3, 3), 2, 'VALID', name='branch3x3dbl_3')(double)
    return jnp.concatenate([single, double, _halving_pool(x)], axis=-1)


class InceptionC(nn.Module):
  """Windows of 7 cells, each way in turn: figure 6."""

  inner: int  # features between the windows

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h, w, 768]."""
    c = self.inner
    small = ConvBatchNormRelu(192, name='branch1x1')(x)
    single = _chain(x, 'branch7x7', (c, 1, 1), (c, *_WIDE), (192, *_TALL))
    double = _chain(
      *(x, 'branch7x7dbl', (c, 1, 1)),
      *((c, *_TALL), (c, *_WIDE), (c, *_TALL), (192, *_WIDE)),
    )
    pool = ConvBatchNormRelu(192, name='branch_pool')(_mean_pool(x))
    return jnp.concatenate([small, single, double, pool], axis=-1)


class InceptionD(nn.Module):
  """Half the grid, with windows of 7 cells on the way."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h', w', 512 + c]."""
    single = _chain(x, 'branch3x3', (192, 1, 1))
    single = ConvBatchNormRelu(320, (3, 3), 2, 'VALID', name='branch3x3_2')(single)
    long = _chain(x, 'branch7x7x3', (192, 1, 1), (192, *_WIDE), (192, *_TALL))
    long = ConvBatchNormRelu(192, (3, 3), 2, 'VALID', name='branch7x7x3_4')(long)
    return jnp.concatenate([single, long, _halving_pool(x)], axis=-1)


class InceptionE(nn.Module):
  """Windows of 3 cells that part into a wide and a tall one: figure 7."""

  by_maxima: bool  # how it pools; of the two such blocks the last one does

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to [n, h, w, 2048]."""
    small = ConvBatchNormRelu(320, name='branch1x1')(x)
    single = _chain(x, 'branch3x3', (384, 1, 1))
    double = _chain(x, 'branch3x3dbl', (448, 1, 1), (384, 3, 3))
    parts = [
      ConvBatchNormRelu(384, size, name=f'{name}{side}')(branch)
      for name, branch in (('branch3x3_2', single), ('branch3x3dbl_3', double))
      for side, size in (('a', (1, 3)), ('b', (3, 1)))
    ]
    pool = nn.max_pool(x, (3, 3), padding='SAME') if self.by_maxima else _mean_pool(x)
    pool = ConvBatchNormRelu(192, name='branch_pool')(pool)
    return jnp.concatenate([small, *parts, pool], axis=-1)


class InceptionV3(nn.Module):
  """The whole network, as it stands when training has ended."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images [n, h, w, 3] in [-1, 1) to features [n, 2048] and logits [n, 1008].

    h and w are 299 where its figures are to mean anything. Raises ValueError below 75.
    """
    if min(x.shape[1:3]) < _SMALLEST:
      raise ValueError(f'images {x.shape}: Inception-v3 needs {_SMALLEST} pixels a side')
    x = ConvBatchNormRelu(32, (3, 3), 2, 'VALID', name='Conv2d_1a_3x3')(x)
    x = ConvBatchNormRelu(32, (3, 3), 1, 'VALID', name='Conv2d_2a_3x3')(x)
    x = ConvBatchNormRelu(64, (3, 3), name='Conv2d_2b_3x3')(x)
    x = ConvBatchNormRelu(80, name='Conv2d_3b_1x1')(_halving_pool(x))
    x = ConvBatchNormRelu(192, (3, 3), 1, 'VALID', name='Conv2d_4a_3x3')(x)
    x = _halving_pool(x)
    for name, width in (('5b', 32), ('5c', 64), ('5d', 64)):
      x = InceptionA(width, name=f'Mixed_{name}')(x)
    x = InceptionB(name='Mixed_6a')(x)
    for name, width in (('6b', 128), ('6c', 160), ('6d', 160), ('6e', 192)):
      x = InceptionC(width, name=f'Mixed_{name}')(x)
    x = InceptionD(name='Mixed_7a')(x)
    x = InceptionE(by_maxima=False, name='Mixed_7b')(x)
    x = InceptionE(by_maxima=True, name='Mixed_7c')(x)
    pooled = x.mean(axis=(1, 2))
    return pooled, nn.Dense(N_CLASSES, precision='highest', name='fc')(pooled)
