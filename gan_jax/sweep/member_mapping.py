"""Maps one train program over the members of a sweep: by lax.map, by vmap, or by one call for each member.

Arrays of members have a leading axis [members, ...], sharded over devices that never communicate.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = 'members'
EMPTY = -1  # a slot without a member

# 'map' computes the members of a device one after another: each equals its solo run bit for bit, costs its
# own k only, and nothing where it takes no steps. Best on a CPU.
# 'vmap' computes them at once, which fills an accelerator; every loop runs until its last member is done.
# 'turns' calls the program of a solo run for one member after another, on one device: for networks whose
# matrix products fill all cores of a CPU.
MAPPINGS = ('map', 'vmap', 'turns')


def map_members(run_steps: Callable[..., Any], devices: Sequence[jax.Device], mapping: str) -> Any:
  """Returns `run_steps(hyperparameters, key, state, data, n)` jitted for all members at once.

  The result takes (hyperparameters, seeds, states, data, n) and donates the states. All leaves are
  [members, ...], a multiple of the number of devices, except those of `data`, which every device holds.
  `run_steps` trains one member for n steps; `mapping` is 'map' or 'vmap'.
  """

  def on_device(values: Any, seeds: Any, states: Any, data: Any, n: Any) -> Any:
    def one(member: Any) -> Any:
      values, seed, state, steps = member
      return run_steps(values, jax.random.key(seed), state, data, steps)

    members = (values, seeds, states, n)
    return lax.map(one, members) if mapping == 'map' else jax.vmap(one)(members)

  mesh, sharded = Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS)
  specs = (sharded, sharded, sharded, PartitionSpec(), sharded)
  mapped = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=sharded, check_vma=False)
  return jax.jit(mapped, donate_argnums=2)


def call_in_turn(run_steps: Callable[..., Any]) -> Callable[..., Any]:
  """Returns a function like that of `map_members`, which calls `run_steps` for one member after another.

  States are a list of the members' states and not stacked arrays, which saves copies.
  """

  def call(hyperparameters: Any, seeds: Any, states: list[Any], data: Any, n: Any) -> Any:
    (hyperparameters, seeds, n), results = jax.device_get((hyperparameters, seeds, n)), []
    for i, state in enumerate(states):
      values = select_member(hyperparameters, i)
      results.append(run_steps(values, jax.random.key(seeds[i]), state, data, n[i]))
    new_states, means = zip(*results, strict=True)
    return list(new_states), jax.tree.map(lambda *x: jnp.stack(x), *means)

  return call


def select_member(tree: Any, i: int) -> Any:
  """Returns the arrays of member `i` of arrays [members, ...]."""
  return jax.tree.map(lambda x: x[i], tree)


def shard_members(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Puts arrays [members, ...] on devices, sharded along the axis of members."""
  return jax.device_put(tree, _sharding(devices, PartitionSpec(AXIS)))


def sharded_shapes(tree: Any, n: int, devices: Sequence[jax.Device]) -> Any:
  """Returns the shapes and shardings of arrays [n, ...] whose members have the shapes of `tree`."""
  sharding = _sharding(devices, PartitionSpec(AXIS))
  shape = lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype, sharding=sharding)
  return jax.tree.map(shape, tree)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Puts a copy of arrays on every device."""
  return jax.device_put(tree, _sharding(devices, PartitionSpec()))


def _sharding(devices: Sequence[jax.Device], spec: PartitionSpec) -> NamedSharding:
  return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), spec)


def assign_slots(costs: Sequence[float], n_devices: int, per_device: int) -> np.ndarray:
  """Returns the member index of each slot: int32 [n_devices * per_device], `EMPTY` in unused slots.

  Members go in order of falling cost to the device with the least total cost that has a slot left (Graham,
  1969), so that all devices end at about the same time. Raises ValueError where there are too few slots.
  """
  if len(costs) > n_devices * per_device:
    raise ValueError(f'{len(costs)} members do not fit into {n_devices} x {per_device} slots')
  slots: list[list[int]] = [[] for _ in range(n_devices)]
  load = [0.0] * n_devices
  for member in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
    free = (d for d in range(n_devices) if len(slots[d]) < per_device)
    device = min(free, key=lambda d: (load[d], d))
    slots[device].append(member)
    load[device] += costs[member]
  padded = [sorted(row) + [EMPTY] * (per_device - len(row)) for row in slots]
  return np.asarray(padded, np.int32).reshape(-1)


def steps_due(ends: np.ndarray, start: int, stop: int) -> np.ndarray:
  """Returns the steps that members with last steps `ends` [m] take from step `start` to `stop`: int32 [m]."""
  return np.maximum(np.minimum(ends, stop) - np.minimum(ends, start), 0).astype(np.int32)


def members_that_fit(needed: int, shared: int, members: int, free: int) -> int:
  """Returns how many of `members` fit into `free` bytes of a device, 0 for none.

  All of them need `needed` bytes, of which `shared` bytes do not depend on the number of members.
  """
  per_member = max(needed - shared, 1) / members
  return int(min(members, max(0, (free - shared) // per_member)))
