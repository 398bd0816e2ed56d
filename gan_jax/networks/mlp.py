"""The fully connected pair of Goodfellow et al. (2014): ReLU generator, maxout discriminator with dropout."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import Dropout, symmetric_uniform


class Maxout(nn.Module):
  """Largest of `pieces` linear maps per unit (Goodfellow et al., 2013)."""

  units: int
  pieces: int
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[n, inputs] to [n, units]."""
    x = nn.Dense(self.units * self.pieces, kernel_init=self.kernel_init)(x)
    return x.reshape(*x.shape[:-1], self.pieces, self.units).max(axis=-2)


class Generator(nn.Module):
  """Latents to images in [-1, 1] through ReLU layers."""

  shape: Sequence[int]
  width: int = 1200
  depth: int = 2
  kernel_init: nn.initializers.Initializer = symmetric_uniform(0.05)
  output_bias_init: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, latents: jax.Array, train: bool, axis_name: str | None = None) -> jax.Array:
    """[n, size] to [n, *shape]."""
    del train, axis_name  # no dropout and no batch statistics
    x = latents
    for _ in range(self.depth):
      x = nn.relu(nn.Dense(self.width, kernel_init=self.kernel_init)(x))
    x = nn.Dense(
      math.prod(self.shape), kernel_init=self.kernel_init, bias_init=self.output_bias_init
    )(x)
    # 2 sigmoid(x) - 1: the sigmoid output of 2014, on images that run from -1 to 1 here.
    return jnp.tanh(x / 2).reshape(-1, *self.shape)


class Discriminator(nn.Module):
  """Images in [-1, 1] to one logit each, through maxout layers with dropout on every layer's input."""

  width: int = 240
  depth: int = 2
  pieces: int = 5
  kernel_init: nn.initializers.Initializer = symmetric_uniform(0.005)
  input_dropout: float = 0.2
  hidden_dropout: float = 0.5

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, axis_name: str | None = None) -> jax.Array:
    """[n, ...] to [n]."""
    # Black is 0 inside, as in 2014: there, dropping an input means a black pixel.
    x = (images.reshape(images.shape[0], -1) + 1) / 2
    x = Dropout(self.input_dropout)(x, train, axis_name)
    for _ in range(self.depth):
      x = Maxout(self.width, self.pieces, self.kernel_init)(x)
      x = Dropout(self.hidden_dropout)(x, train, axis_name)
    return nn.Dense(1, kernel_init=self.kernel_init)(x)[:, 0]


def marginals_bias(mean_image: jax.Array) -> nn.initializers.Initializer:
  """The output bias that makes the untrained generator paint `mean_image`, in [0, 1], as 2014 did."""
  mean = jnp.clip(jnp.ravel(mean_image), 1e-7, 1 - 1e-7)
  return lambda key, shape, dtype=jnp.float32: jnp.asarray(jax.scipy.special.logit(mean), dtype)


def pair(
  shape: Sequence[int],
  *,
  g_width: int,
  d_width: int,
  init: str,
  d_dropout: bool,
  mean_image: jax.Array | None,
) -> tuple[Generator, Discriminator]:
  """The 2014 networks for images of `shape`; at widths 1200 and 240, those of the paper's MNIST run.

  `init` '2014' draws weights as released, U(+-.05) for G and U(+-.005) for D; 'scaled' by fan-in.
  """
  scaled = nn.initializers.lecun_uniform()
  released = init == '2014'
  generator = Generator(
    tuple(shape),
    g_width,
    kernel_init=symmetric_uniform(0.05) if released else scaled,
    output_bias_init=nn.initializers.zeros if mean_image is None else marginals_bias(mean_image),
  )
  discriminator = Discriminator(
    d_width,
    kernel_init=symmetric_uniform(0.005) if released else scaled,
    input_dropout=0.2 if d_dropout else 0.0,
    hidden_dropout=0.5 if d_dropout else 0.0,
  )
  return generator, discriminator
