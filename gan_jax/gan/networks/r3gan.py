"""Defines the R3GAN networks of Huang et al. (2024): residual blocks of grouped convolutions, without norms."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.conv_as_matmul import Conv
from gan_jax.gan.networks.initializers import LayerInit
from gan_jax.gan.networks.layers import Conditioned, ConvNetwork, Logit, make_dense
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, count_doublings, resolve_spec
from gan_jax.gan.networks.resampling import downsample_bilinear, upsample_bilinear
from gan_jax.utils.errors import UserError

SLOPE = 0.2  # of leaky ReLUs
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # keeps the variance through a leaky ReLU
GROUP_SIZE = 16  # channels of a group
EXPANSION = 2  # channels inside a block / channels of its input


def scaled_normal(gain: float) -> LayerInit:
  """Returns a layer init with weights from N(0, gain^2 / fan-in), and zero biases."""
  zeros = nn.initializers.zeros
  return lambda fan_in: (nn.initializers.normal(gain * fan_in**-0.5) if gain else zeros, zeros)


class ResidualBlock(nn.Module):
  """Adds (1x1 conv to twice the channels, grouped 3x3 conv, 1x1 conv back) to its input.

  As in Fixup (Zhang et al., 2019), the last weights start at zero and the others are scaled by
  n_blocks^(-1/4), so that the size of a learning step does not grow with the number of blocks.
  """

  n_blocks: int  # of the network
  dtype: Any
  as_matmul: bool | None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    inner = EXPANSION * x.shape[-1]
    hidden_init = scaled_normal(GAIN * self.n_blocks**-0.25)
    options = {'dtype': self.dtype, 'as_matmul': self.as_matmul}
    y = nn.leaky_relu(Conv(inner, 1, padding=0, layer_init=hidden_init, **options)(x), SLOPE)
    y = Conv(inner, 3, groups=inner // GROUP_SIZE, layer_init=hidden_init, **options)(y)
    y = nn.leaky_relu(y, SLOPE)
    options |= {'layer_init': scaled_normal(0.0), 'use_bias': False}
    return x + Conv(x.shape[-1], 1, padding=0, **options)(y)


class Generator(ConvNetwork):
  """Scales the channels of a learned 4x4 to 7x7 image by the latent, then applies blocks and upsampling."""

  shape: Sequence[int]
  widths: Sequence[int]  # channels at each resolution, the smallest first
  depth: int = 1  # blocks per resolution

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to examples [n, *shape]."""
    del train, axis_name  # no dropout and no batch statistics
    h, w, c = self.shape
    doublings = len(self.widths) - 1
    block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
    options = {'dtype': self.dtype, 'as_matmul': self.as_matmul}
    z = Conditioned(self.n_classes)(latents, labels)
    scales = make_dense(z, self.widths[0], scaled_normal(1.0), self.dtype)(z)
    shape = (h >> doublings, w >> doublings, self.widths[0])
    basis = self.param('basis', nn.initializers.normal(1.0), shape)
    x = basis.astype(self.dtype)[None] * scales[:, None, None]
    for i, width in enumerate(self.widths):
      if i:
        if width != x.shape[-1]:
          x = Conv(width, 1, padding=0, layer_init=scaled_normal(1.0), use_bias=False, **options)(x)
        x = upsample_bilinear(x)
      for j in range(self.depth):
        x = block(self.depth * len(self.widths), **options, name=f'block_{i}_{j}')(x)
    output_init = self.output_init(scaled_normal(1.0))
    return Conv(c, 1, padding=0, layer_init=output_init, **options)(x).astype(jnp.float32)


class Discriminator(ConvNetwork):
  """Maps images to logits: blocks and downsampling, a learned weighted sum over pixels, a linear layer."""

  widths: Sequence[int]  # channels at each resolution, the largest first
  depth: int = 1

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps images [n, h, w, c] and labels [n] to logits [n]."""
    del axis_name
    block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
    options = {'dtype': self.dtype, 'as_matmul': self.as_matmul}
    x = Conv(self.widths[0], 1, padding=0, layer_init=scaled_normal(1.0), **options)(images)
    for i, width in enumerate(self.widths):
      if i:
        x = downsample_bilinear(x)
        if width != x.shape[-1]:
          x = Conv(width, 1, padding=0, layer_init=scaled_normal(1.0), use_bias=False, **options)(x)
      for j in range(self.depth):
        x = block(self.depth * len(self.widths), **options, name=f'block_{i}_{j}')(x)
    n_pixels = x.shape[1] * x.shape[2]
    basis = self.param('basis', nn.initializers.normal(n_pixels**-0.5), x.shape[1:])
    features = jnp.sum(x.astype(jnp.float32) * basis[None], axis=(1, 2))
    return Logit(self.n_classes, scaled_normal(1.0))(features, labels, train)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds the R3GAN pair, with one block of 64 channels per resolution by default.

  Published for CIFAR-10: widths 768, depths 2 and latents of 64. G's output is linear. From the fifth
  resolution on, each has half the channels of the one before.
  """
  spec = resolve_spec('r3gan', spec, Supported(depth=True, remat=True))
  doublings = count_doublings('r3gan', spec)
  g_widths = _resolution_widths('--g_width', spec.g_width or 64, doublings)
  d_widths = _resolution_widths('--d_width', spec.d_width or 64, doublings)[::-1]
  g_fields = (tuple(spec.shape), g_widths, spec.g_depth or 1)
  generator = Generator(*g_fields, **spec.conv_generator_options('linear'))
  return generator, Discriminator(d_widths, spec.d_depth or 1, **spec.conv_options())


def _resolution_widths(flag: str, width: int, doublings: int) -> tuple[int, ...]:
  """Returns the channels at each resolution, the smallest first; raises UserError for incomplete groups."""
  least = GROUP_SIZE // EXPANSION
  if width % least:
    raise UserError(
      f'{flag}={width}: r3gan has groups of {GROUP_SIZE} channels; use a multiple of {least}, '
      f'such as {flag}={-(-width // least) * least}'
    )
  # Halved beyond the fourth resolution, and rounded down to whole groups.
  halved = [width >> max(0, i - 3) for i in range(doublings + 1)]
  return tuple(max(least, w // least * least) for w in halved)
