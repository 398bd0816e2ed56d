"""The residual networks of Huang et al. (2024): no normalisation, grouped convolutions, a careful start."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.conv_as_matmul import Conv
from gan_jax.gan.networks.dcgan import doublings
from gan_jax.gan.networks.layers import (
  Conditioned,
  First,
  Initializer,
  Logit,
  begin_at,
  begin_bias,
  make_dense,
)
from gan_jax.gan.networks.network_spec import (
  NetworkSpec,
  SupportedOptions,
  compute_dtype,
  resolve_spec,
)
from gan_jax.utils.errors import UserError

SLOPE = 0.2
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # keeps the variance through a leaky ReLU
GROUP = 16  # channels of a group
EXPANSION = 2


def gain(value: float) -> First:
  """Weights from N(0, value^2 / fan-in), and no biases."""
  return lambda fan_in: (
    nn.initializers.normal(value * fan_in**-0.5) if value else nn.initializers.zeros,
    nn.initializers.zeros,
  )


class Block(nn.Module):
  """Beside x itself: 1x1 to twice the channels, 3x3 in groups, 1x1 back; the last begins at zero.

  With `blocks` residual blocks in the network, the first two weights are smaller by blocks^(-1/4),
  as in Fixup (Zhang et al., 2019), so that a step of learning moves the sum of all no further.
  """

  blocks: int
  dtype: Any
  as_products: bool | None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, h, w, c] to the same shape."""
    inner = EXPANSION * x.shape[-1]
    small = gain(GAIN * self.blocks**-0.25)
    kind = {'dtype': self.dtype, 'as_products': self.as_products}
    y = nn.leaky_relu(Conv(inner, 1, padding=0, first=small, **kind)(x), SLOPE)
    y = Conv(inner, 3, groups=inner // GROUP, first=small, **kind)(y)
    y = nn.leaky_relu(y, SLOPE)
    return x + Conv(x.shape[-1], 1, padding=0, first=gain(0.0), use_bias=False, **kind)(y)


def double(x: jax.Array) -> jax.Array:
  """Bilinear: each new pixel is 3/4 of the nearest and 1/4 of the next, in each direction."""
  for axis in (1, 2):
    n = x.shape[axis]
    before = jnp.concatenate([_at(x, axis, 0, 1), _at(x, axis, 0, n - 1)], axis)
    after = jnp.concatenate([_at(x, axis, 1, n), _at(x, axis, n - 1, n)], axis)
    both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    x = both.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
  return x


def halve(x: jax.Array) -> jax.Array:
  """Bilinear with a filter of 1, 3, 3, 1 over 8: the transpose of `double`, but for the edges."""
  for axis in (1, 2):
    n = x.shape[axis]
    edges = [(0, 0)] * 4
    edges[axis] = (1, 1)
    x = jnp.pad(x, edges, mode='edge')
    taps = [
      lax.slice_in_dim(x, i, i + n - 1, stride=2, axis=axis) * weight
      for i, weight in enumerate((0.125, 0.375, 0.375, 0.125))
    ]
    x = taps[0] + taps[1] + taps[2] + taps[3]
  return x


def _at(x: jax.Array, axis: int, start: int, stop: int) -> jax.Array:
  return lax.slice_in_dim(x, start, stop, axis=axis)


class Generator(nn.Module):
  """A learned picture of 4 to 7 pixels whose channels the latent scales; blocks; doublings between."""

  shape: Sequence[int]
  widths: Sequence[int]  # for each size of image, the smallest first
  depth: int = 1  # blocks for each size
  n_classes: int = 0
  dtype: Any = jnp.float32
  output_bias: Initializer | None = None  # of [c]
  remat: bool = False
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, latents: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, size] and [n] to [n, *shape]."""
    del train, axis_name  # no dropout and no batch statistics
    h, w, c = self.shape
    times = len(self.widths) - 1
    block = nn.remat(Block) if self.remat else Block
    kind = {'dtype': self.dtype, 'as_products': self.as_products}
    z = Conditioned(self.n_classes)(latents, labels)
    scales = make_dense(z, self.widths[0], gain(1.0), self.dtype)(z)
    basis = self.param(
      'basis', nn.initializers.normal(1.0), (h >> times, w >> times, self.widths[0])
    )
    x = basis.astype(self.dtype)[None] * scales[:, None, None]
    for i, width in enumerate(self.widths):
      if i:
        if width != x.shape[-1]:
          x = Conv(width, 1, padding=0, first=gain(1.0), use_bias=False, **kind)(x)
        x = double(x)
      for j in range(self.depth):
        x = block(self.depth * len(self.widths), **kind, name=f'block_{i}_{j}')(x)
    output = begin_bias(gain(1.0), self.output_bias)
    return Conv(c, 1, padding=0, first=output, **kind)(x).astype(jnp.float32)


class Discriminator(nn.Module):
  """The generator backwards: blocks, halvings between them, a learned sum over space, a linear layer."""

  widths: Sequence[int]  # for each size of image, the largest first
  depth: int = 1
  n_classes: int = 0
  dtype: Any = jnp.float32
  remat: bool = False
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, h, w, c] and [n] to [n]."""
    del axis_name
    block = nn.remat(Block) if self.remat else Block
    kind = {'dtype': self.dtype, 'as_products': self.as_products}
    x = Conv(self.widths[0], 1, padding=0, first=gain(1.0), **kind)(images)
    for i, width in enumerate(self.widths):
      if i:
        x = halve(x)
        if width != x.shape[-1]:
          x = Conv(width, 1, padding=0, first=gain(1.0), use_bias=False, **kind)(x)
      for j in range(self.depth):
        x = block(self.depth * len(self.widths), **kind, name=f'block_{i}_{j}')(x)
    space = x.shape[1] * x.shape[2]
    basis = self.param('basis', nn.initializers.normal(space**-0.5), x.shape[1:])
    features = jnp.sum(x.astype(jnp.float32) * basis[None], axis=(1, 2))
    return Logit(self.n_classes, gain(1.0))(features, labels, train)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """One block for each size and 64 channels; published for CIFAR-10: widths 768 and depths 2.

  Those have 96 groups of 16 channels inside, 4 sizes from 4x4 to 32x32, and latents of 64. The output
  is linear, without bounds. Above 32x32 the larger images have half the channels of the next smaller.
  Labels: an embedding beside the latent in G, projection in D.
  """
  spec = resolve_spec('r3gan', spec, SupportedOptions(depth=True, remat=True))
  times = doublings('r3gan', spec)
  output_bias = None
  if spec.mean_image is not None:
    output_bias = begin_at(2 * jnp.mean(spec.mean_image, axis=(0, 1)) - 1)
  generator = Generator(
    tuple(spec.shape),
    _widths('--g_width', spec.g_width or 64, times),
    spec.g_depth or 1,
    spec.n_classes,
    compute_dtype(spec),
    output_bias,
    spec.remat,
    spec.as_products,
  )
  discriminator = Discriminator(
    _widths('--d_width', spec.d_width or 64, times)[::-1],
    spec.d_depth or 1,
    spec.n_classes,
    compute_dtype(spec),
    spec.remat,
    spec.as_products,
  )
  return generator, discriminator


def _widths(flag: str, width: int, times: int) -> tuple[int, ...]:
  least = GROUP // EXPANSION
  if width % least:
    raise UserError(
      f'{flag}={width}: r3gan has groups of {GROUP} inside; use a multiple of {least}, '
      f'such as {flag}={-(-width // least) * least}'
    )
  # Halved beyond the fourth size, but always whole groups.
  halved = [width >> max(0, i - 3) for i in range(times + 1)]
  return tuple(max(least, w // least * least) for w in halved)
