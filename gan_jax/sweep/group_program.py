"""Compiles one program for a group of members whose settings differ in dynamic hyperparameters only."""

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import dynamic_hyperparameters, validation
from gan_jax.config.run_config import Config
from gan_jax.distributed import device_memory, pmap
from gan_jax.evaluation.tasks import Task
from gan_jax.gan.gan import Gan, GanState
from gan_jax.gan.train_step import Hyperparameters, make_run_steps
from gan_jax.sweep import member_mapping
from gan_jax.training import nonfinite, train_spec

_MEMORY_SHARE = 0.8  # of the free bytes of a device that a group may use
_TRIAL_STEPS = 20  # training steps by which 'map' and 'vmap' are timed
_LARGE = 2**18  # parameters of G and D, above which one run fills the cores of a CPU


class Member(NamedTuple):
  """Holds the name of a run of a sweep, which is also a name of a file, and its settings."""

  name: str
  config: Config


@dataclasses.dataclass(frozen=True)
class GroupProgram:
  """Holds a compiled program for a group of members, with its data on the devices."""

  task: Task
  gan: Gan  # of one member: all have the same networks
  devices: Sequence[jax.Device]
  mapping: str  # one of member_mapping.MAPPINGS
  per_device: int  # members of a device
  data: Any
  # (hyperparameters, seeds, states, data, n) -> (states, mean metrics); None before compilation
  call: Any = None

  @property
  def capacity(self) -> int:
    """Returns the largest number of members that train at the same time."""
    return self.per_device * len(self.devices)

  def to_devices(self, states: GanState) -> Any:
    """Returns states [members, ...] of the host in the form that `call` takes."""
    if self.mapping != 'turns':
      return member_mapping.shard_members(states, self.devices)
    n = len(jax.tree.leaves(states)[0])
    members = [member_mapping.select_member(states, i) for i in range(n)]
    return jax.device_put(members, self.devices[0])

  def to_host(self, states: Any) -> GanState:
    """Returns states that `call` returned as arrays [members, ...] on the host."""
    states = jax.device_get(states)
    return jax.tree.map(lambda *x: np.stack(x), *states) if self.mapping == 'turns' else states

  def all_finite(self, states: Any) -> np.ndarray:
    """Returns whether the state of each member is free of infinities and NaN: bool [members]."""
    if self.mapping == 'turns':
      return np.asarray([jax.device_get(nonfinite.all_finite(state)) for state in states])
    return np.asarray(_all_finite(states))


_all_finite = jax.jit(jax.vmap(nonfinite.all_finite))


def group_by_program(members: Sequence[Member], mapping: str) -> list[list[Member]]:
  """Returns the members that share a compiled program, group by group, in order.

  Where `mapping` is 'vmap' or 'measure' a group has one k, because all its members cost as much as the largest.
  """
  groups: dict[Any, list[Member]] = {}
  for member in members:
    key: Any = dynamic_hyperparameters.program_key(member.config)
    if mapping in ('vmap', 'measure'):
      key = (key, member.config.k)
    groups.setdefault(key, []).append(member)
  return list(groups.values())


def updates_per_step(config: Config) -> float:
  """Returns the updates of both players in a training step; 3 where a controller sets k."""
  return 1 + (2.0 if config.k == 'auto' else float(config.k))


def compile_group_program(
  members: Sequence[Member],
  task: Task,
  devices: Sequence[jax.Device],
  mapping: str,
  free: int | None = None,
) -> GroupProgram:
  """Compiles the program of a group for as many members at a time as fit into memory.

  Members are sharded over `devices`, each with `free` bytes, by default those that the devices report. Raises
  UserError where not even one member fits.

  `mapping` is one of MAPPINGS; 'measure' for the faster of 'map' and 'vmap'; 'size' for 'turns' where the
  networks are large, else 'map'. The choice changes results in the last bits, so it is made once.
  """
  config = members[0].config
  validation.check_batch_size(config, task.n_train)
  gan = train_spec.build_train_spec(config, task).gan
  if mapping == 'size':
    _, state = _member_shapes(config, task)
    n_weights = sum(x.size for x in jax.tree.leaves((state.g.params, state.d.params)))
    mapping = 'turns' if n_weights > _LARGE else 'map'
  devices = devices[:1] if mapping == 'turns' else devices
  data = task.training_data(held_out=gan.ratio_controller is not None)
  data = member_mapping.replicate(data if gan.n_classes else data.without_labels(), devices)
  per_device = math.ceil(len(members) / len(devices))
  free = device_memory.free_device_bytes(devices) if free is None else free
  room = int(_MEMORY_SHARE * free)
  compiled = lambda mapping: (_compile_turns if mapping == 'turns' else _compile)(
    GroupProgram(task, gan, devices, mapping, per_device, data), config, room
  )
  if mapping == 'measure':
    return min(map(compiled, ('map', 'vmap')), key=lambda each: _seconds_per_member(each, members))
  return compiled(mapping)


