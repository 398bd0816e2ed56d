"""Opens an Optuna study that many workers share, with all its trials enqueued before the first one starts."""

import contextlib
import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError, UpdateFinishedTrialError
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gan_jax.sweep.equal_compute import changed_names
from gan_jax.sweep.search_space import Axis, Setting, setting_product
from gan_jax.utils.errors import UserError

STORAGE_ERRORS = (SQLAlchemyError, OptunaError, OSError)
_PLAN_INDEX = 'slot'  # user attribute of a trial: its index among the planned trials
_DESCRIPTION, _READY = 'sweep', 'ready'  # user attributes of a study
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts to reach a storage
T = TypeVar('T')


class StudyOptions(NamedTuple):
  """Holds the name and the storage of a study, and how its workers behave."""

  store: str  # journal:FILE or postgresql://USER@HOST/DATABASE
  name: str
  sampler: str  # 'grid': a trial of each setting; 'random' or 'tpe': settings that Optuna draws
  n_trials: int  # of 'random' and 'tpe'
  prune: bool = False  # trials below the median
  heartbeat: float = 5.0  # seconds between two heartbeats of a worker
  patience: float = 60.0  # seconds for which the storage may be unreachable


class SharedStudy(NamedTuple):
  """Holds a study, and how a worker waits for other workers and for the storage."""

  study: optuna.Study
  storage: BaseStorage
  url: str  # without its password
  heartbeat: float  # as in `StudyOptions`
  patience: float

  def retry(self, call: Callable[[], T]) -> T:
    """Calls the storage as `retry` does."""
    return retry(self.url, self.patience, call)

  def all_trials(self) -> list[FrozenTrial]:
    """Returns all trials of the study, duplicates of planned trials included."""
    return self.retry(lambda: self.study.get_trials(deepcopy=False))

  def planned_trials(self) -> list[FrozenTrial]:
    """Returns the planned trials in order: for each index the trial that was enqueued first."""
    trials: dict[int, FrozenTrial] = {}
    for trial in sorted(self.all_trials(), key=lambda t: t.number):
      if _PLAN_INDEX in trial.user_attrs:
        trials.setdefault(trial.user_attrs[_PLAN_INDEX], trial)
    return [trials[index] for index in sorted(trials)]

  def set_state(self, trial: FrozenTrial, state: TrialState) -> bool:
    """Changes the state of an unfinished trial; returns whether this call changed it."""
    with contextlib.suppress(UpdateFinishedTrialError):
      return self.retry(lambda: self.storage.set_trial_state_values(trial._trial_id, state))
    return False


def retry(url: str, patience: float, call: Callable[[], T]) -> T:
  """Returns the result of `call`, repeated with growing pauses while the storage is unreachable.

  Raises UserError after `patience` seconds since the first failure.
  """
  failed, pause = math.inf, _FIRST_PAUSE
  while True:
    try:
      return call()
    except (UpdateFinishedTrialError, DuplicatedStudyError):
      raise
    except STORAGE_ERRORS as error:
      failed = min(failed, time.monotonic())
      if time.monotonic() - failed + pause > patience:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(
          f'--store={url}: out of reach for {patience:g} s ({reason}); results of this worker are in the '
          'folder of --run; start it again when the store is back'
        ) from error
    time.sleep(pause)
    pause = min(2 * pause, _LONGEST_PAUSE)


def open_storage(store: str, patience: float) -> tuple[BaseStorage, str]:
  """Opens the storage that --store names; returns it and its name without a password. Raises UserError."""
  if store.startswith('journal:'):
    path = store.removeprefix('journal:')
    if not path:
      raise UserError(f'--store={store}: name a file, such as journal:runs/sweep.log')
    backend = lambda: JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
    return retry(store, patience, lambda: JournalStorage(backend())), store
  if not store.startswith(('postgresql:', 'postgresql+')):
    raise UserError(f'--store={store}: give journal:FILE or postgresql://USER@HOST/DATABASE')
  try:
    url = make_url(store.replace('postgresql://', 'postgresql+psycopg://', 1))
  except (SQLAlchemyError, ValueError):
    raise UserError('--store: this is no address; write postgresql://USER@HOST/DATABASE') from None
  shown = make_url(store).render_as_string(hide_password=True)
  options = {'pool_pre_ping': True, 'connect_args': {'connect_timeout': 5}}
  text = url.render_as_string(hide_password=False)
  return retry(shown, patience, lambda: RDBStorage(text, engine_kwargs=options)), shown


