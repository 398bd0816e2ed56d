"""Defines the residual networks of Miyato et al. (2018): spectral norm in D, batch norm in G."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis, collective_axis_name
from gan_jax.gan.networks.initializers import Initializer
from gan_jax.gan.networks.layers import Conditioned, ConvNetwork, Logit, make_dense
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, count_doublings, resolve_spec
from gan_jax.gan.networks.normalization import apply_layer, batch_norm
from gan_jax.gan.networks.resampling import downsample_mean, upsample_nearest


def glorot_uniform(fan_in: int) -> tuple[Initializer, Initializer]:
  """Returns uniform weights of variance 2 / (fan-in + fan-out), and zero biases."""
  del fan_in
  return nn.initializers.glorot_uniform(), nn.initializers.zeros


class GeneratorBlock(ConvNetwork):
  """Adds (norm, ReLU, upsample, 3x3 conv, norm, ReLU, 3x3 conv) to an upsampled 1x1 conv."""

  features: int
  norm: str

  @nn.compact
  def __call__(self, x: Array, train: bool, axis_name: BatchAxis) -> Array:
    """Maps [n, h, w, c] to [n, 2h, 2w, features]."""

    def conv(x: Array, size: int) -> Array:
      options = {'padding': size // 2, 'layer_init': glorot_uniform}
      return jnp.asarray(self.make_conv(self.features, size, **options)(x))

    y = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    y = conv(upsample_nearest(y), 3)
    y = nn.relu(batch_norm(y, train, axis_name, self.norm, self.dtype))
    return conv(y, 3) + upsample_nearest(conv(x, 1))  # a 1x1 conv commutes with the upsampling


class Generator(ConvNetwork):
  """Maps latents to images in [-1, 1]: a dense layer, then residual blocks that double the size."""

  shape: Sequence[int]
  widths: Sequence[int]  # of the dense layer, then of each block
  norm: str = 'batch'

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to examples [n, *shape]."""
    h, w, c = self.shape
    doublings = len(self.widths) - 1
    smallest = (h >> doublings, w >> doublings, self.widths[0])
    block = nn.remat(GeneratorBlock, static_argnums=(2, 3)) if self.remat else GeneratorBlock
    x = Conditioned(self.n_classes)(latents, labels)
    x = make_dense(x, math.prod(smallest), glorot_uniform, self.dtype)(x).reshape(-1, *smallest)
    for i, width in enumerate(self.widths[1:]):
      options = {'dtype': self.dtype, 'as_matmul': self.as_matmul, 'name': f'block_{i}'}
      x = block(width, self.norm, **options)(x, train, collective_axis_name(axis_name))
    x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    output_init = self.output_init(glorot_uniform)
    x = self.make_conv(c, 3, layer_init=output_init)(x)
    return jnp.tanh(x.astype(jnp.float32))


class DiscriminatorBlock(ConvNetwork):
  """Adds (ReLU, 3x3 conv, ReLU, 3x3 conv) to its input, under a 1x1 conv where channels or size change."""

  features: int
  downsample: bool  # by the mean of 2x2 blocks
  is_first: bool  # omits the ReLU on the input, which is the image
  norm: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [n, h, w, c] to [n, h, w, features], or [n, h/2, w/2, features] with `downsample`."""

    def conv(x: Array, size: int) -> Array:
      layer = self.make_conv(self.features, size, padding=size // 2, layer_init=glorot_uniform)
      return apply_layer(layer, x, train, self.norm)

    y = conv(x if self.is_first else nn.relu(x), 3)
    y = conv(nn.relu(y), 3)
    if not self.downsample and x.shape[-1] == self.features:
      return x + y
    if not self.downsample:
      return conv(x, 1) + y
    return conv(downsample_mean(x), 1) + downsample_mean(y)  # a mean and a 1x1 conv commute


class Discriminator(ConvNetwork):
  """Maps images in [-1, 1] to logits: residual blocks, the sum over pixels, then a linear layer."""

  widths: Sequence[int]
  halvings: int  # number of blocks, from the first on, that halve the size
  norm: str = 'spectral'

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps images [n, h, w, c] and labels [n] to logits [n]."""
    del axis_name  # no batch statistics
    block = nn.remat(DiscriminatorBlock, static_argnums=(2,)) if self.remat else DiscriminatorBlock
    x = images
    for i, width in enumerate(self.widths):
      options = {'dtype': self.dtype, 'as_matmul': self.as_matmul, 'name': f'block_{i}'}
      x = block(width, i < self.halvings, i == 0, self.norm, **options)(x, train)
    features = jnp.sum(nn.relu(x).astype(jnp.float32), axis=(1, 2))
    return Logit(self.n_classes, glorot_uniform, self.norm)(features, labels, train)


SUPPORTED = Supported(g_norms=('batch', 'none'), d_norms=('spectral', 'none'), remat=True)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds the SNGAN pair: up to 32x32 the CIFAR-10 networks, all of whose blocks have one width.

  Above 32x32, widths double from the image inwards, up to 16 times. The default width is 64 up to 32x32
  (published: 256 in G, 128 in D) and 16 above (usual: 64). Labels enter G beside the latent, not by the
  paper's conditional batch norm.
  """
  spec = resolve_spec('sngan', spec, SUPPORTED)
  doublings = count_doublings('sngan', spec)
  small = min(spec.shape[:2]) <= 32
  default = 64 if small else 16
  g_width, d_width = spec.g_width or default, spec.d_width or default
  if small:
    g_widths = [g_width] * (doublings + 1)
    d_widths, halvings = [d_width] * 4, min(doublings, 2)
  else:
    g_widths = [g_width << min(doublings - i, 4) for i in range(doublings + 1)]
    d_widths, halvings = [d_width << min(i, 4) for i in range(doublings + 1)], doublings
  g_fields = (tuple(spec.shape), tuple(g_widths), spec.g_norm)
  generator = Generator(*g_fields, **spec.conv_generator_options('tanh'))
  d_fields = (tuple(d_widths), halvings, spec.d_norm)
  return generator, Discriminator(*d_fields, **spec.conv_options())
