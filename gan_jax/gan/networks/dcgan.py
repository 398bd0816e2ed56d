"""The convolutional pair of Radford et al. (2016): batch norm, and every change of size learned."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.conv_as_matmul import Conv
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
  normal,
  scaled,
)
from gan_jax.gan.networks.network_spec import (
  NetworkSpec,
  SupportedOptions,
  compute_dtype,
  resolve_spec,
)
from gan_jax.utils.errors import UserError

FIRST = normal(0.02)
HIDDEN = 1024  # units of a dense layer between latents or logit and the convolutions


def _first(norm: str) -> First:
  """How the layers of a player begin.

  The paper's small weights shrink a signal from layer to layer, which batch norm makes up for and a spectral
  norm undoes. Where there is neither, they are larger.
  """
  return scaled if norm == 'none' else FIRST


class Generator(nn.Module):
  """Latents to images in [-1, 1]: a dense layer, then transposed convolutions that double the size."""

  shape: Sequence[int]
  width: int  # channels of the last hidden layer; each layer before it has twice as many
  doublings: int
  depth: int = 0  # dense layers before the convolutions
  norm: str = 'batch'
  n_classes: int = 0
  dtype: Any = jnp.float32
  output_bias: Initializer | None = None  # of [c]
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, latents: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, size] and [n] to [n, *shape]."""
    h, w, c = self.shape
    smallest = (h >> self.doublings, w >> self.doublings, self.width << (self.doublings - 1))
    first = _first(self.norm)
    x = Conditioned(self.n_classes)(latents, labels)
    for _ in range(self.depth):
      x = make_dense(x, HIDDEN, first, self.dtype)(x)
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    x = make_dense(x, math.prod(smallest), first, self.dtype)(x).reshape(-1, *smallest)
    for i in range(self.doublings):
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
      last = i == self.doublings - 1
      x = Conv(
        c if last else x.shape[-1] // 2,
        size=4,
        stride=2,
        transposed=True,
        first=begin_bias(first, self.output_bias) if last else first,
        dtype=self.dtype,
        as_products=self.as_products,
      )(x)
    return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
  """Images in [-1, 1] to one logit each: convolutions that halve the size, then a linear layer."""

  width: int  # channels of the first hidden layer; each layer after it has twice as many
  halvings: int
  depth: int = 0  # dense layers after the convolutions
  norm: str = 'none'  # 'batch': not on the first layer
  n_classes: int = 0
  dtype: Any = jnp.float32
  as_products: bool | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, h, w, c] and [n] to [n]."""
    first = _first(self.norm)
    x = images
    for i in range(self.halvings):
      layer = Conv(
        self.width << i, 4, 2, first=first, dtype=self.dtype, as_products=self.as_products
      )
      x = apply_layer(layer, x, train, self.norm)
      if i:
        x = batch_norm(x, train, axis_name, self.norm, self.dtype)
      x = nn.leaky_relu(x, 0.2)
    x = x.reshape(x.shape[0], -1)
    for _ in range(self.depth):
      x = apply_layer(make_dense(x, HIDDEN, first, self.dtype), x, train, self.norm)
      x = nn.leaky_relu(batch_norm(x, train, axis_name, self.norm, self.dtype), 0.2)
    return Logit(self.n_classes, first, self.norm)(x, labels, train)


def doublings(name: str, spec: NetworkSpec) -> int:
  """How often the smallest image, of at least 4 pixels a side, doubles on its way to `spec.shape`.

  Raises UserError where a side is no multiple of 4, or below 8.
  """
  h, w, _ = spec.shape
  times = 0
  while min(h, w) >> times >= 8 and not (h >> times) % 2 and not (w >> times) % 2:
    times += 1
  if times == 0 or h % 4 or w % 4:
    raise UserError(
      f'--network={name}: makes images whose height and width are multiples of 4, from 8 on, '
      f'not {h}x{w}; resize them, or use --network=mlp'
    )
  return times


# Batch norm first in G only: with it in D no gradient is one example's own, and R1 means nothing.
OFFER = SupportedOptions(
  g_norms=('batch', 'none'), d_norms=('none', 'batch', 'spectral'), depth=True
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Widths of 64 next to the image, batch norm in G; weights from N(0, .02^2), or by fan-in without any norm.

  `d_norm` 'batch' is the paper's, on all layers of D but the first; it goes with no gradient penalty.
  Depth counts dense layers of 1024 units, none by default; the authors' released networks for
  MNIST have one, where two convolutions end at 7x7.

  Labels: an embedding beside the latent in G, projection in D.
  """
  spec = resolve_spec('dcgan', spec, OFFER)
  times = doublings('dcgan', spec)
  generator = Generator(
    tuple(spec.shape),
    spec.g_width or 64,
    times,
    spec.g_depth,
    spec.g_norm,
    spec.n_classes,
    compute_dtype(spec),
    None if spec.mean_image is None else begin_at(mean_arctanh(spec.mean_image)),
    spec.as_products,
  )
  discriminator = Discriminator(
    spec.d_width or 64,
    times,
    spec.d_depth,
    spec.d_norm,
    spec.n_classes,
    compute_dtype(spec),
    spec.as_products,
  )
  return generator, discriminator


def mean_arctanh(mean_image: jax.Array) -> jax.Array:
  """The bias [c] whose tanh is the mean of each channel over `mean_image` [h, w, c] in [0, 1]."""
  mean = jnp.mean(mean_image, axis=(0, 1))
  return jnp.arctanh(jnp.clip(2 * mean - 1, -0.99, 0.99))
