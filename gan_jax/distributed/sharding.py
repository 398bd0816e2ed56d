"""Where arrays lie: a copy on every device, each device's share of the rows, or a state in parts.

Of all devices, which several processes may have between them; what is said of one array holds for a tree.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS = 'data'
SHARDED_PARAMS = 'sharded'  # no map of its own, but what --shard_params makes of any


def data_mesh(devices: Sequence[jax.Device]) -> Mesh:
  """All devices in one row, the axis `AXIS`."""
  return Mesh(np.asarray(devices), (DATA_AXIS,))


def replicated_sharding(devices: Sequence[jax.Device]) -> NamedSharding:
  """A whole copy on every device."""
  return NamedSharding(data_mesh(devices), PartitionSpec())


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same arrays with a copy on every device, so that no call has to copy them again.

  Each process brings its own copies, which it promises to be equal to the others'.
  """
  sharding = replicated_sharding(devices)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  mine = local_devices(devices)
  return jax.tree.map(
    lambda x: jax.make_array_from_single_device_arrays(
      x.shape, sharding, [jax.device_put(x, device) for device in mine]
    ),
    tree,
  )


def local_devices(devices: Sequence[jax.Device]) -> list[jax.Device]:
  """Those of this process."""
  return [device for device in devices if device.process_index == jax.process_index()]


def local_row_indices(n: int, devices: Sequence[jax.Device]) -> np.ndarray:
  """Which of n rows that all devices share this process's devices have, in the order of `split`."""
  shares, here = np.split(np.arange(n), len(devices)), jax.process_index()
  return np.concatenate(
    [share for share, device in zip(shares, devices, strict=True) if device.process_index == here]
  )


def shard_rows(tree: Any, devices: Sequence[jax.Device], mapped: str) -> Any:
  """Arrays [rows, ...] of the host, each device's share of the rows on it, for `parts` of this map.

  In the order of `devices`; each process brings the rows of its own ones.
  """
  mine, shared = local_devices(devices), devices
  if mapped == 'pmap':  # which has an axis of devices, in each process of its own ones
    shared = mine
  sharding = NamedSharding(data_mesh(shared), PartitionSpec(DATA_AXIS))

  def laid(x: np.ndarray) -> jax.Array:
    shares = np.split(x, len(mine))
    if mapped == 'pmap':
      shares = [share[None] for share in shares]
    n, *sides = shares[0].shape
    placed = [jax.device_put(*pair) for pair in zip(shares, mine, strict=True)]
    return jax.make_array_from_single_device_arrays((n * len(shared), *sides), sharding, placed)

  return jax.tree.map(laid, tree)


def allgather_to_host(tree: Any) -> Any:
  """Arrays that are cut over devices of several processes, on the host of each of them.

  One array after the other, so that no device ever holds more than one of them whole.
  """
  return jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)


def local_copy(tree: Any) -> Any:
  """This process's first copy of replicated arrays, for work that needs one device."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def eval_copy(tree: Any, mapped: str) -> Any:
  """Arrays of every device, for work besides the step: one copy.

  Where the state lies in parts over the devices of one process, that work spreads over them too, and needs
  what it is given on all of them.
  """
  return tree if mapped == SHARDED_PARAMS and jax.process_count() == 1 else local_copy(tree)


def param_shardings(state: Any, devices: Sequence[jax.Device]) -> Any:
  """How each array of `state` is cut: along its longest side that the devices divide, or not at all."""
  across, n = data_mesh(devices), len(devices)

  def cut(x: Any) -> NamedSharding:
    sides = [side if side % n == 0 else 0 for side in x.shape]
    if not any(sides):
      return NamedSharding(across, PartitionSpec())
    at = sides.index(max(sides))
    return NamedSharding(
      across, PartitionSpec(*(DATA_AXIS if i == at else None for i in range(at + 1)))
    )

  return jax.tree.map(cut, state)


def sharded_arg_shapes(
  state: Any, data: Any, key: Any, devices: Sequence[jax.Device]
) -> tuple[Any, Any, Any]:
  """Shapes of what `sharded` is called with, and where each of them lies that does not say so itself."""
  place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  whole = lambda tree: jax.tree.map(
    lambda x: place(x, x.sharding or replicated_sharding(devices)), tree
  )
  return jax.tree.map(place, state, param_shardings(state, devices)), whole(data), whole(key)


def row_sharded_shapes(tree: Any, devices: Sequence[jax.Device], mapped: str) -> Any:
  """What `split` makes, in one process, of arrays of which each device has these rows: shapes only."""
  n = len(devices)
  if mapped == 'pmap':
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), tree)
  sharding = NamedSharding(data_mesh(devices), PartitionSpec(DATA_AXIS))
  grown = lambda x: jax.ShapeDtypeStruct((n * x.shape[0], *x.shape[1:]), x.dtype, sharding=sharding)
  return jax.tree.map(grown, tree)
