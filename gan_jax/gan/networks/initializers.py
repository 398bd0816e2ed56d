"""Makes the initial weights and biases of layers, as functions of a layer's fan-in."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

Initializer = nn.initializers.Initializer
LayerInit = Callable[[int], tuple[Initializer, Initializer]]  # fan-in to (weights, biases)


def symmetric_uniform(bound: float) -> Initializer:
  """Returns an initializer that draws from U(-bound, bound)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def lecun_uniform(fan_in: int) -> tuple[Initializer, Initializer]:
  """Returns uniform weights of variance 1 / fan_in and zero biases (LeCun et al., 1998)."""
  return symmetric_uniform((3 / fan_in) ** 0.5), nn.initializers.zeros


def torch_uniform(fan_in: int) -> tuple[Initializer, Initializer]:
  """Returns weights and biases from U(+-1/sqrt(fan_in)), PyTorch's default for linear and convolution layers.

  PyTorch's transposed convolutions take the number of outputs for the fan-in; `fan_in` counts inputs.
  """
  return symmetric_uniform(fan_in**-0.5), symmetric_uniform(fan_in**-0.5)


def uniform_weights(bound: float) -> LayerInit:
  """Returns a layer init with weights from U(-bound, bound) for any fan-in, and zero biases."""
  return lambda fan_in: (symmetric_uniform(bound), nn.initializers.zeros)


def normal_weights(stddev: float) -> LayerInit:
  """Returns a layer init with weights from N(0, stddev^2) for any fan-in, and zero biases."""
  return lambda fan_in: (nn.initializers.normal(stddev), nn.initializers.zeros)


def layer_init_of(init: str, bound_2014: float) -> LayerInit:
  """Returns the layer init that a spec's `init` names; '2014' draws weights from U(+-bound_2014)."""
  if init == '2014':
    return uniform_weights(bound_2014)
  return {'scaled': lecun_uniform, 'torch': torch_uniform}[init]


def with_bias_init(layer_init: LayerInit, bias: Initializer | None) -> LayerInit:
  """Returns `layer_init` with `bias` as the initializer of biases, unchanged where `bias` is None."""
  return layer_init if bias is None else lambda fan_in: (layer_init(fan_in)[0], bias)


def mean_image_bias(
  mean_image: Array | None, activation: str, *, per_channel: bool
) -> Initializer | None:
  """Returns the output bias with which a generator of zero weights makes `mean_image`, or None for None.

  Args:
    mean_image: [*shape] in [0, 1].
    activation: of the output: 'linear', 'tanh', or 'half_tanh' (2 sigmoid(x) - 1).
    per_channel: whether the bias is [c], of the mean over pixels, instead of one per output.
  """
  if mean_image is None:
    return None
  mean = jnp.mean(mean_image, axis=(0, 1)) if per_channel else mean_image
  if activation == 'half_tanh':
    values = jax.scipy.special.logit(jnp.clip(mean, 1e-7, 1 - 1e-7))
  elif activation == 'tanh':
    values = jnp.arctanh(jnp.clip(2 * mean - 1, -0.99, 0.99))
  else:
    values = 2 * mean - 1
  # A closure, since the fields of a linen module must be hashable.
  return lambda key, shape, dtype=jnp.float32: jnp.ravel(values).astype(dtype)
