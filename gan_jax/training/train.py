"""The training loop: many compiled steps per call, and everything slow between the calls."""

import contextlib
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax

from gan_jax.config.config import Config
from gan_jax.diagnosis import alarms
from gan_jax.diagnosis.alarms import Alarm
from gan_jax.distributed import processes
from gan_jax.distributed.processes import Group
from gan_jax.evaluation import plots
from gan_jax.gan.gan import GanState
from gan_jax.training import (
  checkpoints,
  checksums,
  input_pipeline,
  metric_writers,
  nonfinite,
  report,
  run_directory,
)
from gan_jax.training.session import Session, open_session


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How training ended."""

  step: int
  stopped_by: signal.Signals | None = None  # None where it is finished
  alarm: Alarm | None = None  # that ended it, of --stop_on
  already: bool = False  # finished before this process began


def train(
  config: Config,
  folder: Path,
  devices: Sequence[jax.Device],
  cache: Path | None = None,
  mapped: str = 'pmap',
  group: Group = processes.ALONE,
  stream: str = 'auto',
) -> Outcome:
  """Train the run in `folder`, from its last checkpoint or from the start, up to `config.steps`.

  SIGTERM, SIGINT or SIGHUP, in any process of the group, saves first and returns early. `cache` is a
  folder for figures that depend on the data alone, `stream` is in `supply.STREAM`. Raises UserError where
  the folder or the data will not do, and DivergedError on a value that is not finite.
  """
  group.require_same(_facts(config, folder, devices, mapped, stream))
  with contextlib.ExitStack() as held:
    # One of many that ended while it starts would leave the others without a word: it starts first.
    received = held.enter_context(noticing_signals()) if group.count > 1 else []
    _claim(group, held, config, folder)
    scores = dict(
      group.from_first(lambda: list(metric_writers.read_scores(folder / 'metrics.jsonl').items()))
    )
    with checkpoints.opened(folder / 'checkpoints', config.keep, scores) as saved:
      done = saved.steps()
      if done and done[-1] >= config.steps:
        if group.first:
          report.write(folder)  # a process that was killed may have owed it
        return Outcome(done[-1], already=True)
      session = open_session(config, folder, devices, cache, mapped, stream, group)
      held.callback(session.supply.close)
      task = session.task
      group.require_same({'the data (sha256)': task.fingerprint})
      kind = f'{len(devices)} x {devices[0].device_kind}'
      if group.count > 1:
        kind += f' in {group.count} processes'
      group.together(
        lambda: (
          run_directory.describe(folder, config, task.shape, task.n_classes, task.fingerprint, kind)
          if group.first
          else None
        )
      )
      state = session.start()
      if done:
        state = group.together(lambda: saved.restore(done[-1], state))
      if group.count == 1:
        received = held.enter_context(noticing_signals())
      try:
        return _Loop(session, saved, done[-1] if done else 0, group).run(state, received)
      finally:
        if group.first:
          report.write(folder)  # of a run that broke, too


def _facts(
  config: Config, folder: Path, devices: Sequence[jax.Device], mapped: str, stream: str
) -> dict[str, Any]:
  """What has to be the same in all processes of a run."""
  flags = {f'--{name}': value for name, value in dataclasses.asdict(config).items()}
  del flags['--data_dir']  # a matter of the host
  where = {'--run': str(folder), '--map': mapped, '--stream': stream}
  ours = {'the number of devices': len(devices), 'the commit': run_directory.commit()}
  return {**flags, **where, **ours, **run_directory.versions()}


def _claim(group: Group, held: contextlib.ExitStack, config: Config, folder: Path) -> None:
  """Make the folder this group's own, and rid it of damaged checkpoints; raises UserError."""

  def claim() -> None:
    run_directory.make(folder)
    held.enter_context(run_directory.only_writer(folder))
    run_directory.check(folder, config)
    for line in checksums.set_aside(folder):
      print(line, file=sys.stderr)
    checkpoints.prune(folder, config.keep, metric_writers.read_scores(folder / 'metrics.jsonl'))

  group.together(lambda: claim() if group.first else None)
  if group.count > 1:
    run_directory.check_shared(folder, group)


