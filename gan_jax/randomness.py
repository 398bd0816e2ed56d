"""Random numbers that belong to an example of the global batch, wherever that example is computed."""

import jax
import jax.numpy as jnp
from jax import lax


def global_indices(n: int, axis_name: str | None) -> jax.Array:
  """Positions in the global batch of this device's n examples, int32 [n]."""
  first = 0 if axis_name is None else lax.axis_index(axis_name) * n
  return first + jnp.arange(n)


def example_keys(key: jax.Array, n: int, axis_name: str | None) -> jax.Array:
  """One key for each of this device's n examples [n], the same however many devices share the batch."""
  return jax.vmap(lambda index: jax.random.fold_in(key, index))(global_indices(n, axis_name))
