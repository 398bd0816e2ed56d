"""Evaluates the trials of a shared Optuna study; no trial is lost or doubled where workers die."""

# Optuna's heartbeats and RetryHeartbeatStaleTrialCallback do not hold that: journal files have none; a trial
# whose worker dies before its first heartbeat never becomes stale; failing a trial and enqueueing it again are
# two transactions, between which a kill loses it; the thread ends at the first write that fails; and a retry
# is another trial, which does not go on from the checkpoints of the first. So a heartbeat is an attribute of
# the trial, and a stale trial goes from RUNNING to WAITING in one write. Study.ask would add trials.

import contextlib
import functools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from gan_jax.sweep.optuna_study import STORAGE_ERRORS, SharedStudy

_DEATHS = 'gan_jax:deaths'  # system attribute of a trial: number of workers that died in it
_MAX_DEATHS = 2  # after which no other worker takes the trial
_HEARTBEAT = 'gan_jax:beat'  # system attribute of a trial: [id of its worker, number of heartbeats]


class TrialResult(NamedTuple):
  """Holds the result of a trial."""

  value: float | None  # None where the trial was pruned or stopped
  attributes: dict[str, Any]  # user attributes for the storage, as JSON


# Maps a trial, and a function that returns whether another worker took the trial over, to its result.
Evaluate = Callable[[optuna.Trial, Callable[[], bool]], TrialResult]


def run_trials(
  shared: SharedStudy, evaluate: Evaluate, stop: Callable[[], bool] = lambda: False
) -> bool:
  """Evaluates waiting trials until all are finished; returns False where `stop` returned True before.

  `evaluate` should return early when `stop` or the function that it receives returns True.
  """
  watched: dict[int, tuple[Any, float]] = {}
  while not stop():
    trials = shared.planned_trials()
    waiting = (each for each in trials if each.state == TrialState.WAITING)
    claimed = next((each for each in waiting if shared.set_state(each, TrialState.RUNNING)), None)
    if claimed is not None:
      evaluate_trial(shared, claimed, evaluate, stop)
    elif all(each.state.is_finished() for each in trials):
      return True
    else:
      _release_stale(shared, trials, watched)
      time.sleep(min(1.0, shared.heartbeat))
  return False


def evaluate_trial(
  shared: SharedStudy, claimed: FrozenTrial, evaluate: Evaluate, stop: Callable[[], bool]
) -> None:
  """Evaluates a trial that this worker claimed and stores its result, or releases it where stopped."""
  trial = shared.retry(lambda: optuna.Trial(shared.study, claimed._trial_id))
  with _heartbeats(shared, claimed) as lost:
    result = evaluate(trial, lost)
  if lost():
    return
  if result.value is None and stop():
    shared.set_state(claimed, TrialState.WAITING)
    return

  def finish() -> None:
    for name, value in result.attributes.items():
      trial.set_user_attr(name, value)
    values = None if result.value is None else [result.value]
    state = TrialState.PRUNED if values is None else TrialState.COMPLETE
    shared.storage.set_trial_state_values(claimed._trial_id, state, values)

  with contextlib.suppress(UpdateFinishedTrialError):  # by a worker that took the trial over
    shared.retry(finish)


@contextlib.contextmanager
def _heartbeats(shared: SharedStudy, trial: FrozenTrial) -> Iterator[Callable[[], bool]]:
  """Writes heartbeats of a trial; yields a function that returns whether another worker took the trial."""
  worker, done, lost = uuid.uuid4().hex, threading.Event(), threading.Event()
  id_, storage = trial._trial_id, shared.storage

  def beat(n: int) -> None:
    with contextlib.suppress(*STORAGE_ERRORS):  # the next heartbeat may succeed
      if n > 1:
        now = storage.get_trial(id_)
        if now.state.is_finished() or now.system_attrs.get(_HEARTBEAT, [worker])[0] != worker:
          lost.set()
          return
      storage.set_trial_system_attr(id_, _HEARTBEAT, [worker, n])

  def run() -> None:
    n = 1
    while not done.wait(shared.heartbeat) and not lost.is_set():
      n += 1
      beat(n)

  beat(1)
  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  try:
    yield lost.is_set
  finally:
    done.set()
    thread.join()


def _release_stale(
  shared: SharedStudy, trials: list[FrozenTrial], watched: dict[int, tuple[Any, float]]
) -> None:
  """Puts back the running trials whose heartbeat has not changed for four intervals by this process's clock.

  A trial in which two workers died is marked as failed instead: it may well kill a third.

  `watched` holds the last heartbeat of each trial and the time at which this process first read it.
  """
  for trial in trials:
    if trial.state != TrialState.RUNNING:
      continue
    id_, beat, now = trial._trial_id, trial.system_attrs.get(_HEARTBEAT), time.monotonic()
    if id_ not in watched or watched[id_][0] != beat:
      watched[id_] = (beat, now)
    elif now - watched[id_][1] > 4 * shared.heartbeat:
      del watched[id_]
      fresh = shared.retry(functools.partial(shared.storage.get_trial, id_))
      if fresh.system_attrs.get(_HEARTBEAT) == beat:  # no other worker was faster
        deaths = fresh.system_attrs.get(_DEATHS, 0) + 1
        note = functools.partial(shared.storage.set_trial_system_attr, id_, _DEATHS, deaths)
        with contextlib.suppress(UpdateFinishedTrialError):
          shared.retry(note)
          shared.set_state(trial, TrialState.WAITING if deaths < _MAX_DEATHS else TrialState.FAIL)
