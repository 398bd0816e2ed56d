"""The residual networks of Miyato et al. (2018): spectral norm in D, batch norm in G."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis, collective_axis_name
from gan_jax.gan.networks.conv_as_matmul import Conv
from gan_jax.gan.networks.dcgan import doublings, mean_arctanh
from gan_jax.gan.networks.layers import (
  Conditioned,
  First,
  Initializer,
  Logit,
  apply_layer,
  batch_norm,
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


def glorot(fan_in: int) -> tuple[nn.initializers.Initializer, nn.initializers.Initializer]:
  """Weights of variance 2 / (fan-in + fan-out), from a uniform distribution, and no biases."""
  del fan_in
  return nn.initializers.glorot_uniform(), nn.initializers.zeros


def halve(x: jax.Array) -> jax.Array:
  """The mean of each 2x2 block: [n, h, w, c] to [n, h/2, w/2, c]."""
  n, h, w, c = x.shape
  return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def double(x: jax.Array) -> jax.Array:
  """Each pixel four times: [n, h, w, c] to [n, 2h, 2w, c]."""
  n, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c))
  return x.reshape(n, 2 * h, 2 * w, c)


class GeneratorBlock(nn.Module):
  """Norm, ReLU, double, 3x3, norm, ReLU, 3x3, beside a doubled 1x1."""

  features: int
  norm: str
  dtype: Any
  as_products: bool | None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, axis_name: BatchAxis) -> jax.Array:
    """[n, h, w, c] to [n, 2h, 2w, features]."""

    def conv(x: jax.Array, size: int) -> jax.Array:
      kind = {'first': glorot, 'dtype': self.dtype, 'as_products': self.as_products}
      return jnp.asarray(Conv(self.features, size, padding=size // 2, **kind)(x))

    y = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    y = conv(double(y), 3)
    y = nn.relu(batch_norm(y, train, axis_name, self.norm, self.dtype))
    return conv(y, 3) + double(conv(x, 1))  # a 1x1 before the doubling gives the same for a quarter


class Generator(nn.Module):
  """Latents to images in [-1, 1]: a dense layer, then residual blocks that double the size."""

  shape: Sequence[int]
  widths: Sequence[int]  # of the dense layer, then of each block
  norm: str = 'batch'
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
    h, w, c = self.shape
    times = len(self.widths) - 1
    first = (h >> times, w >> times, self.widths[0])
    block = nn.remat(GeneratorBlock, static_argnums=(2, 3)) if self.remat else GeneratorBlock
    x = Conditioned(self.n_classes)(latents, labels)
    x = make_dense(x, math.prod(first), glorot, self.dtype)(x).reshape(-1, *first)
    for i, width in enumerate(self.widths[1:]):
      x = block(width, self.norm, self.dtype, self.as_products, name=f'block_{i}')(
        x, train, collective_axis_name(axis_name)
      )
    x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    output: First = begin_bias(glorot, self.output_bias)
    x = Conv(c, first=output, dtype=self.dtype, as_products=self.as_products)(x)
    return jnp.tanh(x.astype(jnp.float32))


class DiscriminatorBlock(nn.Module):
  """ReLU, 3x3, ReLU, 3x3, beside a 1x1 where channels or size change; then the mean of 2x2 blocks."""

  features: int
  halves: bool
  starts: bool  # the first block sees the image itself, without a ReLU
  norm: str
  dtype: Any
  as_products: bool | None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """[n, h, w, c] to [n, h', w', features], h' being h/2 where it halves."""

    def conv(x: jax.Array, size: int) -> jax.Array:
      kind = {'first': glorot, 'dtype': self.dtype, 'as_products': self.as_products}
      return apply_layer(Conv(self.features, size, padding=size // 2, **kind), x, train, self.norm)

    y = conv(x if self.starts else nn.relu(x), 3)
    y = conv(nn.relu(y), 3)
    if not self.halves and x.shape[-1] == self.features:
      return x + y
    if not self.halves:
      return conv(x, 1) + y
    return conv(halve(x), 1) + halve(y)  # a mean and a 1x1 commute


class Discriminator(nn.Module):
  """Images in [-1, 1] to one logit each: residual blocks, then the sum over what is left of space."""

  widths: Sequence[int]
  halvings: int  # how many of the blocks, from the first, halve the size
  norm: str = 'spectral'
  n_classes: int = 0
  dtype: Any = jnp.float32
  remat: bool = False
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, h, w, c] and [n] to [n]."""
    del axis_name  # no statistics of the batch
    block = nn.remat(DiscriminatorBlock, static_argnums=(2,)) if self.remat else DiscriminatorBlock
    x = images
    for i, width in enumerate(self.widths):
      kind = (width, i < self.halvings, i == 0, self.norm, self.dtype, self.as_products)
      x = block(*kind, name=f'block_{i}')(x, train)
    features = jnp.sum(nn.relu(x).astype(jnp.float32), axis=(1, 2))
    return Logit(self.n_classes, glorot, self.norm)(features, labels, train)


OFFER = SupportedOptions(g_norms=('batch', 'none'), d_norms=('spectral', 'none'), remat=True)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Up to 32x32 the CIFAR-10 networks, of one width; published: --g_width=256 --d_width=128.

  Above, the first blocks of G and the last of D are wider by powers of 2, up to 16 times; 64 is usual
  there. The default width is 64, above 32x32 it is 16. Labels: an embedding beside the latent in G (the
  conditional batch norm of the paper is not needed for that), projection in D.
  """
  spec = resolve_spec('sngan', spec, OFFER)
  times = doublings('sngan', spec)
  small = min(spec.shape[:2]) <= 32
  default = 64 if small else 16
  g_width, d_width = spec.g_width or default, spec.d_width or default
  if small:
    g_widths = [g_width] * (times + 1)
    d_widths, halvings = [d_width] * 4, min(times, 2)
  else:
    g_widths = [g_width << min(times - i, 4) for i in range(times + 1)]
    d_widths, halvings = [d_width << min(i, 4) for i in range(times + 1)], times
  generator = Generator(
    tuple(spec.shape),
    tuple(g_widths),
    spec.g_norm,
    spec.n_classes,
    compute_dtype(spec),
    None if spec.mean_image is None else begin_at(mean_arctanh(spec.mean_image)),
    spec.remat,
    spec.as_products,
  )
  discriminator = Discriminator(
    tuple(d_widths),
    halvings,
    spec.d_norm,
    spec.n_classes,
    compute_dtype(spec),
    spec.remat,
    spec.as_products,
  )
  return generator, discriminator
