"""Many runs that differ in numbers, each program compiled once, for as many at a time as fit."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.config import Config
from gan_jax.distributed import device_memory, pmap
from gan_jax.evaluation.tasks import Task
from gan_jax.gan.gan import Gan, GanState
from gan_jax.gan.train_step import Hyperparameters, as_program
from gan_jax.sweep import member_mapping
from gan_jax.training import session
from gan_jax.utils.errors import UserError

_SPARE = 0.8  # of the free memory that a population may fill
_TRIAL_STEPS = 20  # in which two ways of computing members are compared
_LARGE = 2**18  # weights of both networks, above which one run fills the cores of a CPU


class Member(NamedTuple):
  """A run of a sweep, by a name that may be part of a path."""

  name: str
  config: Config


@dataclasses.dataclass(frozen=True)
class Program:
  """What the members of one program share, ready to be called."""

  task: Task
  gan: Gan  # of one of them: networks and shapes are those of all
  devices: Sequence[jax.Device]
  how: str  # a name in population.HOW
  rows: int  # members of a device
  data: Any
  call: Callable[..., Any]

  @property
  def size(self) -> int:
    """Members of a wave."""
    return self.rows * len(self.devices)

  def placed(self, states: GanState) -> Any:
    """States [members, ...] of the host as `call` takes them."""
    if self.how != 'turns':
      return member_mapping.spread(states, self.devices)
    n = len(jax.tree.leaves(states)[0])
    return jax.device_put([member_mapping.member(states, i) for i in range(n)], self.devices[0])

  def fetched(self, states: Any) -> GanState:
    """What `call` gave, on the host [members, ...]."""
    found = jax.device_get(states)
    return jax.tree.map(lambda *x: np.stack(x), *found) if self.how == 'turns' else found

  def sound(self, states: Any) -> np.ndarray:
    """Whose states are finite: bool [members]."""
    each = [states]
    if self.how == 'turns':
      each = [jax.tree.map(lambda x: x[None], state) for state in states]
    return np.concatenate([jax.device_get(_finite(x)) for x in each])


_finite = jax.jit(member_mapping.finite)


def by_program(members: Sequence[Member], how: str) -> list[list[Member]]:
  """The members of each program, in order; of each k where `how` may be 'vmap': all pay for the largest."""
  groups: dict[Any, list[Member]] = {}
  for member in members:
    key: Any = dynamic_hyperparameters.program(member.config)
    if how in ('vmap', 'measure'):
      key = (key, member.config.k)
    groups.setdefault(key, []).append(member)
  return list(groups.values())


def updates_per_step(config: Config) -> float:
  """What a step costs, in updates of either player; a controlled k is taken for 2."""
  return 1 + (2.0 if config.k == 'auto' else float(config.k))


def open_program(
  members: Sequence[Member],
  task: Task,
  devices: Sequence[jax.Device],
  how: str,
  free: int | None = None,
) -> Program:
  """Compile the program of these members for as many at a time as fit; raises UserError.

  `how` is in `population.HOW`, or 'measure' for the faster of 'map' and 'vmap', or 'size' for the better of
  'map' and 'turns' by the number of weights: measured once, since what is chosen shows in the last bits.
  `free` are the bytes of a device, by default what it says of itself.
  """
  config = members[0].config
  if task.n_train is not None and config.batch_size > task.n_train:
    raise UserError(
      f'--batch_size={config.batch_size}: {config.dataset} has only {task.n_train} training images'
    )
  gan = session.recipe_of(config, task).gan
  if how == 'size':
    state = _first_shapes(config, task)
    n_weights = sum(x.size for x in jax.tree.leaves((state.g.params, state.d.params)))
    how = 'turns' if n_weights > _LARGE else 'map'
  devices = devices[:1] if how == 'turns' else devices
  data = task.data(held_out=gan.balance is not None)
  data = member_mapping.copied(data if gan.n_classes else data.without_labels(), devices)
  rows = math.ceil(len(members) / len(devices))
  free = device_memory.free_on(devices) if free is None else free
  if how == 'measure':
    rivals = [
      _fit(Program(task, gan, devices, each, rows, data, _uncompiled), config, free)
      for each in ('map', 'vmap')
    ]
    return min(rivals, key=lambda rival: _seconds_per_member(rival, members))
  return _fit(Program(task, gan, devices, how, rows, data, _uncompiled), config, free)


def _uncompiled(*args: Any) -> Any:
  raise AssertionError('this program has not been compiled')


def _fit(program: Program, config: Config, free: int) -> Program:
  """The program compiled for as many rows as fit; raises UserError where not even one does."""
  step, room = as_program(session.rules(config, program.task)), int(_SPARE * free)
  numbers = dynamic_hyperparameters.arrays(dynamic_hyperparameters.of(config, program.task.n_train))
  state, rows = _first_shapes(config, program.task), program.rows
  if program.how == 'turns':
    alone = pmap.program(step, program.devices, 5, 2)
    compiled = alone.lower(numbers, jax.random.key(0), state, program.data, np.int32(0)).compile()
    each = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    needed = member_mapping.bytes_on_device(compiled) + each
    fit = min(rows, (room - needed) // each + 1)
    if fit < 1:
      raise _too_large(needed, room)
    call = member_mapping.in_turn(functools.partial(compiled, *alone.first))
    return dataclasses.replace(program, rows=fit, call=call)
  run = member_mapping.program(step, program.devices, program.how)
  one = (numbers, jax.ShapeDtypeStruct((), jnp.int32), state)
  fixed = sum(x.nbytes for x in jax.tree.leaves(program.data)) // len(program.devices)
  while rows:
    n = rows * len(program.devices)
    args = member_mapping.shapes(one, n, program.devices)
    steps = member_mapping.shapes(jax.ShapeDtypeStruct((), jnp.int32), n, program.devices)
    compiled = run.lower(*args, program.data, steps).compile()
    needed = member_mapping.bytes_on_device(compiled)
    fit = member_mapping.rows_that_fit(needed, fixed, rows, room)
    if fit >= rows:
      return dataclasses.replace(program, rows=rows, call=compiled)
    rows = min(fit, rows - 1)
  raise _too_large(needed, room)


def _too_large(needed: int, room: int) -> UserError:
  return UserError(
    f'not even one member fits: it needs {needed / 2**20:.0f} MiB of a device and {room / 2**20:.0f} MiB '
    'are free; lower --batch_size, --g_width or --d_width'
  )


def _first_shapes(config: Config, task: Task) -> GanState:
  numbers = dynamic_hyperparameters.arrays(dynamic_hyperparameters.of(config, task.n_train))
  return jax.eval_shape(session.first_state(config, task), numbers, jax.random.key(0))


def _seconds_per_member(program: Program, members: Sequence[Member]) -> float:
  """Of a few steps, as this way of computing members takes them."""
  some = list(members[: program.size])
  states = first_states(program, some)
  seats = member_mapping.place([1.0] * len(some), len(program.devices), program.rows)
  held = program.placed(jax.tree.map(lambda x: x[seats], states))
  held_fast = arguments(program, some, seats)
  seconds = math.inf
  for _ in range(2):  # the first one warms up
    began = time.monotonic()
    n = member_mapping.spread(np.full(len(seats), _TRIAL_STEPS, np.int32), program.devices)
    held, _ = jax.block_until_ready(program.call(*held_fast, held, program.data, n))
    seconds = time.monotonic() - began
  return seconds / len(some)


def first_states(program: Program, members: Sequence[Member]) -> GanState:
  """Every member's state before its first update [members, ...], on the host: those of their solo runs."""
  start = jax.jit(session.first_state(members[0].config, program.task))
  states = [
    jax.device_get(start(_numbers(program, member), jax.random.key(member.config.seed)))
    for member in members
  ]
  return jax.tree.map(lambda *x: np.stack(x), *states)


def arguments(program: Program, members: Sequence[Member], seats: np.ndarray) -> tuple[Any, Any]:
  """The numbers and seeds of those who sit in `seats`; an empty one has those of the last member."""
  each = [_numbers(program, member) for member in members]
  numbers = jax.tree.map(lambda *x: np.stack(x)[seats], *each)
  seeds = np.asarray([m.config.seed for m in members], np.int32)[seats]
  return member_mapping.spread(numbers, program.devices), member_mapping.spread(
    seeds, program.devices
  )


def _numbers(program: Program, member: Member) -> Hyperparameters:
  return dynamic_hyperparameters.arrays(
    dynamic_hyperparameters.of(member.config, program.task.n_train)
  )
