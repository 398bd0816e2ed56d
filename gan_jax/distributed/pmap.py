"""One pure step on one device or on all of them, of all processes; this module knows no GAN.

Arrays that go in and come out are the same on every device: no device axis, no first element to take.
The exception are arguments of which `parts` says that each device sees its share of the rows only.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from gan_jax.distributed import sharding
from gan_jax.distributed.randomness import AutoSharded

Call = Callable[..., Any]
# By the number of an argument, which of its arrays `placement.split` has made: a tree of booleans, or a prefix.
ShardedArgs = Mapping[int, Any]
_NO_PARTS: ShardedArgs = {}


def pmap(
  fn: Call,
  devices: Sequence[jax.Device],
  n_args: int,
  donate_argnum: int,
  parts: ShardedArgs = _NO_PARTS,
) -> Call:
  """`fn(*args, axis_name=...)` on every device: arguments and results unmapped, one of them donated.

  The devices tell themselves apart by `lax.axis_index` alone, so the state has no device axis and a
  checkpoint can be read on any number of devices. `devices` are those of all processes.
  """
  mapped = _pmapped(fn, devices, n_args, donate_argnum, parts)
  here = len(devices) if jax.process_count() == 1 else len(sharding.local_devices(devices))
  call = _block_on_cpu(functools.partial(mapped, np.arange(here)), devices)
  if here == len(devices):
    return call
  # What pmap hands over in one of many processes claims to lie on this one's devices only.
  layout = sharding.replicated_sharding(devices)
  whole = lambda x: jax.make_array_from_single_device_arrays(
    x.shape, layout, [shard.data for shard in x.addressable_shards]
  )
  return lambda *args: jax.tree.map(whole, call(*args))


def _pmapped(
  fn: Call,
  devices: Sequence[jax.Device],
  n_args: int,
  donate_argnum: int,
  parts: ShardedArgs = _NO_PARTS,
) -> Any:
  axis_name = _axis_name(devices)
  axes = [_specs(parts, i, 0, None) for i in range(n_args)]

  def on_device(device: jax.Array, *args: Any) -> Any:
    del device  # pmap wants one mapped argument
    return fn(*args, axis_name=axis_name)

  return jax.pmap(
    on_device,
    sharding.DATA_AXIS,
    in_axes=(0, *axes),
    out_axes=None,
    donate_argnums=1 + donate_argnum,
    devices=devices,
  )


def shard_map(
  fn: Call,
  devices: Sequence[jax.Device],
  n_args: int,
  donate_argnum: int,
  parts: ShardedArgs = _NO_PARTS,
) -> Call:
  """The twin of `pmap` in the words that outlive it, equal to it bit for bit.

  `check_vma=False`, as in pmap: by default gradients would come already summed over the devices, and
  their mean would be too large by the number of these.
  """
  every, share = PartitionSpec(), PartitionSpec(sharding.DATA_AXIS)
  mapped = jax.jit(
    jax.shard_map(
      lambda *args: fn(*_wrap(args), axis_name=_axis_name(devices)),
      mesh=sharding.data_mesh(devices),
      in_specs=tuple(_specs(parts, i, share, every) for i in range(n_args)),
      out_specs=every,
      check_vma=False,
    ),
    donate_argnums=donate_argnum,
  )
  # A typed key that lies on one device cannot be spread over those of other processes: its numbers can.
  return _block_on_cpu(lambda *args: mapped(*_unwrap(args)), devices)


def jit_sharded(
  fn: Call,
  devices: Sequence[jax.Device],
  n_args: int,
  donate_argnum: int,
  parts: ShardedArgs = _NO_PARTS,
) -> Call:
  """The same step where each device keeps a part of the state only, as `placement.partition` cuts it.

  One program on the global batch, which the compiler spreads: it gathers weights where a layer needs them,
  and sums gradients to where their part of the optimizer lies (Rajbhandari et al., 2020: ZeRO, FSDP).
  """
  del (
    n_args,
    parts,
  )  # arrays that are split are whole ones to this program, and lie in parts already
  mapped = jax.jit(_sharded(fn, devices, donate_argnum), donate_argnums=donate_argnum)
  return _block_on_cpu(lambda *args: mapped(*_unwrap(args)), devices)


def _sharded(fn: Call, devices: Sequence[jax.Device], argnum: int) -> Call:
  mesh = sharding.data_mesh(devices)

  def spread(*args: Any) -> Any:
    cut = lambda state: jax.lax.with_sharding_constraint(
      state, sharding.param_shardings(state, devices)
    )
    known = [cut(arg) if i == argnum else arg for i, arg in enumerate(_wrap(args))]
    state, others = fn(*known, axis_name=AutoSharded(mesh))
    return cut(state), jax.lax.with_sharding_constraint(
      others, sharding.replicated_sharding(devices)
    )

  return spread


STEP_MAPS: dict[str, Callable[..., Call]] = {
  'pmap': pmap,
  'shard_map': shard_map,
}


def step_map_by_name(mapped: str) -> Callable[..., Call]:
  """The map of this name, or `sharded`."""
  return jit_sharded if mapped == sharding.SHARDED_PARAMS else STEP_MAPS[mapped]


class LowerableMap(NamedTuple):
  """A mapped function that is looked at and not called: on devices that may not exist."""

  mapped: Any
  first: tuple[Any, ...]  # what pmap has before the arguments

  def lower(self, *args: Any) -> Any:
    """What the compiler is given."""
    return self.mapped.lower(*self.first, *args)

  def trace(self, *args: Any) -> Any:
    """The trace, with the shapes of one device inside."""
    return jax.make_jaxpr(self.mapped)(*self.first, *args).jaxpr


def lowerable_map(
  fn: Call,
  devices: Sequence[jax.Device],
  n_args: int,
  donate_argnum: int,
  mapped: str = 'pmap',
  parts: ShardedArgs = _NO_PARTS,
) -> LowerableMap:
  """What `pmap` or `sharded` would call on these devices, for a look."""
  if mapped == sharding.SHARDED_PARAMS:
    return LowerableMap(
      jax.jit(_sharded(fn, devices, donate_argnum), donate_argnums=donate_argnum), ()
    )
  return LowerableMap(
    _pmapped(fn, devices, n_args, donate_argnum, parts), (np.arange(len(devices)),)
  )


def _specs(parts: ShardedArgs, argnum: int, share: Any, every: Any) -> Any:
  """For each array of an argument `share` where it is split, else `every`."""
  return jax.tree.map(lambda is_split: share if is_split else every, parts.get(argnum, False))


def _axis_name(devices: Sequence[jax.Device]) -> str | None:
  """None for a single device, which has nobody to agree with: a run then computes what a population does."""
  return sharding.DATA_AXIS if len(devices) > 1 else None


def _block_on_cpu(call: Call, devices: Sequence[jax.Device]) -> Call:
  """`call`, which on many CPU devices returns when it is done.

  Virtual CPU devices share a few threads: programs with collectives that queue up behind one another
  can starve each other for good, so let each end before the next begins.
  """
  if len(devices) > 1 and devices[0].platform == 'cpu':
    return lambda *args: jax.block_until_ready(call(*args))
  return call


class _Key:
  """Marks the numbers of a typed key among the leaves of a tree."""

  def __init__(self, numbers: Any):
    self.numbers = numbers


jax.tree_util.register_pytree_node(_Key, lambda key: ((key.numbers,), None), lambda _, x: _Key(*x))


def _unwrap(tree: Any) -> Any:
  is_key = lambda x: (
    isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
  )
  return jax.tree.map(lambda x: _Key(np.asarray(jax.random.key_data(x))) if is_key(x) else x, tree)


def _wrap(tree: Any) -> Any:
  return jax.tree.map(
    lambda x: jax.random.wrap_key_data(x.numbers) if isinstance(x, _Key) else x,
    tree,
    is_leaf=lambda x: isinstance(x, _Key),
  )
