"""What training side by side saves, as ratios measured in one run.

  python -m experiments.bench_sweep

64 members of the ring preset (8 seeds, 8 values of k from 0.5 to 5) against the same runs as 64
processes, and one after another in a process that has compiled them already; 8 members of mnist; how
compiling grows; what logging costs. Every member is compared with its solo run, bit for bit.
"""

import contextlib
import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import launcher
from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.config import Config
from gan_jax.distributed import pmap
from gan_jax.evaluation import tasks
from gan_jax.evaluation.tasks import Task
from gan_jax.gan.train_step import as_program
from gan_jax.sweep import group_program, member_mapping
from gan_jax.sweep.group_program import Member, Program
from gan_jax.sweep.group_trainer import Listener, Wave
from gan_jax.training import session as session_lib
from gan_jax.training import train
from gan_jax.utils.errors import UserError

_STEPS = flags.DEFINE_multi_integer(
  'steps', [30, 200], 'Training steps of a member; may come often.'
)
_PROCESSES = flags.DEFINE_integer('processes', 3, 'Solo processes timed, of which 64 are reckoned.')
_PARTS = flags.DEFINE_list('parts', ['ring', 'mnist', 'compile', 'logging'], 'What to measure.')
_KS = ('0.5', '0.75', '1', '1.5', '2', '3', '4', '5')


def main(argv: list[str]) -> None:
  """Measure and print."""
  del argv
  if min(*_STEPS.value, _PROCESSES.value) < 1:
    steps = ' '.join(f'--steps={steps}' for steps in _STEPS.value)
    raise UserError(f'{steps} --processes={_PROCESSES.value}: give at least 1 of each')
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1
  jax.config.update('jax_num_cpu_devices', cores)
  jax.config.update('jax_enable_compilation_cache', False)  # compiling is part of what is measured
  kind = jax.devices()[0].device_kind
  print(f'jax {jax.__version__} on {cores} x {kind}, load {os.getloadavg()[0]:.1f}')
  parts = {'ring': ring, 'mnist': mnist, 'compile': compiling, 'logging': logging}
  for name in _PARTS.value:
    if name not in parts:
      raise UserError(f'--parts={name}: choose among {", ".join(parts)}')
    parts[name]()


def members_of(base: Config, ks: Sequence[str], seeds: int) -> list[Member]:
  """A member for each k and seed."""
  return [
    Member(f'k_{k}-seed_{seed}', dataclasses.replace(base, k=k, seed=seed))
    for k in ks
    for seed in range(seeds)
  ]


def together(members: Sequence[Member], task: Task) -> tuple[float, float, dict[str, Any]]:
  """Seconds of compiling and of training all members side by side, and their last states by name."""
  compiling = training = 0.0
  states: dict[str, Any] = {}
  for group in group_program.by_program(members, 'size'):
    began = time.perf_counter()
    program = group_program.open_program(group, task, jax.devices(), 'size')
    compiling += time.perf_counter() - began
    for i in range(0, len(group), program.size):
      seconds, found = bare(program, group[i : i + program.size])
      training += seconds
      states |= found
  return compiling, training, states


def bare(program: Program, members: Sequence[Member]) -> tuple[float, dict[str, Any]]:
  """Seconds of the compiled calls that train a wave, and nothing else; the last states by name."""
  costs = [group_program.updates_per_step(member.config) for member in members]
  seats = member_mapping.place(costs, len(program.devices), program.rows)
  first = group_program.first_states(program, members)
  states = program.placed(jax.tree.map(lambda x: x[seats], first))
  arguments = group_program.arguments(program, members, seats)
  config, step = members[0].config, 0
  warm = member_mapping.spread(np.zeros(len(seats), np.int32), program.devices)
  states, _ = jax.block_until_ready(program.call(*arguments, states, program.data, warm))
  began = time.perf_counter()
  while step < config.steps:
    stop = train.next_stop(config, step)
    due = np.where(seats == member_mapping.EMPTY, 0, stop - step).astype(np.int32)
    n = member_mapping.spread(due, program.devices)
    states, means = program.call(*arguments, states, program.data, n)
    jax.device_get(means)
    step = stop
  states = program.fetched(states)
  seconds = time.perf_counter() - began
  where = {int(i): seat for seat, i in enumerate(seats) if i != member_mapping.EMPTY}
  take = lambda seat: jax.tree.map(lambda x: x[seat].copy(), states)
  return seconds, {member.name: take(where[i]) for i, member in enumerate(members)}


def alone(members: Sequence[Member]) -> tuple[float, dict[str, Any]]:
  """Seconds of the same runs one after another, compiled beforehand; the last states by name."""
  sessions: dict[Any, Any] = {}
  seconds, states = 0.0, {}
  for member in members:
    config, key = member.config, dynamic_hyperparameters.program(member.config)
    if key not in sessions:
      session = session_lib.open_session(config, Path(), jax.devices()[:1], stream='no')
      sessions[key] = (
        session,
        pmap.pmap(as_program(session_lib.rules(config, session.task)), session.devices, 5, 2),
      )
    session, program = sessions[key]
    numbers = dynamic_hyperparameters.arrays(
      dynamic_hyperparameters.of(config, session.task.n_train)
    )
    stretch = functools.partial(program, numbers)
    mine = dataclasses.replace(session, config=config, stretch=stretch)
    state = mine.start()
    state, _ = jax.block_until_ready(stretch(mine.key, state, mine.supply.data, np.int32(0)))
    began, step = time.perf_counter(), 0
    while step < config.steps:
      stop = train.next_stop(config, step)
      state, means = stretch(mine.key, state, mine.supply.data, np.int32(stop - step))
      jax.device_get(means)
      step = stop
    states[member.name] = jax.device_get(state)
    seconds += time.perf_counter() - began
  return seconds, states


