"""Places trees of arrays on the devices of all processes: replicated, or sharded by rows or by weights."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Devices = Sequence[jax.Device]
DATA_AXIS = 'data'
SHARDED_PARAMS = 'sharded'  # beside the names in `pmap.STEP_MAPS`: the step of --shard_params


def data_mesh(devices: Devices) -> Mesh:
  """Returns a mesh of all devices along the single axis `DATA_AXIS`."""
  return Mesh(np.asarray(devices), (DATA_AXIS,))


def replicated_sharding(devices: Devices) -> NamedSharding:
  """Returns the sharding of an array with a full copy on every device."""
  return NamedSharding(data_mesh(devices), PartitionSpec())


def replicate(tree: Any, devices: Devices) -> Any:
  """Copies arrays to every device; with several processes, each must pass equal arrays."""
  sharding = replicated_sharding(devices)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  copies = lambda x: [jax.device_put(x, device) for device in local_devices(devices)]
  join = jax.make_array_from_single_device_arrays
  return jax.tree.map(lambda x: join(x.shape, sharding, copies(x)), tree)


def local_devices(devices: Devices) -> list[jax.Device]:
  """Returns the devices of this process among `devices`."""
  return [device for device in devices if device.process_index == jax.process_index()]


def local_row_indices(n: int, devices: Devices) -> np.ndarray:
  """Returns which of n rows, sharded over `devices`, this process passes to `shard_rows`."""
  shards = zip(np.split(np.arange(n), len(devices)), devices, strict=True)
  process = jax.process_index()
  return np.concatenate([rows for rows, device in shards if device.process_index == process])


def shard_rows(tree: Any, devices: Devices, mapped: str) -> Any:
  """Shards host arrays along their rows over the devices, as the step map called `mapped` takes them.

  Args:
    tree: arrays [local rows, ...]: only the rows of this process's devices, in the order of `devices`.
    devices: the devices of all processes.
    mapped: 'pmap', which takes an axis of this process's devices in front, or another step map.
  """
  local = local_devices(devices)
  sharing = local if mapped == 'pmap' else devices
  sharding = NamedSharding(data_mesh(sharing), PartitionSpec(DATA_AXIS))

  def shard(x: np.ndarray) -> jax.Array:
    shards = np.split(x, len(local))
    if mapped == 'pmap':
      shards = [rows[None] for rows in shards]
    n, *sides = shards[0].shape
    placed = [jax.device_put(*pair) for pair in zip(shards, local, strict=True)]
    return jax.make_array_from_single_device_arrays((n * len(sharing), *sides), sharding, placed)

  return jax.tree.map(shard, tree)


def allgather_to_host(tree: Any) -> Any:
  """Returns arrays sharded over several processes as full NumPy arrays in each, one gathered at a time."""
  return jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)


def local_copy(tree: Any) -> Any:
  """Returns the copy of replicated arrays on the first device of this process."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def eval_copy(tree: Any, mapped: str) -> Any:
  """Returns arrays placed for evaluation: on one device, or as they are where one process shards weights.

  Programs beside the step then run on all devices that hold shards, and need their inputs on each.
  """
  return tree if mapped == SHARDED_PARAMS and jax.process_count() == 1 else local_copy(tree)


def param_shardings(state: Any, devices: Devices) -> Any:
  """Returns each array's sharding: split along the longest axis that the devices divide, else replicated."""
  mesh, n = data_mesh(devices), len(devices)

  def sharding(x: Any) -> NamedSharding:
    sides = [side if side % n == 0 else 0 for side in x.shape]
    if not any(sides):
      return NamedSharding(mesh, PartitionSpec())
    axis = sides.index(max(sides))
    names = (DATA_AXIS if i == axis else None for i in range(axis + 1))
    return NamedSharding(mesh, PartitionSpec(*names))

  return jax.tree.map(sharding, state)


def sharded_arg_shapes(state: Any, data: Any, key: Any, devices: Devices) -> tuple[Any, Any, Any]:
  """Returns the `ShapeDtypeStruct`s of (state, data, key) as arguments of a step made by `pmap.jit_sharded`.

  The state is sharded by `param_shardings`; data and key keep their sharding or are replicated.
  """
  struct = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  kept = lambda x: struct(x, x.sharding or replicated_sharding(devices))
  state = jax.tree.map(struct, state, param_shardings(state, devices))
  return state, jax.tree.map(kept, data), jax.tree.map(kept, key)


def row_sharded_shapes(tree: Any, devices: Devices, mapped: str) -> Any:
  """Returns the `ShapeDtypeStruct`s that `shard_rows` would make of arrays with these rows per device."""
  n = len(devices)
  if mapped == 'pmap':
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), tree)
  sharding = NamedSharding(data_mesh(devices), PartitionSpec(DATA_AXIS))
  rows = lambda x: (n * x.shape[0], *x.shape[1:])
  struct = lambda x: jax.ShapeDtypeStruct(rows(x), x.dtype, sharding=sharding)
  return jax.tree.map(struct, tree)