def join_study(
  options: StudyOptions, description: dict[str, Any], axes: Sequence[Axis], higher_is_better: bool
) -> SharedStudy:
  """Creates a study and enqueues its trials, or joins the study that another worker created.

  Raises UserError where the study has another `description`, or the storage stays unreachable.
  """
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  _, name, kind, n_trials, prune, heartbeat, patience = options
  storage, url = open_storage(options.store, patience)
  direction = StudyDirection.MAXIMIZE if higher_is_better else StudyDirection.MINIMIZE
  created = False
  with contextlib.suppress(DuplicatedStudyError):
    retry(url, patience, lambda: storage.create_new_study([direction], name))
    created = True
  seed = uuid.uuid4().int % 2**31  # every worker must propose other settings
  tpe = lambda: TPESampler(seed=seed, constant_liar=True, multivariate=True)
  sampler = tpe() if kind == 'tpe' else RandomSampler(seed=seed)
  pruner = optuna.pruners.MedianPruner(n_startup_trials=4) if prune else optuna.pruners.NopPruner()
  load = lambda: optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
  shared = SharedStudy(retry(url, patience, load), storage, url, heartbeat, patience)
  plan = [dict(each) for each in setting_product(axes)] if kind == 'grid' else [{}] * n_trials
  text = json.dumps({**description, 'sampler': kind, 'trials': len(plan)}, sort_keys=True)
  stored = shared.retry(lambda: shared.study.user_attrs).get(_DESCRIPTION, text)
  changed = changed_names(json.loads(stored), json.loads(text))
  if changed:
    raise UserError(
      f'--store={url}: the study {name} is of another sweep (other {changed}); '
      'give the same flags to join it, or another --study'
    )
  if created or not _wait_until_ready(shared):
    _enqueue(shared, text, plan)
  return shared


def _wait_until_ready(shared: SharedStudy) -> bool:
  """Waits until all trials are enqueued; returns False where no trial has been added for four heartbeats."""
  n_known, since = -1, time.monotonic()
  while True:
    if _READY in shared.retry(lambda: shared.study.user_attrs):
      return True
    n = len(shared.all_trials())
    if n != n_known:
      n_known, since = n, time.monotonic()
    elif time.monotonic() - since > 4 * shared.heartbeat:
      return False
    time.sleep(min(0.5, shared.heartbeat))


def _enqueue(shared: SharedStudy, description: str, plan: Sequence[dict[str, Any]]) -> None:
  """Enqueues the planned trials that are missing; of two that were enqueued at once the later one fails."""

  def enqueue() -> None:
    study = shared.study
    study.set_user_attr(_DESCRIPTION, description)
    known = {t.user_attrs.get(_PLAN_INDEX) for t in study.get_trials(deepcopy=False)}
    for index, params in enumerate(plan):
      if index not in known:
        study.enqueue_trial(params, user_attrs={_PLAN_INDEX: index})
    study.set_user_attr(_READY, True)

  shared.retry(enqueue)
  kept = {trial.number for trial in shared.planned_trials()}
  for trial in shared.all_trials():
    if trial.number not in kept and not trial.state.is_finished():
      shared.set_state(trial, TrialState.FAIL)


def suggest_setting(trial: optuna.Trial, axes: Sequence[Axis], continuous: bool) -> Setting:
  """Returns the setting of a trial; `continuous` draws from whole ranges, else only the axes' values occur."""

  def suggest(name: str, values: tuple[Any, ...], kind: str) -> Any:
    if not continuous or kind == 'list':
      return trial.suggest_categorical(name, values)
    low, high = min(values, key=float), max(values, key=float)
    if isinstance(low, int):
      return trial.suggest_int(name, low, high, log=kind == 'log')
    return type(low)(trial.suggest_float(name, float(low), float(high), log=kind == 'log'))

  return tuple((axis.name, suggest(*axis)) for axis in axes)
