import collections
import multiprocessing
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from gan_jax.sweep import optuna_study, optuna_worker, search_space
from gan_jax.utils.errors import UserError
from tests.helpers import optuna_worker_process

pytestmark = pytest.mark.filterwarnings('ignore::optuna.exceptions.ExperimentalWarning')
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.helpers.optuna_worker_process'])
FEW = search_space.parse_axes(['k=1,2,3', 'r1=0.1,0.2'])


@pytest.fixture
def store(tmp_path):
  return f'journal:{tmp_path / "store.log"}'


def evaluate(trial, lost):
  setting = dict(optuna_study.suggest_setting(trial, FEW, continuous=False))
  return optuna_worker.TrialResult(float(setting['k']) + setting['r1'], {})


def join(store, **options):
  return optuna_worker_process.join(store, axes=FEW, **options)


def claim(shared):
  trial = shared.planned_trials()[0]
  assert shared.set_state(trial, TrialState.RUNNING)
  return trial


def values(shared):
  return sorted(trial.value for trial in shared.planned_trials())


ALL = [1.1, 1.2, 2.1, 2.2, 3.1, 3.2]


def test_a_grid_is_tried_once_each(store):
  shared = join(store)
  assert optuna_worker.run_trials(shared, evaluate)
  assert values(shared) == pytest.approx(ALL)
  assert len(shared.study.trials) == len(ALL)


def test_workers_that_begin_together_share_the_trials(store):
  done, evaluated = [], collections.Counter()

  def worker(name):
    def count(trial, lost):
      evaluated[name] += 1
      time.sleep(0.1)
      return evaluate(trial, lost)

    done.append(optuna_worker.run_trials(join(store), count))

  threads = [threading.Thread(target=worker, args=(i,)) for i in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert done == [True] * 3
  assert sum(evaluated.values()) == len(ALL)
  assert values(join(store)) == pytest.approx(ALL)


@pytest.mark.parametrize('sampler', ['random', 'tpe'])
def test_samplers_make_as_many_trials_as_planned_within_the_ranges(store, sampler):
  axes = search_space.parse_axes(['g_lr=log(1e-4,1e-2,3)', 'k=lin(1,4,2)', 'loss=hinge,saturating'])
  shared = optuna_worker_process.join(store, axes=axes, sampler=sampler, trials=7)
  drawn = []

  def record(trial, lost):
    drawn.append(dict(optuna_study.suggest_setting(trial, axes, continuous=True)))
    return optuna_worker.TrialResult(drawn[-1]['g_lr'], {})

  assert optuna_worker.run_trials(shared, record)
  assert len(drawn) == 7
  assert all(1e-4 <= s['g_lr'] <= 1e-2 and 1 <= float(s['k']) <= 4 for s in drawn)
  assert len({s['g_lr'] for s in drawn}) == 7


def test_a_trial_whose_worker_died_is_taken_over(store):
  claimed = claim(join(store))  # without a heartbeat
  shared = join(store, heartbeat=0.1)
  assert optuna_worker.run_trials(shared, evaluate)
  assert values(shared) == pytest.approx(ALL)
  assert claimed.number in {trial.number for trial in shared.planned_trials()}


def test_a_trial_in_which_two_workers_died_is_given_to_no_third(store):
  shared, deaths = join(store, heartbeat=0.1), 0
  poisoned = shared.planned_trials()[0].number

  def die_in_the_first(trial, lost):
    nonlocal deaths
    if trial.number == poisoned:
      deaths += 1
      raise KeyboardInterrupt  # leaves the trial running, as a kill does
    return evaluate(trial, lost)

  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      optuna_worker.run_trials(shared, die_in_the_first)
  assert optuna_worker.run_trials(shared, die_in_the_first)
  assert deaths == 2
  states = [trial.state for trial in shared.planned_trials()]
  assert states == [TrialState.FAIL] + [TrialState.COMPLETE] * 5


def test_a_trial_with_heartbeats_is_not_taken_over(store):
  slow, quick = join(store, heartbeat=0.1), join(store, heartbeat=0.1)
  calls = []

  def long(trial, lost):
    calls.append(trial.number)
    time.sleep(1.5)
    assert not lost()
    return evaluate(trial, lost)

  def one_then_stop():
    return bool(calls)

  thread = threading.Thread(target=optuna_worker.run_trials, args=(slow, long, one_then_stop))
  thread.start()
  while not calls:
    time.sleep(0.01)
  numbers = []
  assert optuna_worker.run_trials(
    quick, lambda t, lost: (numbers.append(t.number), evaluate(t, lost))[1]
  )
  thread.join()
  assert calls[0] not in numbers
  assert values(quick) == pytest.approx(ALL)


def test_a_slow_worker_does_not_overwrite_the_result_of_another(store):
  slow, other = join(store), join(store, heartbeat=0.1)
  claimed = claim(slow)  # without heartbeats, as on a machine that swaps
  assert optuna_worker.run_trials(other, evaluate)
  optuna_worker.evaluate_trial(
    slow, claimed, lambda trial, lost: optuna_worker.TrialResult(-1.0, {}), lambda: False
  )
  assert values(other) == pytest.approx(ALL)


def test_a_worker_that_stops_releases_its_trial(store):
  shared, stopped = join(store), []

  def give_up(trial, lost):
    stopped.append(trial.number)
    return optuna_worker.TrialResult(None, {})

  assert not optuna_worker.run_trials(shared, give_up, lambda: bool(stopped))
  states = [trial.state for trial in shared.planned_trials()]
  assert states == [TrialState.WAITING] * len(ALL)


@pytest.mark.slow
def test_trials_that_a_killed_creator_did_not_enqueue_are_added(store):
  shared = join(store)
  first = shared.study.trials[0]
  storage = shared.storage
  half = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], 'half')
  study = optuna.load_study(study_name='half', storage=storage)
  study.enqueue_trial({}, user_attrs={'slot': 0})
  study.enqueue_trial({}, user_attrs={'slot': 0})  # by two workers at the same moment
  assert first.number == 0
  assert half is not None
  options = optuna_study.StudyOptions(store, 'half', 'random', 4)
  shared = optuna_study.join_study(options, optuna_worker_process.DESCRIPTION, FEW, False)
  assert [t.user_attrs['slot'] for t in shared.planned_trials()] == [0, 1, 2, 3]


