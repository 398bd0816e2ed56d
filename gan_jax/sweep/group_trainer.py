"""The members of one program that train at the same time, in a folder of their own.

The folder is claimed by one process, which saves as it goes; so any number of processes that see the same
folders share the waves, and one that is killed is replaced from its last checkpoint, bit for bit.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.gan.gan import GanState
from gan_jax.sweep import group_program, member_mapping
from gan_jax.sweep.group_program import Member, Program
from gan_jax.training import checkpoints, checksums, metric_writers, run_directory, train
from gan_jax.utils.files import write_atomically

RUNNING, DIVERGED, DROPPED = 0, 1, 2  # what has become of a member, as a checkpoint says it
STATUS = ('finished', 'diverged', 'dropped')


class Result(NamedTuple):
  """How a member ended."""

  member: Member
  status: str  # one of STATUS
  step: int
  d_updates: int
  score: float  # of its last evaluation, higher is better; NaN without one
  values: dict[str, float]  # all that this evaluation found
  seconds: float  # of the population's time, in proportion to its updates


class Listener:
  """Hears how a wave gets on; this one does nothing."""

  def trained(self, updates: float) -> None:
    """So many updates of either player were made since it was last told."""

  def skipped(self, updates: float) -> None:
    """So many had been made before this process came."""

  def scored(self, name: str, step: int, score: float) -> None:
    """A member was evaluated at a step of its own."""

  def ended(self, name: str, status: str, step: int) -> None:
    """A member diverged or was dropped."""


class Wave:
  """The members of one program in one folder, from their first update or their last checkpoint.

  Use it within `with`: it holds the folder's lock and its files. Raises UserError where another process
  holds them.
  """

  def __init__(self, folder: Path, members: Sequence[Member], program: Program, listener: Listener):
    self.folder, self.members, self._program = folder, list(members), program
    self._listener = listener
    self.ends = np.asarray([m.config.steps for m in members], np.int32)
    self._lead = max((m.config for m in members), key=lambda config: config.steps)
    self._costs = np.asarray([group_program.updates_per_step(member.config) for member in members])
    self.status = np.zeros(len(members), np.int32)
    self.ended_at = self.ends.copy()
    self.step, self.seconds = 0, 0.0
    self._unread: tuple[int, int, Any, np.ndarray, float] | None = None

  def __enter__(self) -> 'Wave':
    run_directory.make(self.folder)
    self._lock = run_directory.only_writer(self.folder)
    self._lock.__enter__()
    try:
      for line in checksums.set_aside(self.folder):
        print(line, file=sys.stderr)
      self._saved = checkpoints.Checkpoints(self.folder / 'checkpoints', 2)
      self._host = group_program.first_states(self._program, self.members)
      done = self._saved.steps()
      if done:
        self._restore(done[-1])
      self._open_records()
    except BaseException:
      self._lock.__exit__(None, None, None)
      raise
    return self

  def __exit__(self, *error: Any) -> None:
    self._records.close()
    self._saved.close()
    self._lock.__exit__(None, None, None)

  def _restore(self, step: int) -> None:
    held = self._saved.restore(step, self._tree())
    self._host = jax.tree.map(np.asarray, held['states'])
    self.status, self.ended_at = (np.array(held[name]) for name in ('status', 'ended_at'))
    self.step, self.seconds = step, float(held['seconds'])

  def _tree(self) -> dict[str, Any]:
    seconds = np.asarray(self.seconds, np.float32)
    return {
      'states': self._host,
      'status': self.status,
      'ended_at': self.ended_at,
      'seconds': seconds,
    }

  def _open_records(self) -> None:
    """Go on with metrics.jsonl: what came after the checkpoint is forgotten."""
    path = self.folder / 'metrics.jsonl'
    self.records = [r for r in metric_writers.read_metrics(path) if r['at'] <= self.step]
    write_atomically(path, ''.join(metric_writers.line(r) for r in self.records).encode())
    self._records = path.open('a')
    for record in self.records:
      if metric_writers.BEST_BY in record:
        self._listener.scored(record['member'], record['step'], record[metric_writers.BEST_BY])

  @property
  def alive(self) -> np.ndarray:
    """Who still trains: bool [members]."""
    return (self.status == RUNNING) & (self.ends > self.step)

  @property
  def updates(self) -> float:
    """Updates of either player that were made so far, as `sweep.updates_per_step` counts."""
    return float(member_mapping.steps_due(self.ends, 0, self.step) @ self._costs)

  @property
  def finished(self) -> bool:
    """Whether there is nothing left to train."""
    return not self.alive.any()

  def scores(self, step: int) -> dict[str, float]:
    """By name, what evaluations found at `step`."""
    return {
      r['member']: r[metric_writers.BEST_BY]
      for r in self.records
      if metric_writers.BEST_BY in r and r['step'] == step
    }

  def drop(self, names: set[str]) -> None:
    """End these members here; the others have their places, and the time that these would have taken."""
    for i, member in enumerate(self.members):
      if member.name in names and self.alive[i]:
        self.status[i], self.ended_at[i] = DROPPED, self.step
        self._listener.ended(member.name, STATUS[DROPPED], self.step)

  def run(self, until: int, stop: Callable[[], bool] = lambda: False) -> None:
    """Train to the step `until`, where it saves, or to the first stretch before which `stop` says so."""
    if self.finished:
      return
    program, last = self._program, min(until, int(self.ends.max()))
    alive = [i for i, there in enumerate(self.alive) if there]
    placed = member_mapping.place(self._costs[alive].tolist(), len(program.devices), program.rows)
    seats = np.where(
      placed == member_mapping.EMPTY, member_mapping.EMPTY, np.asarray(alive)[placed]
    )
    arguments = group_program.arguments(program, self.members, seats)
    states = program.placed(jax.tree.map(lambda x: x[seats], self._host))
    began = time.monotonic()
    while self.step < last and not stop():
      start, end = self.step, min(train.next_stop(self._lead, self.step), last)
      due = np.where(self.alive, member_mapping.steps_due(self.ends, start, end), 0)
      n = np.where(seats == member_mapping.EMPTY, 0, due[seats]).astype(np.int32)
      on_devices = member_mapping.spread(n, program.devices)
      states, means = program.call(*arguments, states, program.data, on_devices)
      self._read(seats)
      self._unread, self.step = (start, end, means, due, time.monotonic()), end
      at_end = due > 0
      at_end &= (np.minimum(self.ends, end) % self._lead.eval_every == 0) | (self.ends <= end)
      if at_end.any() or end % self._lead.checkpoint_every == 0 or end == last:
        self._read(seats)
        self._look(states, seats, at_end)
        self.seconds, began = self.seconds + time.monotonic() - began, time.monotonic()
        self._save()
    self._read(seats)
    if self.step not in self._saved.steps() and self.step:
      self._look(states, seats, np.zeros(len(self.members), bool))
      self._save()
    self._saved.wait()

  def _read(self, seats: np.ndarray) -> None:
    """Fetch and write the metrics of the last stretch, while the devices work on the next one."""
    if self._unread is None:
      return
    (start, end, means, due, began), self._unread = self._unread, None
    found = jax.device_get(means)
    rate = (end - start) / max(time.monotonic() - began, 1e-9)
    self._listener.trained(float(due @ self._costs))
    for i in range(len(self.members)):
      if not due[i] or self.status[i] != RUNNING:
        continue
      seat = int(np.flatnonzero(seats == i)[0])
      values = {name: float(x[seat]) for name, x in found.items()}
      if not all(math.isfinite(x) for x in values.values()):
        self._diverged(i, start)
        continue
      if values['k'] == 0:  # D did not move, so there is nothing to say of its updates
        values = {name: x for name, x in values.items() if not name.startswith('d_')}
      self._write(i, end, values | {'steps_per_second': rate})

  def _diverged(self, i: int, good: int) -> None:
    self.status[i], self.ended_at[i] = DIVERGED, min(good, self.ends[i])
    self._listener.ended(self.members[i].name, STATUS[DIVERGED], int(self.ended_at[i]))

  def _write(self, i: int, at: int, values: dict[str, float]) -> None:
    name, step = self.members[i].name, int(min(at, self.ends[i]))
    record = {'member': name, 'at': at, 'step': step, **values}
    self.records.append(record)
    self._records.write(metric_writers.line(record))

  def _look(self, states: Any, seats: np.ndarray, due: np.ndarray) -> None:
    """Take the states to the host, freeze those that are not finite, and evaluate those that are due."""
    fetched = self._program.fetched(states)
    sound = self._program.sound(states)
    real = np.flatnonzero(seats != member_mapping.EMPTY)
    members = seats[real]

    def put(held: np.ndarray, new: np.ndarray) -> np.ndarray:
      held = held if held.flags.writeable else held.copy()
      held[members] = new[real]
      return held

    self._host = jax.tree.map(put, self._host, fetched)
    for seat, i in zip(real, members, strict=True):
      if not sound[seat] and self.status[i] == RUNNING:
        self._diverged(i, self._last_good(i))
      elif due[i] and self.status[i] == RUNNING:
        self._evaluate(i)
    self._records.flush()

  def _last_good(self, i: int) -> int:
    name = self.members[i].name
    return max((r['step'] for r in self.records if r['member'] == name), default=0)

  def state(self, i: int) -> GanState:
    """The state of a member at the last checkpoint or evaluation, on the host."""
    return jax.tree.map(lambda x: x[i], self._host)

  def _evaluate(self, i: int) -> None:
    member = self.members[i]
    measured = self._program.task.measure(self._program.gan, self.state(i), member.config.seed)
    self._write(i, self.step, measured.values | {metric_writers.BEST_BY: measured.score})
    self._listener.scored(member.name, self.records[-1]['step'], measured.score)

  def _save(self) -> None:
    self._records.flush()
    self._saved.save(self.step, self._tree())

  def results(self) -> list[Result]:
    """How each member ended."""
    counts = self._host.d.count
    spent = np.asarray(counts + self._host.step, float)
    found = []
    for i, member in enumerate(self.members):
      evaluated = [
        r for r in self.records if r['member'] == member.name and metric_writers.BEST_BY in r
      ]
      values = dict(evaluated[-1]) if evaluated else {}
      score = values.pop(metric_writers.BEST_BY, math.nan)
      values |= self._last_means(member.name)
      for name in ('member', 'at', 'step', 'steps_per_second'):
        values.pop(name, None)
      seconds = self.seconds * float(spent[i] / max(spent.sum(), 1))
      step = int(min(self.ended_at[i], self._host.step[i]))
      status = STATUS[self.status[i]]
      found.append(Result(member, status, step, int(counts[i]), score, values, seconds))
    return found

  def _last_means(self, name: str) -> dict[str, float]:
    """What training last said of a member: losses, beliefs and k."""
    trained = [r for r in self.records if r['member'] == name and 'g_loss' in r]
    return dict(trained[-1]) if trained else {}

  def export(self, i: int, folder: Path) -> None:
    """Write a member as a run's folder, which every other script can open."""
    member, program = self.members[i], self._program
    if folder.exists():  # of a process that was killed, perhaps in its middle
      shutil.rmtree(folder)
    run_directory.make(folder)
    metrics = metric_writers.Metrics(folder, 0)
    for record in self.records:
      if record['member'] == member.name:
        others = ('member', 'at', 'step')
        metrics.write(record['step'], {k: v for k, v in record.items() if k not in others})
    metrics.close()
    with checkpoints.opened(folder / 'checkpoints', 1, {}) as saved:
      saved.save(int(self._host.step[i]), self.state(i))
    task, kind = program.task, program.devices[0].device_kind
    where = (
      f'a population of {len(self.members)} ({program.how}) on {len(program.devices)} x {kind}'
    )
    run_directory.describe(
      folder, member.config, task.shape, task.n_classes, task.fingerprint, where
    )
