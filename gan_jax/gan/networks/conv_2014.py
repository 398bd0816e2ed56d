"""Defines the convolutional CIFAR-10 networks of Goodfellow et al. (2014), as released."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.initializers import LayerInit, layer_init_of
from gan_jax.gan.networks.layers import Conditioned, ConvNetwork, Dropout, Logit, make_dense
from gan_jax.gan.networks.mlp_2014 import Maxout
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, resolve_spec
from gan_jax.gan.networks.normalization import apply_layer
from gan_jax.utils.errors import UserError

# Of D's convolutions: channels / width, kernel size, padding, and the size of the pool of stride 2.
MAXOUT_LAYERS = ((1, 8, 4, 4), (1, 8, 3, 4), (6, 5, 3, 2))
MAXOUT_PIECES = 2


class Generator(ConvNetwork):
  """Applies a ReLU layer, a sigmoid layer and a transposed 5x5 convolution of stride 3."""

  shape: Sequence[int]
  width: int
  layer_init: LayerInit

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to examples [n, *shape]."""
    del train, axis_name  # no dropout and no batch statistics
    h, w, c = self.shape
    x = Conditioned(self.n_classes)(latents, labels)
    x = nn.relu(make_dense(x, self.width, self.layer_init, self.dtype)(x))
    x = nn.sigmoid(make_dense(x, self.width, self.layer_init, self.dtype)(x))
    x = x.reshape(x.shape[0], (h - 2) // 3, (w - 2) // 3, -1)
    output_init = self.output_init(self.layer_init)
    options = {'stride': 3, 'padding': 0, 'transposed': True, 'layer_init': output_init}
    return self.make_conv(c, 5, **options)(x).astype(jnp.float32)


class Discriminator(ConvNetwork):
  """Applies three maxout convolutions with max pooling and a maxout layer, with dropout before each."""

  width: int
  layer_init: LayerInit
  input_dropout: float = 0.2
  hidden_dropout: float = 0.5
  norm: str = 'none'

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps images [n, h, w, c] and labels [n] to logits [n]."""
    x = Dropout(self.input_dropout)(images, train, axis_name)
    for factor, size, padding, pool in MAXOUT_LAYERS:
      units = factor * self.width
      options = {'padding': padding, 'layer_init': self.layer_init}
      layer = self.make_conv(units * MAXOUT_PIECES, size, **options)
      x = apply_layer(layer, x, train, self.norm)
      x = x.reshape(*x.shape[:-1], MAXOUT_PIECES, units).max(axis=-2)
      # The last pool may extend past the far edge; it takes the maximum of the pixels inside.
      edges = [(0, (size - pool) % 2) for size in x.shape[1:3]]
      x = nn.max_pool(x, (pool, pool), (2, 2), edges)
      x = Dropout(self.hidden_dropout)(x, train, axis_name)
    x = x.reshape(x.shape[0], -1)
    x = Maxout(self.width * 500 // 32, 5, self.layer_init, self.norm, self.dtype)(x, train)
    x = Dropout(self.hidden_dropout)(x, train, axis_name)
    return Logit(self.n_classes, self.layer_init, self.norm)(x, labels, train)


SUPPORTED = Supported(d_norms=('none', 'spectral'), inits=('scaled', '2014', 'torch'), dropout=True)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds G (ReLU 8000, sigmoid 10x10x80, transposed conv) and D (maxout convs 32, 32, 192, maxout 500).

  `init` '2014' draws G's weights from U(+-.05) and D's from U(+-.005).
  """
  spec = resolve_spec('conv_2014', spec, SUPPORTED)
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
  g_fields = (tuple(spec.shape), g_width, layer_init_of(spec.init, 0.05))
  generator = Generator(*g_fields, **spec.conv_generator_options('linear'))
  dropout = (0.2, 0.5) if spec.d_dropout else (0.0, 0.0)
  d_fields = (spec.d_width or 32, layer_init_of(spec.init, 0.005), *dropout, spec.d_norm)
  return generator, Discriminator(*d_fields, **spec.conv_options())
