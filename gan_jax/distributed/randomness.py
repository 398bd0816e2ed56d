"""Random numbers that belong to an example of the global batch, wherever and whenever it is computed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class AutoSharded(NamedTuple):
  """Devices over which the compiler spreads one program, whose arrays are those of the global batch."""

  mesh: Mesh  # of one axis


class Microbatch(NamedTuple):
  """One of `of` equal parts of a device's examples, which come one after another."""

  whole: str | AutoSharded | None
  number: jax.Array
  of: int


# Whose examples a function sees: everybody's (None), those of one device of the mapped axis of this name, ...
BatchAxis = str | AutoSharded | Microbatch | None


def collective_axis_name(axis: BatchAxis) -> str | None:
  """The name by which collectives reach the other devices; None where there are none to be reached."""
  whole = axis.whole if isinstance(axis, Microbatch) else axis
  return whole if isinstance(whole, str) else None


def gather_weights(tree: Any, axis: BatchAxis) -> Any:
  """Weights whole on every device, of which each keeps a part only where the compiler spreads the program."""
  whole = axis.whole if isinstance(axis, Microbatch) else axis
  if not isinstance(whole, AutoSharded):
    return tree
  return lax.with_sharding_constraint(tree, NamedSharding(whole.mesh, PartitionSpec()))


def global_example_indices(n: int, axis: BatchAxis) -> jax.Array:
  """Positions in the global batch of these n examples, int32 [n]."""
  if isinstance(axis, Microbatch):
    first = axis.number * n
    if isinstance(axis.whole, str):
      first += lax.axis_index(axis.whole) * n * axis.of
    return _spread(first + jnp.arange(n), axis.whole)
  if isinstance(axis, str):
    return lax.axis_index(axis) * n + jnp.arange(n)
  return _spread(jnp.arange(n), axis)


def _spread(indices: jax.Array, whole: str | AutoSharded | None) -> jax.Array:
  if not isinstance(whole, AutoSharded):
    return indices
  spec = PartitionSpec(*whole.mesh.axis_names)
  return lax.with_sharding_constraint(indices, NamedSharding(whole.mesh, spec))


def example_keys(key: jax.Array, n: int, axis: BatchAxis) -> jax.Array:
  """One key for each of these n examples [n], the same however many devices share the batch."""
  return jax.vmap(lambda index: jax.random.fold_in(key, index))(global_example_indices(n, axis))
