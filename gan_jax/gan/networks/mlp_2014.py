"""Defines the fully connected networks of Goodfellow et al. (2014): ReLU generator, maxout discriminator."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.initializers import (
  Initializer,
  LayerInit,
  layer_init_of,
  lecun_uniform,
  mean_image_bias,
  with_bias_init,
)
from gan_jax.gan.networks.layers import Conditioned, Dropout, Logit, make_dense
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, resolve_spec
from gan_jax.gan.networks.normalization import apply_layer, batch_norm

Activation = Callable[[Array], Array]


def half_tanh(x: Array) -> Array:
  """Returns 2 sigmoid(x) - 1: the sigmoid output of 2014, for images in [-1, 1]."""
  return jnp.tanh(x / 2)


def identity(x: Array) -> Array:
  """Returns x: the activation of a linear output."""
  return x


class Maxout(nn.Module):
  """Takes the largest of `pieces` linear maps per unit (Goodfellow et al., 2013)."""

  units: int
  pieces: int
  layer_init: LayerInit = lecun_uniform
  norm: str = 'none'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    """Maps [n, inputs] to [n, units]."""
    layer = make_dense(x, self.units * self.pieces, self.layer_init, self.dtype)
    x = apply_layer(layer, x, train, self.norm)
    return x.reshape(*x.shape[:-1], self.pieces, self.units).max(axis=-2)


class Generator(nn.Module):
  """Maps latents to examples through one hidden layer for each of `activations`."""

  shape: Sequence[int]
  width: int
  activations: Sequence[Activation] = (nn.relu, nn.relu)
  output: Activation = half_tanh
  layer_init: LayerInit = lecun_uniform
  output_init: LayerInit = lecun_uniform
  output_bias: Initializer | None = None  # replaces that of `output_init`
  norm: str = 'none'
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to examples [n, *shape]."""
    x = Conditioned(self.n_classes)(latents, labels)
    for activation in self.activations:
      x = make_dense(x, self.width, self.layer_init, self.dtype)(x)
      x = activation(batch_norm(x, train, axis_name, self.norm, self.dtype))
    output_init = with_bias_init(self.output_init, self.output_bias)
    x = make_dense(x, math.prod(self.shape), output_init, self.dtype)(x)
    return self.output(x.astype(jnp.float32)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """Maps images in [-1, 1] to logits through maxout layers, with dropout on the input of every layer."""

  width: int
  depth: int = 2
  pieces: int = 5
  layer_init: LayerInit = lecun_uniform
  input_dropout: float = 0.2
  hidden_dropout: float = 0.5
  black_is_zero: bool = True  # maps images to [0, 1], so that dropout makes pixels black
  norm: str = 'none'
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps examples [n, ...] and labels [n] to logits [n]."""
    x = images.reshape(images.shape[0], -1)
    x = (x + 1) / 2 if self.black_is_zero else x
    x = Dropout(self.input_dropout)(x, train, axis_name)
    for _ in range(self.depth):
      x = Maxout(self.width, self.pieces, self.layer_init, self.norm, self.dtype)(x, train)
      x = Dropout(self.hidden_dropout)(x, train, axis_name)
    return Logit(self.n_classes, self.layer_init, self.norm)(x, labels, train)


SUPPORTED = Supported(
  g_norms=('none', 'batch'),
  d_norms=('none', 'spectral'),
  inits=('scaled', '2014', 'torch'),
  depth=True,
  dropout=True,
  points=True,
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds the networks of the paper's MNIST run, of widths 1200 (G) and 240 (D) by default.

  `init` '2014' draws weights as released: U(+-.05) for G and U(+-.005) for D.
  """
  spec = resolve_spec('mlp', spec, SUPPORTED)
  output = half_tanh if len(spec.shape) == 3 else identity  # points are unbounded
  generator = build_generator(
    spec,
    1200,
    (nn.relu,) * (spec.g_depth or 2),
    output,
    layer_init=layer_init_of(spec.init, 0.05),
    output_init=layer_init_of(spec.init, 0.05),
    output_bias=mean_image_bias(spec.mean_image, 'half_tanh', per_channel=False),
  )
  return generator, _build_discriminator(spec, 240, black_is_zero=True)


def build_cifar_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds the fully connected networks of the paper's CIFAR-10 run.

  G has a ReLU and a sigmoid layer of 8000 units and a linear output, D two maxout layers of 1600x5.
  `init` '2014' draws G's weights from U(+-.05), those of its last layer from U(+-.5), D's from U(+-.005).
  """
  spec = resolve_spec('mlp_cifar_2014', spec, SUPPORTED._replace(depth=False, g_norms=('none',)))
  generator = build_generator(
    spec,
    8000,
    (nn.relu, nn.sigmoid),
    identity,
    layer_init=layer_init_of(spec.init, 0.05),
    output_init=layer_init_of(spec.init, 0.5),
    output_bias=mean_image_bias(spec.mean_image, 'linear', per_channel=False),
  )
  return generator, _build_discriminator(spec, 1600, black_is_zero=False)


def build_generator(
  spec: NetworkSpec, width: int, activations: Sequence[Activation], output: Activation, **inits: Any
) -> Generator:
  """Builds the generator of `spec` with `width` as its default width; `inits` are fields of `Generator`."""
  inits |= {'norm': spec.g_norm, 'n_classes': spec.n_classes, 'dtype': spec.compute_dtype}
  return Generator(tuple(spec.shape), spec.g_width or width, activations, output, **inits)


def _build_discriminator(spec: NetworkSpec, width: int, *, black_is_zero: bool) -> Discriminator:
  """Builds the maxout discriminator of `spec`, with `width` as its default width."""
  dropout = (0.2, 0.5) if spec.d_dropout else (0.0, 0.0)
  options = {'norm': spec.d_norm, 'n_classes': spec.n_classes, 'dtype': spec.compute_dtype}
  layers = (spec.d_width or width, spec.d_depth or 2, 5, layer_init_of(spec.init, 0.005))
  return Discriminator(*layers, *dropout, black_is_zero, **options)
