"""An Optuna study that any number of workers share: they come, go and die, and no trial is lost or doubled.

All trials lie waiting in the store before the first one begins. A worker takes one, and its heart beats
in the store while it works; where a heart has stood still for a while, whoever is idle puts that trial
back among the waiting. A trial is finished once: the store refuses a second end, so that a worker which
was only slow does no harm. Clocks of different machines are never compared.
"""

import contextlib
import functools
import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gan_jax.sweep.search_space import Axis, Setting, settings
from gan_jax.utils.errors import UserError

_BEAT = (
  'gan_jax:beat'  # system attribute of a trial: who works on it, and how often its heart has beaten
)
_SLOT = 'slot'  # user attribute: which of the planned trials it is
_FACTS, _READY = 'sweep', 'ready'  # user attributes of a study
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts to reach a store
SAMPLERS = ('grid', 'random', 'tpe')
T = TypeVar('T')


class Fleet(NamedTuple):
  """A study and how its workers behave."""

  study: optuna.Study
  storage: BaseStorage
  url: str  # without its password
  axes: Sequence[Axis]
  n_trials: int
  beat: float  # seconds between two of a heart
  patience: float  # seconds for which a store may be away


class Found(NamedTuple):
  """What a worker found of a setting."""

  value: float | None  # None where it was given up half-way
  facts: dict[str, Any]  # for the store, as JSON


def patiently(url: str, patience: float, call: Callable[[], T]) -> T:
  """What `call` gives, tried again with longer and longer pauses while the store is away; raises UserError."""
  failed, pause = (
    math.inf,
    _FIRST_PAUSE,
  )  # when it failed first: a call that takes long is no absence
  while True:
    try:
      return call()
    except UpdateFinishedTrialError:
      raise
    except (SQLAlchemyError, OptunaError, OSError) as error:
      if isinstance(error, DuplicatedStudyError):
        raise
      failed = min(failed, time.monotonic())
      if time.monotonic() - failed + pause > patience:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(
          f'--store={url}: out of reach for {patience:g} s ({said}); what this worker found is in the '
          'folder of --run; start it again when the store is back'
        ) from error
    time.sleep(pause)
    pause = min(2 * pause, _LONGEST_PAUSE)


def open_storage(store: str, patience: float) -> tuple[BaseStorage, str]:
  """The storage that --store names, and its name without a password; raises UserError."""
  if store.startswith('journal:'):
    path = store.removeprefix('journal:')
    if not path:
      raise UserError(f'--store={store}: name a file, such as journal:runs/sweep.log')
    lock = JournalFileOpenLock(path)
    make = lambda: JournalStorage(JournalFileBackend(path, lock_obj=lock))
    return patiently(store, patience, make), store
  if not store.startswith(('postgresql:', 'postgresql+')):
    raise UserError(f'--store={store}: give journal:FILE or postgresql://USER@HOST/DATABASE')
  try:
    url = make_url(store.replace('postgresql://', 'postgresql+psycopg://', 1))
  except (SQLAlchemyError, ValueError):
    raise UserError('--store: this is no address; write postgresql://USER@HOST/DATABASE') from None
  shown = make_url(store).render_as_string(hide_password=True)
  options = {'pool_pre_ping': True, 'connect_args': {'connect_timeout': 5}}
  text = url.render_as_string(hide_password=False)
  return patiently(shown, patience, lambda: RDBStorage(text, engine_kwargs=options)), shown


def sampler_of(name: str, seed: int) -> BaseSampler:
  """The sampler of a worker; of a grid everything is fixed beforehand."""
  if name == 'tpe':
    return TPESampler(seed=seed, constant_liar=True, multivariate=True)
  return RandomSampler(seed=seed)


