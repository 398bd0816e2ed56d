"""The fully connected pairs of Goodfellow et al. (2014): ReLU generator, maxout discriminator with dropout."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.layers import (
  Conditioned,
  Dropout,
  First,
  Initializer,
  Logit,
  apply_layer,
  batch_norm,
  begin_at,
  begin_bias,
  first_weights,
  make_dense,
  scaled,
  uniform,
)
from gan_jax.gan.networks.network_spec import (
  NetworkSpec,
  SupportedOptions,
  compute_dtype,
  resolve_spec,
)

Activation = Callable[[jax.Array], jax.Array]


def half_tanh(x: jax.Array) -> jax.Array:
  """2 sigmoid(x) - 1: the sigmoid output of 2014, on images that run from -1 to 1 here."""
  return jnp.tanh(x / 2)


def linear(x: jax.Array) -> jax.Array:
  """The identity: an output without bounds."""
  return x


class Maxout(nn.Module):
  """Largest of `pieces` linear maps per unit (Goodfellow et al., 2013)."""

  units: int
  pieces: int
  first: First = scaled
  norm: str = 'none'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """[n, inputs] to [n, units]."""
    layer = make_dense(x, self.units * self.pieces, self.first, self.dtype)
    x = apply_layer(layer, x, train, self.norm)
    return x.reshape(*x.shape[:-1], self.pieces, self.units).max(axis=-2)


class Generator(nn.Module):
  """Latents to examples through one hidden layer for each of `activations`; labels join the latents."""

  shape: Sequence[int]
  width: int
  activations: Sequence[Activation] = (nn.relu, nn.relu)
  output: Activation = half_tanh
  first: First = scaled
  output_first: First = scaled
  output_bias: Initializer | None = None  # None: as `output_first` has it
  norm: str = 'none'
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, latents: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, size] and [n] to [n, *shape]."""
    x = Conditioned(self.n_classes)(latents, labels)
    for activation in self.activations:
      x = make_dense(x, self.width, self.first, self.dtype)(x)
      x = activation(batch_norm(x, train, axis_name, self.norm, self.dtype))
    first = begin_bias(self.output_first, self.output_bias)
    x = make_dense(x, math.prod(self.shape), first, self.dtype)(x)
    return self.output(x.astype(jnp.float32)).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """Images in [-1, 1] to one logit each, through maxout layers with dropout on every layer's input."""

  width: int
  depth: int = 2
  pieces: int = 5
  first: First = scaled
  input_dropout: float = 0.2
  hidden_dropout: float = 0.5
  black_is_zero: bool = True  # inside, as for MNIST in 2014: dropping an input means a black pixel
  norm: str = 'none'
  n_classes: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, labels: jax.Array | None, train: bool, axis_name: BatchAxis = None
  ) -> jax.Array:
    """[n, ...] and [n] to [n]."""
    x = images.reshape(images.shape[0], -1)
    x = (x + 1) / 2 if self.black_is_zero else x
    x = Dropout(self.input_dropout)(x, train, axis_name)
    for _ in range(self.depth):
      x = Maxout(self.width, self.pieces, self.first, self.norm, self.dtype)(x, train)
      x = Dropout(self.hidden_dropout)(x, train, axis_name)
    return Logit(self.n_classes, self.first, self.norm)(x, labels, train)


def marginals_bias(mean_image: jax.Array | None) -> Initializer | None:
  """The output bias that makes the untrained generator paint `mean_image`, in [0, 1], as 2014 did."""
  if mean_image is None:
    return None
  return begin_at(jax.scipy.special.logit(jnp.clip(mean_image, 1e-7, 1 - 1e-7)))


OFFER = SupportedOptions(
  g_norms=('none', 'batch'),
  d_norms=('none', 'spectral'),
  inits=('scaled', '2014', 'torch'),
  depth=True,
  dropout=True,
  points=True,
)


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """The 2014 networks; at their default widths 1200 and 240, those of the paper's MNIST run.

  `init` '2014' draws weights as released, U(+-.05) for G and U(+-.005) for D.
  """
  spec = resolve_spec('mlp', spec, OFFER)
  generator = Generator(
    tuple(spec.shape),
    spec.g_width or 1200,
    (nn.relu,) * (spec.g_depth or 2),
    output=half_tanh if len(spec.shape) == 3 else linear,  # points have no bounds
    first=first_weights(spec.init, 0.05),
    output_first=first_weights(spec.init, 0.05),
    output_bias=marginals_bias(spec.mean_image),
    norm=spec.g_norm,
    n_classes=spec.n_classes,
    dtype=compute_dtype(spec),
  )
  return generator, _maxout(spec, 240, black_is_zero=True)


def build_cifar_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """The fully connected networks of the paper's CIFAR-10 run: G relu 8000, sigmoid 8000, linear output.

  D is maxout 1600x5 twice. `init` '2014': U(+-.05), G's last layer U(+-.5), D's U(+-.005).
  """
  spec = resolve_spec('mlp_cifar_2014', spec, OFFER._replace(depth=False, g_norms=('none',)))
  released = spec.init == '2014'
  generator = Generator(
    tuple(spec.shape),
    spec.g_width or 8000,
    (nn.relu, nn.sigmoid),
    linear,
    first=first_weights(spec.init, 0.05),
    output_first=uniform(0.5) if released else first_weights(spec.init, 0.5),
    output_bias=None if spec.mean_image is None else begin_at(2 * spec.mean_image - 1),
    n_classes=spec.n_classes,
    dtype=compute_dtype(spec),
  )
  return generator, _maxout(spec, 1600, black_is_zero=False)


def _maxout(spec: NetworkSpec, width: int, *, black_is_zero: bool) -> Discriminator:
  return Discriminator(
    spec.d_width or width,
    spec.d_depth or 2,
    first=first_weights(spec.init, 0.005),
    input_dropout=0.2 if spec.d_dropout else 0.0,
    hidden_dropout=0.5 if spec.d_dropout else 0.0,
    black_is_zero=black_is_zero,
    norm=spec.d_norm,
    n_classes=spec.n_classes,
    dtype=compute_dtype(spec),
  )
