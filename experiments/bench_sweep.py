"""Measures what training many runs in one program saves, as ratios within one run of this script.

  python -m experiments.bench_sweep

Compares 64 members of the ring preset (8 seeds, 8 values of k from 0.5 to 5) with 64 processes, and
with solo runs one after another in one process; 8 members of mnist with solo runs; compilation of 8
and of 64 members; training with and without files. Members are compared with their solo runs bit
for bit.
"""

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.run_config import Config
from gan_jax.distributed import pmap
from gan_jax.evaluation import tasks
from gan_jax.evaluation.tasks import Task
from gan_jax.gan.train_step import make_run_steps
from gan_jax.sweep import group_program, halving_scheduler, member_mapping
from gan_jax.sweep.group_program import GroupProgram, Member
from gan_jax.sweep.group_trainer import GroupTrainer
from gan_jax.sweep.progress_table import SweepCallback
from gan_jax.training import session as session_lib
from gan_jax.training.loop_schedule import next_stop
from gan_jax.training.train_spec import train_spec_fn
from gan_jax.utils.errors import UserError

from . import command_line

_STEPS = flags.DEFINE_multi_integer('steps', [30, 200], 'Training steps of a member. Repeatable.')
_PROCESSES = flags.DEFINE_integer('processes', 3, 'Solo processes to time, extrapolated to 64.')
_PARTS = flags.DEFINE_list('parts', ['ring', 'mnist', 'compile', 'logging'], 'Parts to measure.')
_KS = ('0.5', '0.75', '1', '1.5', '2', '3', '4', '5')


def main(argv: list[str]) -> None:
  """Runs the parts and prints their ratios."""
  del argv
  if min(*_STEPS.value, _PROCESSES.value) < 1:
    steps = ' '.join(f'--steps={steps}' for steps in _STEPS.value)
    raise UserError(f'{steps} --processes={_PROCESSES.value}: give at least 1 of each')
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1
  jax.config.update('jax_num_cpu_devices', cores)
  jax.config.update('jax_enable_compilation_cache', False)  # compilation is measured too
  kind = jax.devices()[0].device_kind
  print(f'jax {jax.__version__} on {cores} x {kind}, load {os.getloadavg()[0]:.1f}')
  parts = {
    'ring': bench_ring,
    'mnist': bench_mnist,
    'compile': bench_compile,
    'logging': bench_logging,
  }
  for name in _PARTS.value:
    if name not in parts:
      raise UserError(f'--parts={name}: choose among {", ".join(parts)}')
    parts[name]()


def make_members(base: Config, ks: Sequence[str], seeds: int) -> list[Member]:
  """Returns a member for each k and seed."""
  return [
    Member(f'k_{k}-seed_{seed}', dataclasses.replace(base, k=k, seed=seed))
    for k in ks
    for seed in range(seeds)
  ]


def time_groups(members: Sequence[Member], task: Task) -> tuple[float, float, dict[str, Any]]:
  """Returns the seconds of compilation and of training all members in groups, and their last states by name."""
  compiling = training = 0.0
  states: dict[str, Any] = {}
  for group in group_program.group_by_program(members, 'size'):
    began = time.perf_counter()
    program = group_program.compile_group_program(group, task, jax.devices(), 'size')
    compiling += time.perf_counter() - began
    for i in range(0, len(group), program.capacity):
      seconds, group_states = time_calls(program, group[i : i + program.capacity])
      training += seconds
      states |= group_states
  return compiling, training, states