def join(
  store: str,
  name: str,
  facts: dict[str, Any],
  axes: Sequence[Axis],
  sampler: str,
  n_trials: int,
  higher_is_better: bool,
  prune: bool = False,
  beat: float = 5.0,
  patience: float = 60.0,
) -> Fleet:
  """The study of this name with all its trials; raises UserError where it is another sweep's.

  One worker creates it and puts the trials there; the others wait, and where it died they go on.
  """
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  storage, url = open_storage(store, patience)
  direction = StudyDirection.MAXIMIZE if higher_is_better else StudyDirection.MINIMIZE
  mine = True
  try:
    patiently(url, patience, lambda: storage.create_new_study([direction], name))
  except DuplicatedStudyError:
    mine = False
  pruner = optuna.pruners.MedianPruner(n_startup_trials=4) if prune else optuna.pruners.NopPruner()
  seed = uuid.uuid4().int % 2**31  # workers must not propose the same
  study = patiently(
    url,
    patience,
    lambda: optuna.load_study(
      study_name=name, storage=storage, sampler=sampler_of(sampler, seed), pruner=pruner
    ),
  )
  planned = [dict(each) for each in settings(axes)] if sampler == 'grid' else [{}] * n_trials
  fleet = Fleet(study, storage, url, axes, len(planned), beat, patience)
  text = json.dumps({**facts, 'sampler': sampler, 'trials': len(planned)}, sort_keys=True)
  attrs = patiently(url, patience, lambda: study.user_attrs)
  if attrs.get(_FACTS, text) != text:
    old, new = json.loads(attrs[_FACTS]), json.loads(text)
    changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    raise UserError(
      f'--store={url}: the study {name} is of another sweep (other {", ".join(changed)}); '
      'give the same flags to join it, or another --study'
    )
  if mine or not _filled(fleet):
    _fill(fleet, text, planned)
  return fleet


def _filled(fleet: Fleet) -> bool:
  """Wait for who created the study to put its trials there; False where nothing has come for four beats."""
  seen, since = -1, time.monotonic()
  while True:
    if _READY in patiently(fleet.url, fleet.patience, lambda: fleet.study.user_attrs):
      return True
    n = len(patiently(fleet.url, fleet.patience, lambda: fleet.study.get_trials(deepcopy=False)))
    if n != seen:
      seen, since = n, time.monotonic()
    elif time.monotonic() - since > 4 * fleet.beat:
      return False
    time.sleep(min(0.5, fleet.beat))


def _fill(fleet: Fleet, facts: str, planned: Sequence[dict[str, Any]]) -> None:
  """Put every planned trial there that is not; of two of one slot the later one is taken out again."""
  study = fleet.study

  def fill() -> None:
    study.set_user_attr(_FACTS, facts)
    there = {t.user_attrs.get(_SLOT) for t in study.get_trials(deepcopy=False)}
    for slot, params in enumerate(planned):
      if slot not in there:
        study.enqueue_trial(params, user_attrs={_SLOT: slot})
    study.set_user_attr(_READY, True)

  patiently(fleet.url, fleet.patience, fill)
  kept = {trial.number for trial in trials(fleet)}
  for trial in patiently(fleet.url, fleet.patience, lambda: study.get_trials(deepcopy=False)):
    if trial.number not in kept and not trial.state.is_finished():
      with contextlib.suppress(UpdateFinishedTrialError):
        _set_state(fleet, trial._trial_id, TrialState.FAIL)


def suggest(trial: optuna.Trial, axes: Sequence[Axis], continuous: bool) -> Setting:
  """The setting of a trial: `continuous` draws ranges as such, else only from their values."""
  found = []
  for axis in axes:
    value: Any
    if continuous and axis.kind != 'list':
      low, high = min(axis.values, key=float), max(axis.values, key=float)
      if isinstance(low, int):
        value = trial.suggest_int(axis.name, low, high, log=axis.kind == 'log')
      else:
        value = type(low)(
          trial.suggest_float(axis.name, float(low), float(high), log=axis.kind == 'log')
        )
    else:
      value = trial.suggest_categorical(axis.name, axis.values)
    found.append((axis.name, value))
  return tuple(found)


def trials(fleet: Fleet) -> list[FrozenTrial]:
  """One for each slot, the first that was put there."""
  every = patiently(fleet.url, fleet.patience, lambda: fleet.study.get_trials(deepcopy=False))
  found: dict[int, FrozenTrial] = {}
  for trial in sorted(every, key=lambda t: t.number):
    found.setdefault(trial.user_attrs.get(_SLOT, -1), trial)
  found.pop(-1, None)
  return [found[slot] for slot in sorted(found)]


