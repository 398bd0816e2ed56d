"""Maps one pure step over the devices of all processes: by pmap, by shard_map, or with sharded weights.

Arguments and results have no device axis: they are replicated, except arrays marked in `sharded_args`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from gan_jax.distributed import sharding
from gan_jax.distributed.randomness import AutoSharded
from gan_jax.distributed.sharding import Devices

StepFn = Callable[..., Any]
# By argument index, which arrays `sharding.shard_rows` has made: a tree of booleans, or a prefix of it.
ShardedArgs = Mapping[int, Any]
_NONE: ShardedArgs = {}


def pmap(
  fn: StepFn, devices: Devices, n_args: int, donate_argnum: int, sharded_args: ShardedArgs = _NONE
) -> StepFn:
  """Returns `fn(*args, axis_name=...)` run on every device by `jax.pmap`, with unmapped args and results.

  Args:
    fn: a pure function that differs between devices only by `lax.axis_index(axis_name)`.
    devices: the devices of all processes.
    n_args: number of positional arguments of `fn`.
    donate_argnum: index of the argument whose buffers are donated.
    sharded_args: the arrays of which each device gets its own rows; all others are replicated.
  """
  mapped = _pmapped(fn, devices, n_args, donate_argnum, sharded_args)
  n_local = len(devices) if jax.process_count() == 1 else len(sharding.local_devices(devices))
  call = _block_on_cpu(functools.partial(mapped, np.arange(n_local)), devices)
  if n_local == len(devices):
    return call
  # With several processes, pmap's results claim to lie on the local devices only.
  replicated = sharding.replicated_sharding(devices)
  to_global = lambda x: jax.make_array_from_single_device_arrays(
    x.shape, replicated, [shard.data for shard in x.addressable_shards]
  )
  return lambda *args: jax.tree.map(to_global, call(*args))


def _pmapped(
  fn: StepFn, devices: Devices, n_args: int, donate_argnum: int, sharded_args: ShardedArgs
) -> Any:
  axis_name = _axis_name(devices)
  axes = (0, *(_specs(sharded_args, i, 0, None) for i in range(n_args)))

  def on_device(device: jax.Array, *args: Any) -> Any:
    del device  # pmap requires a mapped argument
    return fn(*args, axis_name=axis_name)

  options: dict[str, Any] = {'donate_argnums': 1 + donate_argnum, 'devices': devices}
  return jax.pmap(on_device, sharding.DATA_AXIS, in_axes=axes, out_axes=None, **options)


def shard_map(
  fn: StepFn, devices: Devices, n_args: int, donate_argnum: int, sharded_args: ShardedArgs = _NONE
) -> StepFn:
  """Returns what `pmap` returns, made by `jax.jit(jax.shard_map(...))`; results are equal bit for bit.

  `check_vma=False`, as in pmap: by default gradients are already summed over the devices, and their
  `pmean` would be too large by the number of devices.
  """
  replicated, sharded = PartitionSpec(), PartitionSpec(sharding.DATA_AXIS)
  mapped = jax.jit(
    jax.shard_map(
      lambda *args: fn(*_wrap_keys(args), axis_name=_axis_name(devices)),
      mesh=sharding.data_mesh(devices),
      in_specs=tuple(_specs(sharded_args, i, sharded, replicated) for i in range(n_args)),
      out_specs=replicated,
      check_vma=False,
    ),
    donate_argnums=donate_argnum,
  )
  # A typed key on one device cannot be replicated over processes; its key data can.
  return _block_on_cpu(lambda *args: mapped(*_unwrap_keys(args)), devices)


def jit_sharded(
  fn: StepFn, devices: Devices, n_args: int, donate_argnum: int, sharded_args: ShardedArgs = _NONE
) -> StepFn:
  """Returns `fn` as one program on the global batch, the state sharded by `sharding.param_shardings`.

  The state is the donated argument and the first result. The compiler gathers weights where a layer needs
  them, and reduces gradients to the shard of their optimizer state (ZeRO: Rajbhandari et al., 2020).
  """
  del n_args, sharded_args  # the program sees whole arrays; their sharding is the arguments' own
  mapped = _jit_sharded(fn, devices, donate_argnum)
  return _block_on_cpu(lambda *args: mapped(*_unwrap_keys(args)), devices)


def _jit_sharded(fn: StepFn, devices: Devices, state_argnum: int) -> Any:
  mesh, constrain = sharding.data_mesh(devices), jax.lax.with_sharding_constraint
  shard = lambda state: constrain(state, sharding.param_shardings(state, devices))

  def sharded_step(*args: Any) -> Any:
    known = [shard(x) if i == state_argnum else x for i, x in enumerate(_wrap_keys(args))]
    state, others = fn(*known, axis_name=AutoSharded(mesh))
    return shard(state), constrain(others, sharding.replicated_sharding(devices))

  return jax.jit(sharded_step, donate_argnums=state_argnum)


STEP_MAPS: dict[str, Callable[..., StepFn]] = {'pmap': pmap, 'shard_map': shard_map}


def step_map_by_name(mapped: str) -> Callable[..., StepFn]:
  """Returns the function of `STEP_MAPS` called `mapped`, or `jit_sharded` for `SHARDED_PARAMS`."""
  return jit_sharded if mapped == sharding.SHARDED_PARAMS else STEP_MAPS[mapped]


class LowerableMap(NamedTuple):
  """Holds a mapped function to lower and trace, on devices that may be descriptions only."""

  mapped: Any
  leading_args: tuple[Any, ...]  # pmap's device numbers, before the arguments

  def lower(self, *args: Any) -> Any:
    """Returns `jax.stages.Lowered` for arguments or their shapes."""
    return self.mapped.lower(*self.leading_args, *args)

  def trace(self, *args: Any) -> Any:
    """Returns the jaxpr; under pmap its inner shapes are those of one device."""
    return jax.make_jaxpr(self.mapped)(*self.leading_args, *args).jaxpr


def lowerable_map(
  fn: StepFn,
  devices: Devices,
  n_args: int,
  donate_argnum: int,
  mapped: str = 'pmap',
  sharded_args: ShardedArgs = _NONE,
) -> LowerableMap:
  """Returns the function that `pmap` (or `jit_sharded`, by `mapped`) would call, to lower and compile only."""
  if mapped == sharding.SHARDED_PARAMS:
    return LowerableMap(_jit_sharded(fn, devices, donate_argnum), ())
  mapped_fn = _pmapped(fn, devices, n_args, donate_argnum, sharded_args)
  return LowerableMap(mapped_fn, (np.arange(len(devices)),))


def _specs(sharded_args: ShardedArgs, argnum: int, sharded: Any, replicated: Any) -> Any:
  """Returns, per array of an argument, the spec `sharded` or `replicated`."""
  marks = sharded_args.get(argnum, False)
  return jax.tree.map(lambda is_sharded: sharded if is_sharded else replicated, marks)


def _axis_name(devices: Devices) -> str | None:
  """Returns None for a single device: its program then equals that of one member of a sweep."""
  return sharding.DATA_AXIS if len(devices) > 1 else None


def _block_on_cpu(call: StepFn, devices: Devices) -> StepFn:
  """Returns `call`, made to wait for its results on several CPU devices.

  Virtual CPU devices share a few threads: queued programs with collectives can deadlock one another.
  """
  if len(devices) > 1 and devices[0].platform == 'cpu':
    return lambda *args: jax.block_until_ready(call(*args))
  return call


_KEY_TYPE = jax.dtypes.prng_key


class _Key:
  """Marks the data of a typed random key as a leaf of a tree."""

  def __init__(self, data: Any):
    self.data = data


jax.tree_util.register_pytree_node(_Key, lambda key: ((key.data,), None), lambda _, x: _Key(*x))


def _unwrap_keys(tree: Any) -> Any:
  is_key = lambda x: isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, _KEY_TYPE)
  return jax.tree.map(lambda x: _Key(np.asarray(jax.random.key_data(x))) if is_key(x) else x, tree)


def _wrap_keys(tree: Any) -> Any:
  is_data = lambda x: isinstance(x, _Key)
  wrap = lambda x: jax.random.wrap_key_data(x.data) if is_data(x) else x
  return jax.tree.map(wrap, tree, is_leaf=is_data)
