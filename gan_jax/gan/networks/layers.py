"""Layers that more than one network uses."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis, collective_axis_name, example_keys
from gan_jax.gan.networks.network_spec import check_labels

Initializer = nn.initializers.Initializer
First = Callable[[int], tuple[Initializer, Initializer]]  # fan-in to first (weights, biases)


def symmetric_uniform(bound: float) -> Initializer:
  """Weights from U(-bound, bound)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def scaled(fan_in: int) -> tuple[Initializer, Initializer]:
  """Weights of variance 1 / fan-in, from a uniform distribution, and no biases (LeCun et al., 1998)."""
  return symmetric_uniform((3 / fan_in) ** 0.5), nn.initializers.zeros


def torch(fan_in: int) -> tuple[Initializer, Initializer]:
  """Weights and biases from U(+-1/sqrt(fan-in)), as PyTorch's linear and convolution layers begin.

  PyTorch's transposed convolutions count outputs in place of inputs; here they go by inputs, too.
  """
  return symmetric_uniform(fan_in**-0.5), symmetric_uniform(fan_in**-0.5)


def uniform(bound: float) -> First:
  """Weights from U(-bound, bound) whatever the fan-in, and no biases: 2014's."""
  return lambda fan_in: (symmetric_uniform(bound), nn.initializers.zeros)


def normal(stddev: float) -> First:
  """Weights from N(0, stddev^2) whatever the fan-in, and no biases."""
  return lambda fan_in: (nn.initializers.normal(stddev), nn.initializers.zeros)


def first_weights(init: str, bound_2014: float) -> First:
  """How layers begin under a `Spec`'s `init`; 2014's bound differs from network to network."""
  return {'scaled': scaled, 'torch': torch, '2014': uniform(bound_2014)}[init]


def begin_at(values: jax.Array) -> Initializer:
  """Biases that start at `values`, of any shape: a function, since a module's fields must have a hash."""
  return lambda key, shape, dtype=jnp.float32: jnp.ravel(values).astype(dtype)


def begin_bias(first: First, bias: Initializer | None) -> First:
  """`first`, with another start for the biases where one is given."""
  return first if bias is None else lambda fan_in: (first(fan_in)[0], bias)


def make_dense(x: jax.Array, features: int, first: First, dtype: Any) -> nn.Dense:
  """A linear layer for x [n, inputs], not yet applied."""
  kernel_init, bias_init = first(x.shape[-1])
  return nn.Dense(features, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype)


def apply_layer(layer: nn.Module, x: jax.Array, train: bool, norm: str) -> jax.Array:
  """`layer` at x, its weights divided by their largest singular value where `norm` is 'spectral'.

  Miyato et al. (2018): one step of power iteration per call, remembered in training.
  """
  if norm == 'spectral':
    return jnp.asarray(nn.SpectralNorm(layer)(x, update_stats=train))
  return jnp.asarray(layer(x))


def batch_norm(x: jax.Array, train: bool, axis_name: BatchAxis, norm: str, dtype: Any) -> jax.Array:
  """[n, ..., c], normalised over the global batch where `norm` is 'batch' (Ioffe & Szegedy, 2015)."""
  if norm != 'batch':
    return x
  layer = nn.BatchNorm(
    not train, momentum=0.9, axis_name=collective_axis_name(axis_name), dtype=dtype
  )
  return jnp.asarray(layer(x))


class Dropout(nn.Module):
  """Zero each input with probability `rate` and scale the rest (Srivastava et al., 2014).

  The mask is keyed by the example's place in the global batch, so it does not depend on how many
  devices share that batch. Needs the RNG stream 'dropout' when training.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, axis_name: BatchAxis = None) -> jax.Array:
    """[n, ...] to [n, ...]; the identity unless `train`."""
    if not train or self.rate == 0:
      return x
    keys = example_keys(self.make_rng('dropout'), x.shape[0], axis_name)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - self.rate), 0)


class Conditioned(nn.Module):
  """Latents beside an embedding of the label, as long as the latent and of its unit variance."""

  n_classes: int

  @nn.compact
  def __call__(self, latents: jax.Array, labels: jax.Array | None) -> jax.Array:
    """[n, size] and [n] to [n, 2 size]; the latents themselves where there are no classes."""
    check_labels(labels, self.n_classes)
    if labels is None:
      return latents
    embed = nn.Embed(self.n_classes, latents.shape[-1], embedding_init=nn.initializers.normal(1.0))
    return jnp.concatenate([latents, embed(labels)], axis=-1)


class Logit(nn.Module):
  """<w, phi> + b, plus <v_y, phi> where there are classes: the projection of Miyato & Koyama (2018)."""

  n_classes: int
  first: First
  norm: str = 'none'

  @nn.compact
  def __call__(self, features: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
    """Features phi [n, f] and labels [n] to logits [n], float32 whatever the features are."""
    check_labels(labels, self.n_classes)
    features = features.astype(jnp.float32)
    layer = make_dense(features, 1, self.first, jnp.float32)
    logits = apply_layer(layer, features, train, self.norm)[:, 0]
    if labels is None:
      return logits
    kernel_init, _ = self.first(features.shape[-1])
    embed = nn.Embed(self.n_classes, features.shape[-1], embedding_init=kernel_init)
    return logits + jnp.sum(features * apply_layer(embed, labels, train, self.norm), axis=-1)
