"""Defines the DCGAN networks of Radford et al. (2016): strided convolutions, and batch norm in G."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.initializers import LayerInit, lecun_uniform, normal_weights
from gan_jax.gan.networks.layers import Conditioned, ConvNetwork, Logit, make_dense
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, count_doublings, resolve_spec
from gan_jax.gan.networks.normalization import apply_layer, batch_norm

DENSE_UNITS = 1024  # of each optional dense layer before G's or after D's convolutions


def _layer_init(norm: str) -> LayerInit:
  """Returns the paper's N(0, .02^2), or weights by fan-in where no norm makes up for the paper's small ones."""
  return lecun_uniform if norm == 'none' else normal_weights(0.02)


class Generator(ConvNetwork):
  """Maps latents to images in [-1, 1]: a dense layer, then transposed convolutions that double the size."""

  shape: Sequence[int]
  width: int  # channels of the last hidden layer, doubled with each layer before
  doublings: int
  depth: int = 0  # dense layers before the convolutions
  norm: str = 'batch'

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to examples [n, *shape]."""
    h, w, c = self.shape
    smallest = (h >> self.doublings, w >> self.doublings, self.width << (self.doublings - 1))
    layer_init = _layer_init(self.norm)
    x = Conditioned(self.n_classes)(latents, labels)
    for _ in range(self.depth):
      x = make_dense(x, DENSE_UNITS, layer_init, self.dtype)(x)
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    x = make_dense(x, math.prod(smallest), layer_init, self.dtype)(x).reshape(-1, *smallest)
    for i in range(self.doublings):
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
      last = i == self.doublings - 1
      conv_init = self.output_init(layer_init) if last else layer_init
      features = c if last else x.shape[-1] // 2
      x = self.make_conv(features, 4, stride=2, transposed=True, layer_init=conv_init)(x)
    return jnp.tanh(x.astype(jnp.float32))


class Discriminator(ConvNetwork):
  """Maps images in [-1, 1] to logits: convolutions that halve the size, then a linear layer."""

  width: int  # channels of the first hidden layer, doubled with each layer after
  halvings: int
  depth: int = 0  # dense layers after the convolutions
  norm: str = 'none'  # 'batch': on all layers but the first

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps images [n, h, w, c] and labels [n] to logits [n]."""
    layer_init = _layer_init(self.norm)
    x = images
    for i in range(self.halvings):
      layer = self.make_conv(self.width << i, 4, stride=2, layer_init=layer_init)
      x = apply_layer(layer, x, train, self.norm)
      if i:
        x = batch_norm(x, train, axis_name, self.norm, self.dtype)
      x = nn.leaky_relu(x, 0.2)
    x = x.reshape(x.shape[0], -1)
    for _ in range(self.depth):
      x = apply_layer(make_dense(x, DENSE_UNITS, layer_init, self.dtype), x, train, self.norm)
      x = nn.leaky_relu(batch_norm(x, train, axis_name, self.norm, self.dtype), 0.2)
    return Logit(self.n_classes, layer_init, self.norm)(x, labels, train)


# Batch norm is the default in G only: in D it makes a logit depend on the other examples of the batch,
# which gradient penalties such as R1 do not allow.
SUPPORTED = Supported(g_norms=('batch', 'none'), d_norms=('none', 'batch', 'spectral'), depth=True)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds the DCGAN pair, with 64 channels next to the image by default.

  `d_norm` 'batch' is the paper's, and does not allow gradient penalties. Depths count dense layers of 1024
  units: 0 by default, 1 in the authors' released networks for MNIST.
  """
  spec = resolve_spec('dcgan', spec, SUPPORTED)
  doublings = count_doublings('dcgan', spec)
  g_fields = (tuple(spec.shape), spec.g_width or 64, doublings, spec.g_depth, spec.g_norm)
  d_fields = (spec.d_width or 64, doublings, spec.d_depth, spec.d_norm)
  generator = Generator(*g_fields, **spec.conv_generator_options('tanh'))
  return generator, Discriminator(*d_fields, **spec.conv_options())
