"""Plain ReLU networks for points and small vectors."""

import functools
import operator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.layers import (
  First,
  Initializer,
  Logit,
  apply_layer,
  batch_norm,
  begin_at,
  first_weights,
  make_dense,
  scaled,
  symmetric_uniform,
)
from gan_jax.gan.networks.mlp_2014 import Generator, linear
from gan_jax.gan.networks.network_spec import (
  NetworkSpec,
  SupportedOptions,
  compute_dtype,
  resolve_spec,
)


def spread(fan_in: int) -> tuple[Initializer, Initializer]:
  """Weights by fan-in and biases from U(-.7, .7), lest all kinks of a small network meet in the origin."""
  return scaled(fan_in)[0], symmetric_uniform(0.7)


class Discriminator(nn.Module):
  """Examples to one logit each, through ReLU layers."""

  width: int = 128
  depth: int = 2
  first: First = spread
  norm: str = 'none'
  scale: float = 1.0
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, ...] and [n] to [n]."""
    x = images.reshape(images.shape[0], -1) / self.scale
    for _ in range(self.depth):
      x = apply_layer(make_dense(x, self.width, self.first, self.dtype), x, train, self.norm)
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    return Logit(self.n_classes, self.first, self.norm)(x, labels, train)


OFFER = SupportedOptions(
  g_norms=('none', 'batch'),
  d_norms=('none', 'batch', 'spectral'),
  inits=('scaled', 'torch'),
  depth=True,
  points=True,
  scale=True,
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Two ReLU layers of 128 in either network, and an output without bounds.

  With latents of 5, shape (15,), depth 1 and `init` 'torch' they are the networks of the PyTorch
  tutorial whose GAN paints parabolas: G 5-128-15, D 15-128-1. D divides its inputs by `scale`, and
  G multiplies its outputs, so that both work with numbers of about 1.
  """
  spec = resolve_spec('relu', spec, OFFER)
  first = spread if spec.init == 'scaled' else first_weights(spec.init, 0.05)
  generator = Generator(
    tuple(spec.shape),
    spec.g_width or 128,
    (nn.relu,) * (spec.g_depth or 2),
    linear if spec.scale == 1 else functools.partial(operator.mul, spec.scale),
    first=first,
    output_first=first,
    output_bias=None if spec.mean_image is None else begin_at(2 * spec.mean_image - 1),
    norm=spec.g_norm,
    n_classes=spec.n_classes,
    dtype=compute_dtype(spec),
  )
  discriminator = Discriminator(
    spec.d_width or 128,
    spec.d_depth or 2,
    first,
    spec.d_norm,
    spec.scale,
    spec.n_classes,
    compute_dtype(spec),
  )
  return generator, discriminator