def test_a_study_of_another_sweep_raises(store):
  join(store)
  with pytest.raises(UserError, match=r'of another sweep \(other sweep\)'):
    join(store, description={'sweep': 'other'})


@pytest.mark.parametrize(
  ('store', 'fragment'),
  [
    ('journal:', 'name a file'),
    ('sqlite:///x', 'journal:FILE or postgresql'),
    ('postgresql://:bad:port:/x', 'no address'),
  ],
)
def test_a_bad_store_is_named(store, fragment):
  with pytest.raises(UserError, match=fragment):
    optuna_study.open_storage(store, 1.0)


def test_an_unreachable_database_is_retried_and_named_without_its_password():
  began = time.monotonic()
  with pytest.raises(UserError, match='out of reach') as raised:
    optuna_study.open_storage('postgresql://me:secret@127.0.0.1:1/none', 2.0)
  assert time.monotonic() - began > 1
  assert 'secret' not in str(raised.value)


def test_a_killed_worker_loses_nothing_and_doubles_nothing(store):
  """One kill on a journal file; many, on PostgreSQL, are in test_optuna_worker_slow.py."""
  worker = CONTEXT.Process(target=optuna_worker_process.serve, args=(store, 20))
  worker.start()
  shared = optuna_worker_process.join(store)
  while sum(t.state == TrialState.COMPLETE for t in shared.planned_trials()) < 3:
    time.sleep(0.05)
  worker.kill()
  worker.join()
  states = collections.Counter(t.state for t in shared.planned_trials())
  assert states[TrialState.RUNNING] <= 1  # the trial of the killed worker
  assert states[TrialState.COMPLETE] + states[TrialState.WAITING] >= 199
  quick = shared._replace(heartbeat=0.1)
  taken = [t.number for t in shared.planned_trials() if t.state == TrialState.RUNNING]
  seen = []

  def note(trial, lost):
    seen.append(trial.number)
    return optuna_worker.TrialResult(0.0, {})

  assert optuna_worker.run_trials(quick, note)
  assert len(seen) == len(set(seen))
  assert set(taken) <= set(seen)
  assert all(t.state == TrialState.COMPLETE for t in shared.planned_trials())