def equal(left: dict[str, Any], right: dict[str, Any]) -> int:
  """How many members are the same in both, bit for bit."""
  same = 0
  for name, state in left.items():
    pairs = jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), state, right[name])
    same += all(jax.tree.leaves(pairs))
  return same


def show(what: str, ours: float, others: float, unit: str = 's') -> None:
  """A line: ours, theirs, and how many times as long theirs is."""
  print(f'  {what:<66} {ours:8.1f} {unit} {others:8.1f} {unit}   x {others / ours:.2f}')


def ring() -> None:
  """64 members against 64 processes, which save less the longer they train, and against 64 warm runs."""
  for steps in sorted(_STEPS.value):
    base = launcher.preset(
      'ring', steps=steps, eval_every=steps, checkpoint_every=steps, log_every=100
    )
    print(f'\n64 members of ring, {steps} steps each: ours, theirs, ratio')
    whole = _sweep_process(base)
    one = _train_processes(base)
    show(f'a sweep as a user starts it, against 64 x {one:.1f} s of a process', whole, 64 * one)
  print(f'  (64 processes are reckoned from {_PROCESSES.value} of them, after one that compiled)')
  members = members_of(base, _KS, 8)
  compiled, trained, states = together(members, tasks.open_task(base, launcher.cache_dir()))
  seconds, solo = alone(members)
  show('training alone, against one after another in one warm process', trained, seconds)
  print(f'  bit-equal to their solo runs: {equal(states, solo)} of {len(members)}')
  print(f'  compiling the programs of all 64 took {compiled:.1f} s, left out of the last line')


@contextlib.contextmanager
def _fresh() -> Iterator[tuple[str, dict[str, str]]]:
  """A folder, and an environment in which nothing has been compiled."""
  with tempfile.TemporaryDirectory() as folder:
    yield folder, os.environ | {'XDG_CACHE_HOME': folder}


def _flags(config: Config) -> list[str]:
  return [f'--{name}={value}' for name, value in dataclasses.asdict(config).items()]


def _sweep_process(base: Config) -> float:
  with _fresh() as (folder, environment):
    command = [sys.executable, '-m', 'experiments.sweep', *_flags(base), f'--run={folder}/sweep']
    command += [f'--sweep=k={",".join(_KS)}', '--seeds=8', '--compute=none']
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return time.perf_counter() - began


def _train_processes(base: Config) -> float:
  """Mean seconds of a process, after one that filled the cache of compiled programs."""
  with _fresh() as (folder, environment):
    times = []
    for i in range(_PROCESSES.value + 1):
      config = dataclasses.replace(base, seed=i, k='2')
      command = [sys.executable, '-m', 'experiments.train', *_flags(config), f'--run={folder}/{i}']
      began = time.perf_counter()
      subprocess.run(command, check=True, env=environment, capture_output=True)
      times.append(time.perf_counter() - began)
    return sum(times[1:]) / _PROCESSES.value


def mnist() -> None:
  """8 members against 8 warm runs: their matrix products already fill both cores."""
  steps = max(2, max(_STEPS.value) // 5)
  base = launcher.preset('mnist', steps=steps, eval_every=steps, checkpoint_every=steps)
  task = tasks.open_task(base, launcher.cache_dir())
  members = members_of(base, ['1'], 8)
  print(f'\n8 members of mnist, {steps} steps each: ours, theirs, ratio')
  _, trained, states = together(members, task)
  seconds, solo = alone(members)
  show('side by side, against one after another in one warm process', trained, seconds)
  print(f'  bit-equal to their solo runs: {equal(states, solo)} of {len(members)}')


def compiling() -> None:
  """How compiling grows with the members."""
  base = launcher.preset('ring', k='2')
  task = tasks.open_task(base, launcher.cache_dir())
  seconds = {}
  for seeds in (8, 64):
    began = time.perf_counter()
    group_program.open_program(members_of(base, ['2'], seeds), task, jax.devices(), 'size')
    seconds[seeds] = time.perf_counter() - began
  print('\ncompiling 8 members, compiling 64, ratio')
  show('ring, one program', seconds[8], seconds[64])


def logging() -> None:
  """What metrics, checkpoints and tables cost: a wave with all of it, less its evaluations, and bare."""
  steps = 15 * max(_STEPS.value)
  base = launcher.preset('ring', steps=steps, eval_every=steps, checkpoint_every=steps, k='2')
  task = tasks.open_task(base, launcher.cache_dir())
  members = members_of(base, ['2'], 8)
  program = group_program.open_program(members, task, jax.devices(), 'size')
  seconds, _ = bare(program, members)
  measured = _Timed(task)
  timed = dataclasses.replace(program, task=measured)
  with (
    tempfile.TemporaryDirectory() as folder,
    Wave(Path(folder) / 'wave', members, timed, Listener()) as wave,
  ):
    began = time.perf_counter()
    wave.run(steps)
    for i, member in enumerate(members):
      wave.export(i, Path(folder) / member.name)
    whole = time.perf_counter() - began - measured.seconds
  print(f'\n8 members of ring, {steps} steps: bare, with all that is written, ratio')
  show('evaluations, which are no logging, left out', seconds, whole)


class _Timed:
  """A task that counts the seconds of its evaluations."""

  def __init__(self, task: Task):
    self._task, self.seconds = task, 0.0

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def measure(self, *args: Any) -> Any:
    """As the task does."""
    began = time.perf_counter()
    found = self._task.measure(*args)
    self.seconds += time.perf_counter() - began
    return found


if __name__ == '__main__':
  launcher.run(main)