def time_calls(program: GroupProgram, members: Sequence[Member]) -> tuple[float, dict[str, Any]]:
  """Returns the seconds of the compiled calls that train a group, and the last states by name."""
  costs = [group_program.updates_per_step(member.config) for member in members]
  slots = member_mapping.assign_slots(costs, len(program.devices), program.per_device)
  first = group_program.initial_states(program, members)
  states = program.to_devices(jax.tree.map(lambda x: x[slots], first))
  arguments = group_program.member_arguments(program, members, slots)
  config, step = members[0].config, 0
  warm = member_mapping.shard_members(np.zeros(len(slots), np.int32), program.devices)
  states, _ = jax.block_until_ready(program.call(*arguments, states, program.data, warm))
  began = time.perf_counter()
  while step < config.steps:
    stop = next_stop(config, step)
    due = np.where(slots == member_mapping.EMPTY, 0, stop - step).astype(np.int32)
    n = member_mapping.shard_members(due, program.devices)
    states, means = program.call(*arguments, states, program.data, n)
    jax.device_get(means)
    step = stop
  states = program.to_host(states)
  seconds = time.perf_counter() - began
  slot_of = {int(i): slot for slot, i in enumerate(slots) if i != member_mapping.EMPTY}
  copy = lambda slot: jax.tree.map(lambda x: x[slot].copy(), states)
  return seconds, {member.name: copy(slot_of[i]) for i, member in enumerate(members)}


def time_solo_runs(members: Sequence[Member]) -> tuple[float, dict[str, Any]]:
  """Returns the seconds of the same runs one after another, without compilation, and their last states."""
  sessions: dict[Any, Any] = {}  # session and compiled program, by program key
  seconds, states = 0.0, {}
  for member in members:
    config, key = member.config, dynamic_hyperparameters.program_key(member.config)
    if key not in sessions:
      session = session_lib.open_session(config, Path(), jax.devices()[:1], stream='no')
      train_steps = make_run_steps(train_spec_fn(config, session.task))
      sessions[key] = session, pmap.pmap(train_steps, session.devices, 5, 2)
    session, program = sessions[key]
    values = dynamic_hyperparameters.hyperparameter_arrays(config, session.task.n_train)
    run_steps = functools.partial(program, values)
    solo = dataclasses.replace(session, config=config, run_steps=run_steps)
    data = solo.pipeline.data
    state, _ = jax.block_until_ready(run_steps(solo.key, solo.initial_state(), data, np.int32(0)))
    began, step = time.perf_counter(), 0
    while step < config.steps:
      stop = next_stop(config, step)
      state, means = run_steps(solo.key, state, data, np.int32(stop - step))
      jax.device_get(means)
      step = stop
    states[member.name] = jax.device_get(state)
    seconds += time.perf_counter() - began
  return seconds, states


def count_equal(left: dict[str, Any], right: dict[str, Any]) -> int:
  """Returns the number of members whose states are bit-equal."""
  same = 0
  for name, state in left.items():
    pairs = jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), state, right[name])
    same += all(jax.tree.leaves(pairs))
  return same


def print_ratio(label: str, sweep: float, other: float) -> None:
  """Prints the seconds of the sweep and of the alternative, and their ratio."""
  print(f'  {label:<66} {sweep:8.1f} s {other:8.1f} s   x {other / sweep:.2f}')


def bench_ring() -> None:
  """Compares 64 members with 64 processes, and with 64 solo runs in one process."""
  for steps in sorted(_STEPS.value):
    base = command_line.read_preset(
      'ring', steps=steps, eval_every=steps, checkpoint_every=steps, log_every=100
    )
    print(f'\n64 members of ring, {steps} steps each: sweep, other, ratio')
    sweep_seconds = _time_sweep_process(base)
    train_seconds = _time_train_process(base)
    print_ratio(
      f'experiments.sweep, against 64 x {train_seconds:.1f} s of experiments.train',
      sweep_seconds,
      64 * train_seconds,
    )
  print(f'  (64 processes are extrapolated from {_PROCESSES.value}, after one that compiled)')
  members = make_members(base, _KS, 8)
  compiled, trained, states = time_groups(members, tasks.load_task(base, command_line.cache_dir()))
  seconds, solo = time_solo_runs(members)
  print_ratio('training only, against one after another in one process', trained, seconds)
  print(f'  bit-equal to their solo runs: {count_equal(states, solo)} of {len(members)}')
  print(f'  compilation for all 64 took {compiled:.1f} s, not included in the ratio of training')


