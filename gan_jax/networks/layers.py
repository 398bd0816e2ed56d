"""Layers that more than one network uses."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.randomness import example_keys


class Dropout(nn.Module):
  """Zero each input with probability `rate` and scale the rest (Srivastava et al., 2014).

  The mask is keyed by the example's place in the global batch, so it does not depend on how many
  devices share that batch. Needs the RNG stream 'dropout' when training.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, axis_name: str | None = None) -> jax.Array:
    """[n, ...] to [n, ...]; the identity unless `train`."""
    if not train or self.rate == 0:
      return x
    keys = example_keys(self.make_rng('dropout'), x.shape[0], axis_name)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - self.rate), 0)


def symmetric_uniform(bound: float) -> nn.initializers.Initializer:
  """Weights from U(-bound, bound)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
