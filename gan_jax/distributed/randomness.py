"""Derives random keys per example of the global batch, equal on any number of devices and microbatches."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class AutoSharded(NamedTuple):
  """Marks a function of the whole global batch that the compiler partitions over a mesh of one axis."""

  mesh: Mesh


class Microbatch(NamedTuple):
  """Marks a function of the `number`-th of `n_microbatches` equal parts of the examples of `axis`."""

  axis: str | AutoSharded | None
  number: jax.Array
  n_microbatches: int


# The examples that a function sees: the whole batch on one device (None), one device's share under pmap or
# shard_map (the mapped axis's name), the whole batch sharded by the compiler, or a microbatch of any of them.
BatchAxis = str | AutoSharded | Microbatch | None


def _without_microbatch(axis: BatchAxis) -> str | AutoSharded | None:
  return axis.axis if isinstance(axis, Microbatch) else axis


def collective_axis_name(axis: BatchAxis) -> str | None:
  """Returns the axis name for collectives such as `lax.pmean`; None where no collective is needed."""
  mapped = _without_microbatch(axis)
  return mapped if isinstance(mapped, str) else None


def gather_weights(tree: Any, axis: BatchAxis) -> Any:
  """Replicates sharded weights on every device of an `AutoSharded` program; otherwise returns `tree`."""
  mapped = _without_microbatch(axis)
  if not isinstance(mapped, AutoSharded):
    return tree
  return lax.with_sharding_constraint(tree, NamedSharding(mapped.mesh, PartitionSpec()))


def global_example_indices(n: int, axis: BatchAxis) -> jax.Array:
  """Returns the positions in the global batch of the n examples that a function sees, int32 [n]."""
  if isinstance(axis, Microbatch):
    first = axis.number * n
    if isinstance(axis.axis, str):
      first += lax.axis_index(axis.axis) * n * axis.n_microbatches
    return _shard_over_mesh(first + jnp.arange(n), axis.axis)
  if isinstance(axis, str):
    return lax.axis_index(axis) * n + jnp.arange(n)
  return _shard_over_mesh(jnp.arange(n), axis)


def _shard_over_mesh(indices: jax.Array, axis: str | AutoSharded | None) -> jax.Array:
  if not isinstance(axis, AutoSharded):
    return indices
  spec = PartitionSpec(*axis.mesh.axis_names)
  return lax.with_sharding_constraint(indices, NamedSharding(axis.mesh, spec))


def example_keys(key: jax.Array, n: int, axis: BatchAxis) -> jax.Array:
  """Returns one key per example [n]: `key` folded with its position in the global batch."""
  return jax.vmap(lambda index: jax.random.fold_in(key, index))(global_example_indices(n, axis))
