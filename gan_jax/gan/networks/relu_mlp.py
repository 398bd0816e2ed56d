"""Defines fully connected ReLU networks for points and small vectors."""

import functools
import operator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.initializers import (
  Initializer,
  LayerInit,
  lecun_uniform,
  mean_image_bias,
  symmetric_uniform,
  torch_uniform,
)
from gan_jax.gan.networks.layers import Logit, make_dense
from gan_jax.gan.networks.mlp_2014 import build_generator, identity
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, resolve_spec
from gan_jax.gan.networks.normalization import apply_layer, batch_norm


def lecun_uniform_random_bias(fan_in: int) -> tuple[Initializer, Initializer]:
  """Returns weights by fan-in and biases from U(-.7, .7), which move the kinks of ReLUs off the origin."""
  return lecun_uniform(fan_in)[0], symmetric_uniform(0.7)


class Discriminator(nn.Module):
  """Maps examples to logits through ReLU layers."""

  width: int = 128
  depth: int = 2
  layer_init: LayerInit = lecun_uniform_random_bias
  norm: str = 'none'
  scale: float = 1.0  # divides the examples
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps examples [n, ...] and labels [n] to logits [n]."""
    x = images.reshape(images.shape[0], -1) / self.scale
    for _ in range(self.depth):
      x = apply_layer(make_dense(x, self.width, self.layer_init, self.dtype), x, train, self.norm)
      x = nn.relu(batch_norm(x, train, axis_name, self.norm, self.dtype))
    return Logit(self.n_classes, self.layer_init, self.norm)(x, labels, train)


SUPPORTED = Supported(
  g_norms=('none', 'batch'),
  d_norms=('none', 'batch', 'spectral'),
  inits=('scaled', 'torch'),
  depth=True,
  points=True,
  scale=True,
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds G and D of two ReLU layers of 128 units each by default, with a linear output.

  With latents of 5, shape (15,), depth 1 and `init` 'torch' they are the networks of the PyTorch
  tutorial behind the data set 'painter': G 5-128-15, D 15-128-1.
  """
  spec = resolve_spec('relu', spec, SUPPORTED)
  layer_init = lecun_uniform_random_bias if spec.init == 'scaled' else torch_uniform
  output = identity if spec.scale == 1 else functools.partial(operator.mul, spec.scale)
  activations = (nn.relu,) * (spec.g_depth or 2)
  inits = {'layer_init': layer_init, 'output_init': layer_init}
  bias = mean_image_bias(spec.mean_image, 'linear', per_channel=False)
  generator = build_generator(spec, 128, activations, output, **inits, output_bias=bias)
  layers = (spec.d_width or 128, spec.d_depth or 2, layer_init, spec.d_norm, spec.scale)
  return generator, Discriminator(*layers, spec.n_classes, spec.compute_dtype)
