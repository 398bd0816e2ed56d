"""Runs of one program side by side: one compiled call trains them all, each as if it were alone.

Every array has the members as its leading axis [members, ...], spread over devices that never speak
with one another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = 'members'
EMPTY = -1  # a place without a member

# How the members of one device are computed. One after another they equal their solo runs bit for bit, each
# pays for its own k only, and one that takes no steps costs nothing: best on a CPU. At once they fill an
# accelerator, and every loop runs until its last member is done.
# Large products fill all cores by themselves: there members take turns at the program of a solo run.
HOW = ('map', 'vmap', 'turns')


def program(run: Callable[..., Any], devices: Sequence[jax.Device], how: str) -> Any:
  """`run(numbers, key, state, data, n)` for members: (numbers, seeds, states, data, n), states donated.

  All leaves are [members, ...], their number a multiple of the devices', except those of `data`, of
  which every device has a copy.
  """

  def on_device(numbers: Any, seeds: jax.Array, states: Any, data: Any, n: jax.Array) -> Any:
    def one(member: Any) -> Any:
      its, seed, state, steps = member
      return run(its, jax.random.key(seed), state, data, steps)

    members = (numbers, seeds, states, n)
    return lax.map(one, members) if how == 'map' else jax.vmap(one)(members)

  apart, every = PartitionSpec(AXIS), PartitionSpec()
  return jax.jit(
    jax.shard_map(
      on_device,
      mesh=Mesh(np.asarray(devices), (AXIS,)),
      in_specs=(apart, apart, apart, every, apart),
      out_specs=apart,
      check_vma=False,
    ),
    donate_argnums=2,
  )


def in_turn(alone: Callable[..., Any]) -> Callable[..., Any]:
  """`alone(numbers, key, state, data, n)` called for one member after another, as `program` would be.

  States are a list with one for each member, which spares them copies.
  """

  def call(numbers: Any, seeds: Any, states: list[Any], data: Any, n: Any) -> Any:
    numbers, seeds, n = jax.device_get((numbers, seeds, n))
    found, means = [], []
    for i, state in enumerate(states):
      mine = member(numbers, i)
      state, mean = alone(mine, jax.random.key(seeds[i]), state, data, n[i])
      found.append(state)
      means.append(mean)
    return found, jax.tree.map(lambda *x: jnp.stack(x), *means)

  return call


def member(tree: Any, i: int) -> Any:
  """What arrays [members, ...] hold of one of them."""
  return jax.tree.map(lambda x: x[i], tree)


def spread(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Arrays [members, ...] with each device's share on that device."""
  return jax.device_put(tree, _sharding(devices, PartitionSpec(AXIS)))


def shapes(tree: Any, n: int, devices: Sequence[jax.Device]) -> Any:
  """What `spread` would give for n members that each have the arrays of `tree`."""
  sharding = _sharding(devices, PartitionSpec(AXIS))
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype, sharding=sharding), tree
  )


def copied(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Arrays with a copy on every device."""
  return jax.device_put(tree, _sharding(devices, PartitionSpec()))


def _sharding(devices: Sequence[jax.Device], spec: PartitionSpec) -> NamedSharding:
  return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), spec)


def place(costs: Sequence[float], n_devices: int, rows: int) -> np.ndarray:
  """Which member sits where: int32 [n_devices * rows], `EMPTY` where there are fewer members.

  The dearest first, each to the device with the least to do that has a row left (Graham, 1969), so
  that devices which work at the same time also end at about the same time.
  """
  if len(costs) > n_devices * rows:
    raise ValueError(f'{len(costs)} members do not fit into {n_devices} x {rows} places')
  seats: list[list[int]] = [[] for _ in range(n_devices)]
  load = [0.0] * n_devices
  for member in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
    device = min((d for d in range(n_devices) if len(seats[d]) < rows), key=lambda d: (load[d], d))
    seats[device].append(member)
    load[device] += costs[member]
  padded = [sorted(row) + [EMPTY] * (rows - len(row)) for row in seats]
  return np.asarray(padded, np.int32).reshape(-1)


def steps_due(ends: np.ndarray, start: int, stop: int) -> np.ndarray:
  """Steps that members with these last steps [m] take between two steps of the population: int32 [m]."""
  return np.maximum(np.minimum(ends, stop) - np.minimum(ends, start), 0).astype(np.int32)


def bytes_on_device(compiled: Any) -> int:
  """What a compiled program needs at once on each device: arguments, results and everything between."""
  sizes = compiled.memory_analysis()
  return int(
    sizes.argument_size_in_bytes
    + sizes.output_size_in_bytes
    - sizes.alias_size_in_bytes
    + sizes.temp_size_in_bytes
    + sizes.generated_code_size_in_bytes
  )


def rows_that_fit(needed: int, fixed: int, rows: int, free: int) -> int:
  """How many of `rows` members fit into `free` bytes of a device, 0 for none.

  `needed` bytes are those of all of them together, of which `fixed` are there once, however many they are.
  """
  per_member = max(needed - fixed, 1) / rows
  return int(min(rows, max(0, (free - fixed) // per_member)))


def finite(tree: Any) -> jax.Array:
  """Whether no array of a member holds an infinity or a NaN: bool [members]."""
  found = [
    jnp.isfinite(x).reshape(x.shape[0], -1).all(axis=1) for x in jax.tree.leaves(tree) if x.size
  ]
  return jnp.stack(found).all(axis=0)
