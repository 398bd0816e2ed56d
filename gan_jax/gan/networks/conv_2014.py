"""The convolutional CIFAR-10 pair of Goodfellow et al. (2014), as released."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.conv_as_matmul import Conv
from gan_jax.gan.networks.layers import (
  Conditioned,
  Dropout,
  First,
  Initializer,
  Logit,
  apply_layer,
  begin_at,
  begin_bias,
  first_weights,
  make_dense,
)
from gan_jax.gan.networks.mlp_2014 import Maxout
from gan_jax.gan.networks.network_spec import (
  NetworkSpec,
  SupportedOptions,
  compute_dtype,
  resolve_spec,
)
from gan_jax.utils.errors import UserError

# Of D's layers: channels for a width of 32, size, padding, and the size of the pool, which moves by 2.
LAYERS = ((1, 8, 4, 4), (1, 8, 3, 4), (6, 5, 3, 2))
PIECES = 2


class Generator(nn.Module):
  """ReLU, sigmoid, then one transposed convolution of 5x5 with stride 3, without bounds."""

  shape: Sequence[int]
  width: int
  first: First
  n_classes: int = 0
  dtype: Any = jnp.float32
  output_bias: Initializer | None = None  # of [c]
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, latents: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, size] and [n] to [n, *shape]."""
    del train, axis_name  # no dropout and no batch statistics
    h, w, c = self.shape
    x = Conditioned(self.n_classes)(latents, labels)
    x = nn.relu(make_dense(x, self.width, self.first, self.dtype)(x))
    x = nn.sigmoid(make_dense(x, self.width, self.first, self.dtype)(x))
    x = x.reshape(x.shape[0], (h - 2) // 3, (w - 2) // 3, -1)
    return Conv(
      c,
      size=5,
      stride=3,
      padding=0,
      transposed=True,
      first=begin_bias(self.first, self.output_bias),
      dtype=self.dtype,
      as_products=self.as_products,
    )(x).astype(jnp.float32)


class Discriminator(nn.Module):
  """Three layers of maxout convolution and pooling, one of maxout, each after dropout."""

  width: int
  first: First
  input_dropout: float = 0.2
  hidden_dropout: float = 0.5
  norm: str = 'none'
  n_classes: int = 0
  dtype: Any = jnp.float32
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, h, w, c] and [n] to [n]."""
    x = Dropout(self.input_dropout)(images, train, axis_name)
    for factor, size, padding, pool in LAYERS:
      units = factor * self.width
      layer = Conv(
        units * PIECES,
        size,
        padding=padding,
        first=self.first,
        dtype=self.dtype,
        as_products=self.as_products,
      )
      x = apply_layer(layer, x, train, self.norm)
      x = x.reshape(*x.shape[:-1], PIECES, units).max(axis=-2)
      # Pools that reach over the far edge count, with what they hold of the image.
      edges = [(0, (size - pool) % 2) for size in x.shape[1:3]]
      x = nn.max_pool(x, (pool, pool), (2, 2), edges)
      x = Dropout(self.hidden_dropout)(x, train, axis_name)
    x = x.reshape(x.shape[0], -1)
    x = Maxout(self.width * 500 // 32, 5, self.first, self.norm, self.dtype)(x, train)
    x = Dropout(self.hidden_dropout)(x, train, axis_name)
    return Logit(self.n_classes, self.first, self.norm)(x, labels, train)


OFFER = SupportedOptions(
  d_norms=('none', 'spectral'), inits=('scaled', '2014', 'torch'), dropout=True
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """G relu 8000, sigmoid 8000 as 10x10x80, deconvolution; D maxout-conv 32, 32, 192, maxout 500.

  `init` '2014' draws weights from U(+-.05) for G and U(+-.005) for D. Labels: an embedding beside the
  latent in G, projection in D.
  """
  spec = resolve_spec('conv_2014', spec, OFFER)
  h, w, _ = spec.shape
  if h % 3 != 2 or w % 3 != 2 or min(h, w) < 8:
    raise UserError(
      f'--network=conv_2014: makes images of 3 n + 2 pixels a side, such as 32x32, not {h}x{w}; '
      'use --network=dcgan'
    )
  area = (h - 2) // 3 * ((w - 2) // 3)
  g_width = spec.g_width or 80 * area
  if g_width % area:
    raise UserError(
      f'--g_width={g_width}: conv_2014 needs a multiple of {area} for {h}x{w}; '
      f'use --g_width={-(-g_width // area) * area}'
    )
  output_bias = None
  if spec.mean_image is not None:
    output_bias = begin_at(2 * jnp.mean(spec.mean_image, axis=(0, 1)) - 1)
  generator = Generator(
    tuple(spec.shape),
    g_width,
    first_weights(spec.init, 0.05),
    spec.n_classes,
    compute_dtype(spec),
    output_bias,
    spec.as_products,
  )
  discriminator = Discriminator(
    spec.d_width or 32,
    first_weights(spec.init, 0.005),
    0.2 if spec.d_dropout else 0.0,
    0.5 if spec.d_dropout else 0.0,
    spec.d_norm,
    spec.n_classes,
    compute_dtype(spec),
    spec.as_products,
  )
  return generator, discriminator