def next_stop(config: Config, step: int) -> int:
  """The next step at which the loop does anything but train: a function of the step alone.

  So a resumed run makes the same calls of the same program as an unbroken one.
  """
  if step == 0:
    return 1  # show early that it moves
  intervals = (config.log_every, config.eval_every, config.checkpoint_every, config.referee_every)
  return min(config.steps, *((step // every + 1) * every for every in intervals if every))


@contextlib.contextmanager
def noticing_signals() -> Iterator[list[signal.Signals]]:
  """A list that receives the signals to stop; after the first one, the next ends the process at once."""
  received: list[signal.Signals] = []

  def notice(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(signal.Signals(number))
    restore()
    with contextlib.suppress(OSError):
      print(f'\n{signal.Signals(number).name}: saving; once more to stop at once', file=sys.stderr)

  def restore() -> None:
    for number, handler in before.items():
      signal.signal(number, handler)

  stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  before = {number: signal.signal(number, notice) for number in stops}
  try:
    yield received
  finally:
    restore()


class _Stretch(NamedTuple):
  """Steps that were dispatched, and whose metrics are under way."""

  start: int
  stop: int
  calls: input_pipeline.Calls
  began: float  # seconds on the monotonic clock


class _Loop:
  """The files that training writes, and the order in which it writes them."""

  def __init__(self, session: Session, saved: checkpoints.Checkpoints, step: int, group: Group):
    config = session.config
    self._session, self._saved, self._step, self._group = session, saved, step, group
    self._metrics = (
      metric_writers.Metrics(session.folder, step) if group.first else metric_writers.Silent()
    )
    self._progress = (
      metric_writers.Progress(step, config.steps) if group.first else metric_writers.Silent()
    )
    self._course = [
      r
      for r in metric_writers.read_metrics(session.folder / 'metrics.jsonl')
      if r['step'] <= step and 'watch_gap' in r
    ]
    self._unread: _Stretch | None = None
    self._read_at = 0.0
    if step:
      self._progress.say(f'going on from step {step}')

  def run(self, state: GanState, received: list[signal.Signals]) -> Outcome:
    """Train to the end, or to the first signal that any process received."""
    config, session = self._session.config, self._session
    stopped_by, alarm = None, None
    try:
      while self._step < config.steps:
        asked = [x for x in self._group.gather(str(received[0].value) if received else '') if x]
        if asked:
          stopped_by = signal.Signals(int(asked[0]))
          break
        start, stop, began = self._step, next_stop(config, self._step), time.monotonic()
        state, calls = session.advance(state, start, stop - start)
        self._read()
        self._unread, self._step = _Stretch(start, stop, calls, began), stop
        # Before the checkpoint, which a resumed run goes on from: what it looked at is not looked at again.
        if config.referee_every and stop % config.referee_every == 0:
          alarm = self._watch(state)
        if stop % config.eval_every == 0 or stop == config.steps:
          self._save(state, evaluated=True)
        elif stop % config.checkpoint_every == 0:
          self._save(state)
        if alarm is not None:
          break
      self._read()
      self._saved.wait()
      if self._step not in self._saved.steps():
        self._save(state)
      self._saved.wait()
    finally:
      self._metrics.close()
      self._progress.close()
    return Outcome(self._step, stopped_by, alarm)

  def _read(self) -> None:
    """Fetch and write the metrics of the last stretch, while the device works on the next one."""
    if self._unread is None:
      return
    (start, stop, calls, began), self._unread = self._unread, None
    values = input_pipeline.mean_of(calls)
    if not all(math.isfinite(value) for value in values.values()):
      nonfinite.raise_diverged(self._session, self._saved, start, stop)
    now = time.monotonic()
    rate = (stop - start) / max(now - max(began, self._read_at), 1e-9)
    self._read_at = now
    if values['k'] == 0:  # D did not move, so there is nothing to say of its updates
      values = {name: value for name, value in values.items() if not name.startswith('d_')}
    self._metrics.write(stop, values | {'steps_per_second': rate})
    self._progress.update(stop, values)

  def _watch(self, state: GanState) -> Alarm | None:
    """Look at the state as the referee does, and tell new alarms; returns one of those that end the run."""
    self._read()
    here = self._session.here(state)
    found = self._group.from_first(lambda: self._look(here))
    return None if found is None else Alarm(*found)

  def _look(self, state: GanState) -> Alarm | None:
    session = self._session
    seen = jax.device_get(session.look(state))
    values = {name: float(value) for name, value in seen.items()}
    if not all(math.isfinite(value) for value in values.values()):
      return None  # the next checkpoint will say which tensor it is
    self._metrics.write(self._step, values)
    self._course.append({'step': self._step, **values})
    ringing = alarms.news(self._course)
    for alarm in ringing:
      self._metrics.note(self._step, alarm=alarm.name, says=alarm.says)
      self._progress.say(f'step {self._step}: alarm, {alarm.name}: {alarm.says}')
    return next((alarm for alarm in ringing if alarm.name in session.config.stops), None)

  def _save(self, state: GanState, evaluated: bool = False) -> None:
    """Begin to write a checkpoint of a state whose every number is finite."""
    self._read()
    if not nonfinite.all_finite(state):
      before = max([step for step in self._saved.steps() if step < self._step], default=0)
      nonfinite.raise_diverged(self._session, self._saved, before, self._step)
    score = None
    if evaluated:
      here = self._session.here(state)
      score = self._group.from_first(lambda: self._evaluate(here))
    self._metrics.flush()
    self._saved.save(self._step, state, score)

  def _evaluate(self, state: GanState) -> float:
    """Measure on validation data and paint; returns the score by which the best is chosen."""
    session, config, step = self._session, self._session.config, self._step
    gan, task = session.gan, session.task
    measured = task.measure(gan, state, config.seed)
    self._metrics.write(step, measured.values | {metric_writers.BEST_BY: measured.score})
    self._progress.say(f'step {step}: {measured.line}')
    task.paint(session.folder / 'samples', step, gan, state, config.seed)
    records = metric_writers.read_metrics(session.folder / 'metrics.jsonl')
    plots.curves(session.folder / 'curves.png', records, gan.loss, task.plot_scores)
    return measured.score
