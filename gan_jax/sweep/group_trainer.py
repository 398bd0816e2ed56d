"""Trains the members of one group at the same time, in a directory with their checkpoints and metrics.

The process that trains a group locks its directory. A process that takes over after a kill goes on from the
last checkpoint, and its results are bit-equal to those of an unbroken run.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.gan.gan import GanState
from gan_jax.sweep import group_program, member_mapping
from gan_jax.sweep.group_metrics import GroupMetrics
from gan_jax.sweep.group_program import GroupProgram, Member
from gan_jax.sweep.progress_table import SweepCallback
from gan_jax.training import checkpoint_integrity, loop_hooks, loop_schedule, run_directory
from gan_jax.training.checkpoints import Checkpoints
from gan_jax.training.metric_writers import SCORE_KEY

RUNNING, DIVERGED, DROPPED = 0, 1, 2  # the status of a member in a checkpoint
STATUS = ('finished', 'diverged', 'dropped')


class MemberResult(NamedTuple):
  """Holds how a member ended."""

  member: Member
  status: str  # one of STATUS
  step: int
  d_updates: int
  score: float  # of its last evaluation, higher is better; NaN without one
  values: dict[str, float]  # its last evaluation and training metrics
  seconds: float  # its share, by updates, of the time that the group took


class GroupTrainer:
  """Trains a group from its last checkpoint, or from the first update; a context manager.

  Inside `with` it locks the directory. Entering raises RunLockedError where another process holds the lock.
  """

  def __init__(
    self,
    folder: Path,
    members: Sequence[Member],
    program: GroupProgram,
    callback: SweepCallback,
    keep_best: bool = False,
  ):
    """Describes a group of at most `program.capacity` members; entering the context opens its files.

    `keep_best` saves, beside the last state, each member's state of its best evaluation.
    """
    self.folder, self.members, self.program = folder, list(members), program
    self._callback, self._keep_best = callback, keep_best
    self._ends = np.asarray([m.config.steps for m in members], np.int32)
    self._longest = max((m.config for m in members), key=lambda config: config.steps)
    self._costs = np.asarray([group_program.updates_per_step(m.config) for m in members])
    self._status = np.zeros(len(members), np.int32)
    self._ended_at = self._ends.copy()
    self.step, self._seconds = 0, 0.0
    # Of steps that the devices may still compute: start, end, metrics, steps by member, time of the call.
    self._pending: tuple[int, int, Any, np.ndarray, float] | None = None

  def __enter__(self) -> 'GroupTrainer':
    run_directory.create_run_directory(self.folder)
    with contextlib.ExitStack() as files:  # closes those that are open where a later one fails
      files.enter_context(run_directory.lock_run_directory(self.folder))
      for line in checkpoint_integrity.quarantine_damaged(self.folder):
        print(line, file=sys.stderr)
      opened = lambda folder: files.enter_context(contextlib.closing(Checkpoints(folder, 2)))
      self._saved = opened(self.folder / 'checkpoints')
      self._host = group_program.initial_states(self.program, self.members)
      if self._keep_best:
        steps = np.zeros(len(self.members), np.int32)  # 0: no state was saved as the best
        self._best = {'states': jax.tree.map(np.copy, self._host), 'steps': steps}
        self._saved_best = opened(self.folder / 'best' / 'checkpoints')
      if done := self._saved.steps():
        self._restore(done[-1])
      metrics = GroupMetrics(self.folder / 'metrics.jsonl', self.step)
      self.metrics = files.enter_context(contextlib.closing(metrics))
      for record in self.metrics.evaluations():
        self._callback.on_evaluation(record['member'], record['step'], record[SCORE_KEY])
      self._files = files.pop_all()
    return self

  def __exit__(self, *error: Any) -> None:
    self._files.close()

  def _checkpoint(self) -> dict[str, Any]:
    members = {'states': self._host, 'status': self._status, 'ended_at': self._ended_at}
    return {**members, 'seconds': np.asarray(self._seconds, np.float32)}

  def _save(self) -> None:
    self.metrics.flush()
    if self._keep_best:  # complete before the checkpoint from which a killed process goes on
      self._saved_best.save(self.step, self._best)
      self._saved_best.wait()
    self._saved.save(self.step, self._checkpoint())

  def _restore(self, step: int) -> None:
    saved = self._saved.restore(step, self._checkpoint())
    self._host = jax.tree.map(np.asarray, saved['states'])
    self._status, self._ended_at = (np.array(saved[name]) for name in ('status', 'ended_at'))
    self.step, self._seconds = step, float(saved['seconds'])
    if self._keep_best and step in self._saved_best.steps():
      self._best = jax.tree.map(np.array, self._saved_best.restore(step, self._best))

  @property
  def _training(self) -> np.ndarray:
    """Returns whether each member has steps left: bool [members]."""
    return (self._status == RUNNING) & (self._ends > self.step)

  @property
  def updates(self) -> float:
    """Returns the updates of both players so far, as `updates_per_step` counts them."""
    return float(member_mapping.steps_due(self._ends, 0, self.step) @ self._costs)

  @property
  def finished(self) -> bool:
    """Returns whether no member has steps left."""
    return not self._training.any()

  def scores(self, step: int) -> dict[str, float]:
    """Returns the scores of the members that were evaluated at `step`, by name."""
    return {r['member']: r[SCORE_KEY] for r in self.metrics.evaluations() if r['step'] == step}

  def drop(self, names: set[str]) -> None:
    """Ends the training of these members at the present step."""
    for i, member in enumerate(self.members):
      if member.name in names and self._training[i]:
        self._end_early(i, DROPPED, self.step)

  def train(self, until: int, stop: Callable[[], bool] = lambda: False) -> None:
    """Trains to step `until` and saves; once `stop` returns True it saves and returns early."""
    if self.finished:
      return
    program, last = self.program, min(until, int(self._ends.max()))
    slots = self._assign_slots()
    arguments = group_program.member_arguments(program, self.members, slots)
    states = program.to_devices(jax.tree.map(lambda x: x[slots], self._host))
    began = time.monotonic()
    while self.step < last and not stop():
      start, end = self.step, min(loop_schedule.next_stop(self._longest, self.step), last)
      due = np.where(self._training, member_mapping.steps_due(self._ends, start, end), 0)
      n = np.where(slots == member_mapping.EMPTY, 0, due[slots]).astype(np.int32)
      on_devices = member_mapping.shard_members(n, program.devices)
      states, means = program.call(*arguments, states, program.data, on_devices)
      self._write_pending(slots)
      self._pending, self.step = (start, end, means, due, time.monotonic()), end
      works = [loop_schedule.due_after(m.config, min(end, m.config.steps)) for m in self.members]
      evaluate = np.asarray([work.evaluate for work in works]) & (due > 0)
      if evaluate.any() or loop_schedule.due_after(self._longest, end).save or end == last:
        self._write_pending(slots)
        self._copy_to_host(states, slots, evaluate)
        self._seconds, began = self._seconds + time.monotonic() - began, time.monotonic()
        self._save()
    self._write_pending(slots)
    if self.step not in self._saved.steps() and self.step:
      self._copy_to_host(states, slots, np.zeros(len(self.members), bool))
      self._save()
    self._saved.wait()

  def _assign_slots(self) -> np.ndarray:
    """Returns the member index of each slot of the program, for members that have steps left."""
    training = np.flatnonzero(self._training)
    n_devices, per_device = len(self.program.devices), self.program.per_device
    assigned = member_mapping.assign_slots(self._costs[training].tolist(), n_devices, per_device)
    return np.where(assigned == member_mapping.EMPTY, member_mapping.EMPTY, training[assigned])

  def _write_pending(self, slots: np.ndarray) -> None:
    """Fetches and writes pending metrics, while the devices compute the next steps."""
    if self._pending is None:
      return
    (start, end, means, due, dispatched), self._pending = self._pending, None
    means = jax.device_get(means)
    rate = (end - start) / max(time.monotonic() - dispatched, 1e-9)
    self._callback.on_updates(float(due @ self._costs))
    for i in np.flatnonzero((due > 0) & (self._status == RUNNING)).tolist():
      slot = int(np.flatnonzero(slots == i)[0])
      values = {name: float(x[slot]) for name, x in means.items()}
      if loop_hooks.all_values_finite(values):
        self._write(i, end, loop_hooks.training_record(values, rate))
      else:
        self._end_early(i, DIVERGED, min(start, self._ends[i]))

  def _end_early(self, i: int, status: int, step: int) -> None:
    self._status[i], self._ended_at[i] = status, step
    self._callback.on_early_end(self.members[i].name, STATUS[status], int(step))

  def _write(self, i: int, at: int, values: dict[str, float]) -> None:
    self.metrics.write(self.members[i].name, at, int(min(at, self._ends[i])), values)

  def _copy_to_host(self, states: Any, slots: np.ndarray, evaluate: np.ndarray) -> None:
    """Copies the states to the host, ends members that are not finite, and evaluates those in `evaluate`."""
    copied, finite = self.program.to_host(states), self.program.all_finite(states)
    used = np.flatnonzero(slots != member_mapping.EMPTY)
    self._host = _replaced(self._host, slots[used], copied, used)
    for slot, i in zip(used, slots[used], strict=True):
      if not finite[slot] and self._status[i] == RUNNING:
        self._end_early(i, DIVERGED, self.metrics.last_step(self.members[i].name))
      elif evaluate[i] and self._status[i] == RUNNING:
        self._evaluate(i)
    self.metrics.flush()

  def _evaluate(self, i: int) -> None:
    (name, config), program = self.members[i], self.program
    state, best = self.state(i), self.metrics.best_score(name)
    record, _ = loop_hooks.evaluate_state(program.task, program.gan, state, config.seed)
    self._write(i, self.step, record)
    step, score = int(min(self.step, self._ends[i])), record[SCORE_KEY]
    self._callback.on_evaluation(name, step, score)
    if self._keep_best and math.isfinite(score) and score > best:
      index = np.array([i])
      self._best['states'] = _replaced(self._best['states'], index, self._host, index)
      self._best['steps'][i] = step

  def state(self, i: int) -> GanState:
    """Returns the state of member `i` at the last checkpoint or evaluation, on the host."""
    return member_mapping.select_member(self._host, i)

  def best_state(self, i: int) -> tuple[int, GanState] | None:
    """Returns the step and state of the best evaluation of member `i`, None where no state was saved."""
    step = int(self._best['steps'][i]) if self._keep_best else 0
    return (step, member_mapping.select_member(self._best['states'], i)) if step else None

  def results(self) -> list[MemberResult]:
    """Returns how each member ended."""
    counts = self._host.d.count
    updates = np.asarray(counts + self._host.step, float)
    shares = self._seconds * (updates / max(updates.sum(), 1))
    steps = np.minimum(self._ended_at, self._host.step)
    columns = zip(self.members, self._status, steps, counts, shares, strict=True)
    last = self.metrics.last_values
    return [
      MemberResult(m, STATUS[status], int(step), int(n), *last(m.name), float(seconds))
      for m, status, step, n, seconds in columns
    ]


def _replaced(states: GanState, to: np.ndarray, source: GanState, index: np.ndarray) -> GanState:
  """Returns host states [members, ...] in which members `to` are those at `index` of `source`."""

  def put(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    old = old if old.flags.writeable else old.copy()
    old[to] = new[index]
    return old

  return jax.tree.map(put, states, source)