def work(
  fleet: Fleet,
  evaluate: Callable[[optuna.Trial, Callable[[], bool]], Found],
  stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Take trials until all are finished, or until `stop` says so; whether all are.

  `evaluate` may ask whether it has lost its trial to another worker, and return early then.
  """
  watched: dict[int, tuple[Any, float]] = {}
  while not stop():
    trial = _claim(fleet)
    if trial is not None:
      _evaluate(fleet, trial, evaluate, stop)
    elif all(each.state.is_finished() for each in trials(fleet)):
      return True
    else:
      _revive(fleet, watched)
      time.sleep(min(1.0, fleet.beat))
  return False


def _claim(fleet: Fleet) -> optuna.Trial | None:
  """A waiting trial, which no other worker has from now on; None where there is none."""
  for each in trials(fleet):
    if each.state != TrialState.WAITING:
      continue
    with contextlib.suppress(UpdateFinishedTrialError):
      if _set_state(fleet, each._trial_id, TrialState.RUNNING):
        begin = functools.partial(optuna.Trial, fleet.study, each._trial_id)
        return patiently(fleet.url, fleet.patience, begin)
  return None


def _set_state(fleet: Fleet, id_: int, state: TrialState) -> bool:
  put = functools.partial(fleet.storage.set_trial_state_values, id_, state)
  return patiently(fleet.url, fleet.patience, put)


def _evaluate(
  fleet: Fleet,
  trial: optuna.Trial,
  evaluate: Callable[[optuna.Trial, Callable[[], bool]], Found],
  stop: Callable[[], bool],
) -> None:
  id_, storage = trial._trial_id, fleet.storage
  with _heart(fleet, id_) as lost:
    found = evaluate(trial, lost)
  if lost() or (found.value is None and stop()):
    if not lost():  # it stops of its own will, and leaves the trial to the others
      _put_back(fleet, id_)
    return

  def end() -> None:
    for name, value in found.facts.items():
      storage.set_trial_user_attr(id_, name, value)
    if found.value is None:
      storage.set_trial_state_values(id_, TrialState.PRUNED)
    else:
      storage.set_trial_state_values(id_, TrialState.COMPLETE, [found.value])

  with contextlib.suppress(UpdateFinishedTrialError):  # another worker, who thought this one dead
    patiently(fleet.url, fleet.patience, end)


@contextlib.contextmanager
def _heart(fleet: Fleet, id_: int) -> Iterator[Callable[[], bool]]:
  """Beats in the store while the block runs; gives a function that says whether the trial was lost."""
  me, over, lost = uuid.uuid4().hex, threading.Event(), threading.Event()

  def beat(n: int) -> None:
    with contextlib.suppress(
      SQLAlchemyError, OptunaError, OSError
    ):  # the next one may come through
      if n > 1:
        now = fleet.storage.get_trial(id_)
        if now.state.is_finished() or now.system_attrs.get(_BEAT, [me])[0] != me:
          lost.set()
          return
      fleet.storage.set_trial_system_attr(id_, _BEAT, [me, n])

  def keep() -> None:
    n = 1
    while not over.wait(fleet.beat) and not lost.is_set():
      n += 1
      beat(n)

  beat(1)
  thread = threading.Thread(target=keep, daemon=True)
  thread.start()
  try:
    yield lost.is_set
  finally:
    over.set()
    thread.join()


def _revive(fleet: Fleet, watched: dict[int, tuple[Any, float]]) -> None:
  """Put back the trials whose heart this process has seen stand still for four beats."""
  for each in trials(fleet):
    if each.state != TrialState.RUNNING:
      continue
    id_, beat, now = each._trial_id, each.system_attrs.get(_BEAT), time.monotonic()
    if watched.get(id_, (None,))[0] != beat or id_ not in watched:
      watched[id_] = (beat, now)
    elif now - watched[id_][1] > 4 * fleet.beat:
      del watched[id_]
      look = functools.partial(fleet.storage.get_trial, id_)
      fresh = patiently(fleet.url, fleet.patience, look)
      if fresh.system_attrs.get(_BEAT) == beat:  # nobody else has done so in between
        _put_back(fleet, id_)


def _put_back(fleet: Fleet, id_: int) -> None:
  with contextlib.suppress(UpdateFinishedTrialError):
    _set_state(fleet, id_, TrialState.WAITING)
