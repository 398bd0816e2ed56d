"""Trains one run: from its last checkpoint, or from the start, to its last step."""

import contextlib
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gan_jax.config.run_config import Config
from gan_jax.diagnosis.alarms import Alarm
from gan_jax.distributed import processes
from gan_jax.distributed.processes import ProcessGroup
from gan_jax.distributed.sharding import Devices
from gan_jax.gan.gan import GanState
from gan_jax.training import checkpoint_integrity, fork_run, metric_writers, report, run_directory
from gan_jax.training.checkpoints import Checkpoints, delete_surplus_checkpoints, open_checkpoints
from gan_jax.training.fork_run import ForkSource, OpenedSource
from gan_jax.training.loop_hooks import Hooks
from gan_jax.training.loop_schedule import due_after, next_stop
from gan_jax.training.session import Session, open_session
from gan_jax.training.stop_signals import catch_stop_signals


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Holds how training ended."""

  step: int
  stopped_by: signal.Signals | None = None  # None where training came to its last step
  alarm: Alarm | None = None  # the alarm of --stop_on that ended training
  already: bool = False  # whether the run was finished before this process began


def train(
  config: Config,
  folder: Path,
  devices: Devices,
  cache: Path | None = None,
  mapped: str = 'pmap',
  group: ProcessGroup = processes.SINGLE_PROCESS,
  stream: str = 'auto',
  fork: ForkSource | None = None,
) -> Outcome:
  """Trains the run in `folder` up to step `config.steps`; a stop signal saves first and returns early.

  Args:
    config: the settings of the run.
    folder: the run directory; a run that was begun there goes on from its last checkpoint.
    devices: those of all processes.
    cache: folder for what depends on the data alone, such as classifiers.
    mapped: how the step is mapped over devices: a name in `pmap.STEP_MAPS`, or `sharding.SHARDED_PARAMS`.
    group: the processes of the run.
    stream: a choice of `data_placement.STREAM`.
    fork: a checkpoint of another run, from which a new run begins.

  Raises:
    UserError: where settings, folder or data cannot be used.
    DivergedError: where a value is not finite.
  """
  group.require_same(_shared_facts(config, folder, devices, mapped, stream))
  with contextlib.ExitStack() as stack:
    # Several processes catch signals from the start: one that ends early would leave the others waiting.
    received = stack.enter_context(catch_stop_signals()) if group.count > 1 else []
    _claim_folder(group, stack, config, folder)
    scores = group.broadcast_from_first(lambda: list(_read_scores(folder).items()))
    with open_checkpoints(folder / 'checkpoints', config.keep, dict(scores)) as saved:
      steps = saved.steps()
      if steps and steps[-1] >= config.steps:
        if group.is_first:
          report.write_run_page(folder)  # a process that was killed may not have written it
        return Outcome(steps[-1], already=True)
      open_source = lambda: None if steps else fork_run.open_source(fork, folder, config)
      source = group.run_on_all(open_source)
      session = open_session(config, folder, devices, cache, mapped, stream, group)
      stack.callback(session.pipeline.close)
      _describe_run(session, source)
      state = session.initial_state()
      if source is not None:
        _print_lines(group, fork_run.begin_fork(config, source, saved, state))
      steps = saved.steps()
      if steps:
        state = group.run_on_all(lambda: saved.restore(steps[-1], state))
      if group.count == 1:
        received = stack.enter_context(catch_stop_signals())
      try:
        return _run_loop(session, saved, max(steps, default=0), state, received)
      finally:
        if group.is_first:
          report.write_run_page(folder)  # also where training broke off


def _run_loop(
  session: Session, saved: Checkpoints, step: int, state: GanState, received: list[signal.Signals]
) -> Outcome:
  """Trains from `step` to the last step, or to the first stop signal that any process received."""
  config = session.config
  hooks = Hooks(session, saved, step)
  stopped_by, alarm = None, None
  try:
    while step < config.steps and alarm is None:
      stopped_by = _first_signal(session.group, received)
      if stopped_by is not None:
        break
      start, step, began = step, next_stop(config, step), time.monotonic()
      state, calls = session.advance(state, start, step - start)
      hooks.dispatched(start, step, calls, began)
      due = due_after(config, step)
      # Before the checkpoint: a resumed run does not repeat the monitors of the step that it starts from.
      if due.monitor:
        alarm = hooks.monitor(step, state)
      if due.save:
        hooks.save(step, state, due.evaluate)
    hooks.finish(step, state)
  finally:
    hooks.close()
  return Outcome(step, stopped_by, alarm)


def _first_signal(group: ProcessGroup, received: list[signal.Signals]) -> signal.Signals | None:
  """Returns the stop signal of the first process that received one; a collective call."""
  numbers = [x for x in group.allgather(str(received[0].value) if received else '') if x]
  return signal.Signals(int(numbers[0])) if numbers else None


def _shared_facts(
  config: Config, folder: Path, devices: Devices, mapped: str, stream: str
) -> dict[str, Any]:
  """Returns what must be the same in all processes of a run, by name."""
  flags = {f'--{name}': value for name, value in dataclasses.asdict(config).items()}
  del flags['--data_dir']  # may differ between hosts
  flags |= {'--run': str(folder), '--map': mapped, '--stream': stream}
  facts = {'the number of devices': len(devices), 'the commit': run_directory.source_commit()}
  return {**flags, **facts, **run_directory.package_versions()}


def _read_scores(folder: Path) -> dict[int, float]:
  return metric_writers.read_scores(folder / 'metrics.jsonl')


def _claim_folder(
  group: ProcessGroup, stack: contextlib.ExitStack, config: Config, folder: Path
) -> None:
  """Locks the run directory for this group and moves damaged checkpoints aside; raises UserError."""

  def claim() -> None:
    run_directory.create_run_directory(folder)
    stack.enter_context(run_directory.lock_run_directory(folder))
    run_directory.check_resumable(folder, config)
    for line in checkpoint_integrity.quarantine_damaged(folder):
      print(line, file=sys.stderr)
    delete_surplus_checkpoints(folder, config.keep, _read_scores(folder))

  group.run_on_first(claim)
  if group.count > 1:
    run_directory.check_shared_filesystem(folder, group)


def _print_lines(group: ProcessGroup, lines: list[str]) -> None:
  if group.is_first:
    print(*lines, sep='\n', file=sys.stderr, flush=True)


def _describe_run(session: Session, source: OpenedSource | None) -> None:
  """Writes config.json; raises UserError where the run, or its source, was begun on data that do not fit."""
  task, devices, group = session.task, session.devices, session.group
  group.require_same({'the data (sha256)': task.fingerprint})
  if source is not None:
    fork_run.check_shape(source, task.name, task.shape)
  record = None if source is None else source.record
  kind = f'{len(devices)} x {devices[0].device_kind}'
  if group.count > 1:
    kind += f' in {group.count} processes'
  write = run_directory.write_description
  group.run_on_first(lambda: write(session.folder, session.config, task, kind, record))