def _compile(program: GroupProgram, config: Config, room: int) -> GroupProgram:
  """Returns the program compiled for as many members as fit into `room` bytes; raises UserError for none."""
  step = make_run_steps(train_spec.train_spec_fn(config, program.task))
  devices, per_device = program.devices, program.per_device
  mapped = member_mapping.map_members(step, devices, program.mapping)
  values, state = _member_shapes(config, program.task)
  int32 = jax.ShapeDtypeStruct((), jnp.int32)
  member = (values, int32, state, int32)
  shared = sum(x.nbytes for x in jax.tree.leaves(program.data)) // len(devices)
  while per_device:
    shapes = member_mapping.sharded_shapes(member, per_device * len(devices), devices)
    call = mapped.lower(*shapes[:3], program.data, shapes[3]).compile()
    needed = device_memory.peak_bytes(call)
    fit = member_mapping.members_that_fit(needed, shared, per_device, room)
    if fit >= per_device:
      return dataclasses.replace(program, per_device=per_device, call=call)
    per_device = min(fit, per_device - 1)
  raise _too_large(needed, room)


def _compile_turns(program: GroupProgram, config: Config, room: int) -> GroupProgram:
  """Compiles the program of a solo run, beside which the states of as many members as fit are kept."""
  step = make_run_steps(train_spec.train_spec_fn(config, program.task))
  solo = pmap.lowerable_map(step, program.devices, 5, 2)
  values, state = _member_shapes(config, program.task)
  compiled = solo.lower(values, jax.random.key(0), state, program.data, np.int32(0)).compile()
  state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  needed = device_memory.peak_bytes(compiled) + state_bytes
  fit = min(program.per_device, (room - needed) // state_bytes + 1)
  if fit < 1:
    raise _too_large(needed, room)
  call = member_mapping.call_in_turn(functools.partial(compiled, *solo.leading_args))
  return dataclasses.replace(program, per_device=fit, call=call)


def _too_large(needed: int, room: int) -> device_memory.OutOfDeviceMemoryError:
  return device_memory.OutOfDeviceMemoryError(
    f'not even one member fits: it needs {needed / 2**20:.0f} MiB of a device and {room / 2**20:.0f} MiB '
    'are free; lower --batch_size, --g_width or --d_width'
  )


def _member_shapes(config: Config, task: Task) -> tuple[Hyperparameters, GanState]:
  """Returns the hyperparameters of a member and the shapes of its state."""
  values, init = _hyperparameters(config, task), train_spec.initial_state_fn(config, task)
  return values, jax.eval_shape(init, values, jax.random.key(0))


def _seconds_per_member(program: GroupProgram, members: Sequence[Member]) -> float:
  """Measures the seconds of a few training steps, divided by the number of members."""
  some = list(members[: program.capacity])
  slots = member_mapping.assign_slots([1.0] * len(some), len(program.devices), program.per_device)
  states = program.to_devices(jax.tree.map(lambda x: x[slots], initial_states(program, some)))
  arguments = member_arguments(program, some, slots)
  n = member_mapping.shard_members(np.full(len(slots), _TRIAL_STEPS, np.int32), program.devices)
  for _ in range(2):  # the first call warms up
    began = time.monotonic()
    states, _ = jax.block_until_ready(program.call(*arguments, states, program.data, n))
    seconds = time.monotonic() - began
  return seconds / len(some)


def initial_states(program: GroupProgram, members: Sequence[Member]) -> GanState:
  """Returns the members' states before their first updates, as in solo runs: [members, ...], on the host."""
  init = jax.jit(train_spec.initial_state_fn(members[0].config, program.task))
  state = lambda c: init(_hyperparameters(c, program.task), jax.random.key(c.seed))
  states = [jax.device_get(state(config)) for _, config in members]
  return jax.tree.map(lambda *x: np.stack(x), *states)


def member_arguments(
  program: GroupProgram, members: Sequence[Member], slots: np.ndarray
) -> tuple[Any, Any]:
  """Returns the hyperparameters and seeds [slots] on the devices; an empty slot has the last member's."""
  values = [_hyperparameters(member.config, program.task) for member in members]
  stacked = jax.tree.map(lambda *x: np.stack(x)[slots], *values)
  seeds = np.asarray([m.config.seed for m in members], np.int32)[slots]
  return member_mapping.shard_members((stacked, seeds), program.devices)


def _hyperparameters(config: Config, task: Task) -> Hyperparameters:
  return dynamic_hyperparameters.hyperparameter_arrays(config, task.n_train)
