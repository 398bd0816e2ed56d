"""Defines the layers that several networks share. A class name is a key of saved parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis, example_keys
from gan_jax.gan.networks.conv_as_matmul import Conv
from gan_jax.gan.networks.initializers import Initializer, LayerInit, with_bias_init
from gan_jax.gan.networks.network_spec import check_labels
from gan_jax.gan.networks.normalization import apply_layer


def make_dense(x: Array, features: int, layer_init: LayerInit, dtype: Any) -> nn.Dense:
  """Returns a linear layer with `features` outputs for x [n, inputs], without applying it."""
  kernel_init, bias_init = layer_init(x.shape[-1])
  return nn.Dense(features, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype)


class ConvNetwork(nn.Module, kw_only=True):
  """Holds the fields of all convolutional generators, discriminators and their blocks."""

  dtype: Any = jnp.float32  # of the computation
  as_matmul: bool | None = None  # convolutions as matrix products; None: on a CPU backend only
  n_classes: int = 0
  remat: bool = False  # recomputes the activations of blocks in the backward pass
  output_bias: Initializer | None = None  # [c], of a generator

  def make_conv(self, features: int, kernel_size: int, **options: Any) -> Conv:
    """Returns a convolution layer that computes as this network does, without applying it."""
    return Conv(features, kernel_size, dtype=self.dtype, as_matmul=self.as_matmul, **options)

  def output_init(self, layer_init: LayerInit) -> LayerInit:
    """Returns `layer_init` with `output_bias` for biases: the layer init of a generator's last layer."""
    return with_bias_init(layer_init, self.output_bias)


class Dropout(nn.Module):
  """Zeroes each input with probability `rate` and scales the others (Srivastava et al., 2014).

  An example's mask depends on its index in the global batch, not on the number of devices. Training
  needs the RNG stream 'dropout'.
  """

  rate: float

  @nn.compact
  def __call__(self, x: Array, train: bool, axis_name: BatchAxis = None) -> Array:
    """Maps [n, ...] to [n, ...]; the identity unless `train`."""
    if not train or self.rate == 0:
      return x
    keys = example_keys(self.make_rng('dropout'), x.shape[0], axis_name)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - self.rate), 0)


class Conditioned(nn.Module):
  """Concatenates latents with a learned embedding of their labels, of the latents' size and variance."""

  n_classes: int

  @nn.compact
  def __call__(self, latents: Array, labels: Array | None) -> Array:
    """Maps [n, size] and [n] to [n, 2 size]; returns the latents where there are no classes."""
    check_labels(labels, self.n_classes)
    if labels is None:
      return latents
    embed = nn.Embed(self.n_classes, latents.shape[-1], embedding_init=nn.initializers.normal(1.0))
    return jnp.concatenate([latents, embed(labels)], axis=-1)


class Logit(nn.Module):
  """Computes <w, phi> + b, plus <v_y, phi> with classes: the projection of Miyato & Koyama (2018)."""

  n_classes: int
  layer_init: LayerInit
  norm: str = 'none'

  @nn.compact
  def __call__(self, features: Array, labels: Array | None, train: bool) -> Array:
    """Maps features phi [n, f] of any dtype and labels [n] to float32 logits [n]."""
    check_labels(labels, self.n_classes)
    features = features.astype(jnp.float32)
    layer = make_dense(features, 1, self.layer_init, jnp.float32)
    logits = apply_layer(layer, features, train, self.norm)[:, 0]
    if labels is None:
      return logits
    kernel_init, _ = self.layer_init(features.shape[-1])
    embed = nn.Embed(self.n_classes, features.shape[-1], embedding_init=kernel_init)
    return logits + jnp.sum(features * apply_layer(embed, labels, train, self.norm), axis=-1)