def _time_script(script: str, config: Config, cache: str, *more: str) -> float:
  flags_ = [f'--{name}={value}' for name, value in dataclasses.asdict(config).items()]
  command = [sys.executable, '-m', f'{__package__}.{script}', *flags_, *more]
  began = time.perf_counter()
  environment = os.environ | {'XDG_CACHE_HOME': cache}
  subprocess.run(command, check=True, env=environment, capture_output=True)
  return time.perf_counter() - began


def _time_sweep_process(base: Config) -> float:
  with tempfile.TemporaryDirectory() as folder:
    options = (f'--sweep=k={",".join(_KS)}', '--seeds=8', '--compute=none')
    return _time_script('sweep', base, folder, f'--run={folder}/sweep', *options)


def _time_train_process(base: Config) -> float:
  """Returns the mean seconds of a process, after one that filled the compilation cache."""
  with tempfile.TemporaryDirectory() as folder:
    configs = [dataclasses.replace(base, seed=i, k='2') for i in range(_PROCESSES.value + 1)]
    times = [_time_script('train', x, folder, f'--run={folder}/{x.seed}') for x in configs]
    return sum(times[1:]) / _PROCESSES.value


def bench_mnist() -> None:
  """Compares 8 members with 8 solo runs in one process; their matrix products fill several cores."""
  steps = max(2, max(_STEPS.value) // 5)
  base = command_line.read_preset('mnist', steps=steps, eval_every=steps, checkpoint_every=steps)
  task = tasks.load_task(base, command_line.cache_dir())
  members = make_members(base, ['1'], 8)
  print(f'\n8 members of mnist, {steps} steps each: sweep, other, ratio')
  _, trained, states = time_groups(members, task)
  seconds, solo = time_solo_runs(members)
  print_ratio('in one program, against one after another in one process', trained, seconds)
  print(f'  bit-equal to their solo runs: {count_equal(states, solo)} of {len(members)}')


def bench_compile() -> None:
  """Compares the compilation time of 8 and of 64 members."""
  base = command_line.read_preset('ring', k='2')
  task = tasks.load_task(base, command_line.cache_dir())
  seconds = {}
  for seeds in (8, 64):
    began = time.perf_counter()
    group_program.compile_group_program(
      make_members(base, ['2'], seeds), task, jax.devices(), 'size'
    )
    seconds[seeds] = time.perf_counter() - began
  print('\ncompilation of 8 members, of 64, ratio')
  print_ratio('ring, one program', seconds[8], seconds[64])


def bench_logging() -> None:
  """Compares training with and without metrics, checkpoints and run directories; evaluations do not count."""
  steps = 15 * max(_STEPS.value)
  base = command_line.read_preset(
    'ring', steps=steps, eval_every=steps, checkpoint_every=steps, k='2'
  )
  task = tasks.load_task(base, command_line.cache_dir())
  members = make_members(base, ['2'], 8)
  program = group_program.compile_group_program(members, task, jax.devices(), 'size')
  seconds, _ = time_calls(program, members)
  timed_task = _TimedTask(task)
  timed = dataclasses.replace(program, task=timed_task)
  with (
    tempfile.TemporaryDirectory() as folder,
    GroupTrainer(Path(folder) / 'group', members, timed, SweepCallback()) as trainer,
  ):
    began = time.perf_counter()
    trainer.train(steps)
    for i, member in enumerate(members):
      halving_scheduler.export_member(trainer, i, Path(folder) / member.name)
    total = time.perf_counter() - began - timed_task.seconds
  print(f'\n8 members of ring, {steps} steps: compiled calls only, with all files, ratio')
  print_ratio('evaluations not included', seconds, total)


class _TimedTask:
  """Wraps a task and sums the seconds of its evaluations."""

  def __init__(self, task: Task):
    self._task, self.seconds = task, 0.0

  def __getattr__(self, name: str) -> Any:
    return getattr(self._task, name)

  def evaluate_checkpoint(self, *args: Any) -> Any:
    """Evaluates as the task does, and adds the seconds."""
    began = time.perf_counter()
    evaluation = self._task.evaluate_checkpoint(*args)
    self.seconds += time.perf_counter() - began
    return evaluation


if __name__ == '__main__':
  command_line.run_script(main)
