import collections
import multiprocessing
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from gan_jax.sweep import optuna_worker, search_space
from gan_jax.utils.errors import UserError
from tests.helpers import optuna_worker_process

pytestmark = pytest.mark.filterwarnings('ignore::optuna.exceptions.ExperimentalWarning')
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.helpers.optuna_worker_process'])
FEW = search_space.axes(['k=1,2,3', 'r1=0.1,0.2'])


@pytest.fixture
def store(tmp_path):
  return f'journal:{tmp_path / "store.log"}'


def evaluate(trial, lost):
  setting = dict(optuna_worker.suggest(trial, FEW, continuous=False))
  return optuna_worker.Found(float(setting['k']) + setting['r1'], {})


def join(store, **options):
  return optuna_worker_process.join(store, axes=FEW, **options)


def values(joined):
  return sorted(trial.value for trial in optuna_worker.trials(joined))


ALL = [1.1, 1.2, 2.1, 2.2, 3.1, 3.2]


def test_a_grid_is_tried_once_each(store):
  joined = join(store)
  assert optuna_worker.work(joined, evaluate)
  assert values(joined) == pytest.approx(ALL)
  assert len(joined.study.trials) == len(ALL)


def test_workers_that_begin_together_share_the_trials(store):
  done, took = [], collections.Counter()

  def worker(name):
    def count(trial, lost):
      took[name] += 1
      time.sleep(0.1)
      return evaluate(trial, lost)

    done.append(optuna_worker.work(join(store), count))

  threads = [threading.Thread(target=worker, args=(i,)) for i in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert done == [True] * 3
  assert sum(took.values()) == len(ALL)
  assert values(join(store)) == pytest.approx(ALL)


@pytest.mark.parametrize('sampler', ['random', 'tpe'])
def test_samplers_make_as_many_trials_as_planned_within_the_ranges(store, sampler):
  axes = search_space.axes(['g_lr=log(1e-4,1e-2,3)', 'k=lin(1,4,2)', 'loss=hinge,saturating'])
  joined = optuna_worker_process.join(store, axes=axes, sampler=sampler, trials=7)
  seen = []

  def look(trial, lost):
    seen.append(dict(optuna_worker.suggest(trial, axes, continuous=True)))
    return optuna_worker.Found(seen[-1]['g_lr'], {})

  assert optuna_worker.work(joined, look)
  assert len(seen) == 7
  assert all(1e-4 <= s['g_lr'] <= 1e-2 and 1 <= float(s['k']) <= 4 for s in seen)
  assert len({s['g_lr'] for s in seen}) == 7


def test_a_trial_whose_worker_died_is_taken_over(store):
  dead = join(store)
  lost_one = optuna_worker._claim(dead)  # and nothing more is heard of it
  joined = join(store, beat=0.1)
  assert optuna_worker.work(joined, evaluate)
  assert values(joined) == pytest.approx(ALL)
  assert lost_one.number in {trial.number for trial in optuna_worker.trials(joined)}


def test_a_trial_whose_worker_lives_is_left_alone(store):
  slow, quick = join(store, beat=0.1), join(store, beat=0.1)
  calls = []

  def long(trial, lost):
    calls.append(trial.number)
    time.sleep(1.5)
    assert not lost()
    return evaluate(trial, lost)

  def one_then_stop():
    return bool(calls)

  thread = threading.Thread(target=optuna_worker.work, args=(slow, long, one_then_stop))
  thread.start()
  while not calls:
    time.sleep(0.01)
  numbers = []
  assert optuna_worker.work(quick, lambda t, lost: (numbers.append(t.number), evaluate(t, lost))[1])
  thread.join()
  assert calls[0] not in numbers
  assert values(quick) == pytest.approx(ALL)


def test_a_worker_that_was_only_slow_does_no_harm(store):
  slow, other = join(store), join(store, beat=0.1)
  trial = optuna_worker._claim(slow)  # no heart beats, as on a machine that swaps
  assert optuna_worker.work(other, evaluate)
  optuna_worker._evaluate(
    slow, trial, lambda trial, lost: optuna_worker.Found(-1.0, {}), lambda: False
  )
  assert values(other) == pytest.approx(ALL)


def test_a_worker_that_stops_leaves_its_trial_to_others(store):
  joined, stopped = join(store), []

  def give_up(trial, lost):
    stopped.append(trial.number)
    return optuna_worker.Found(None, {})

  assert not optuna_worker.work(joined, give_up, lambda: bool(stopped))
  states = [trial.state for trial in optuna_worker.trials(joined)]
  assert states == [TrialState.WAITING] * len(ALL)


@pytest.mark.slow
def test_what_a_dead_creator_left_half_done_is_completed(store):
  joined = join(store)
  first = joined.study.trials[0]
  storage = joined.storage
  half = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], 'half')
  study = optuna.load_study(study_name='half', storage=storage)
  study.enqueue_trial({}, user_attrs={'slot': 0})
  study.enqueue_trial({}, user_attrs={'slot': 0})  # by two who completed it at the same moment
  assert first.number == 0
  assert half is not None
  found = optuna_worker.join(store, 'half', optuna_worker_process.FACTS, FEW, 'random', 4, False)
  assert [t.user_attrs['slot'] for t in optuna_worker.trials(found)] == [0, 1, 2, 3]


def test_a_store_of_another_sweep_is_refused(store):
  join(store)
  with pytest.raises(UserError, match=r'of another sweep \(other sweep\)'):
    join(store, facts={'sweep': 'other'})


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
    optuna_worker.open_storage(store, 1.0)


def test_a_database_that_is_away_is_waited_for_and_then_told_without_its_password():
  began = time.monotonic()
  with pytest.raises(UserError, match='out of reach') as raised:
    optuna_worker.open_storage('postgresql://me:secret@127.0.0.1:1/none', 2.0)
  assert time.monotonic() - began > 1
  assert 'secret' not in str(raised.value)


def test_a_killed_worker_loses_nothing_and_doubles_nothing(store):
  """One kill on a journal file; many, on PostgreSQL, are in test_fleet_slow.py."""
  worker = CONTEXT.Process(target=optuna_worker_process.serve, args=(store, 20))
  worker.start()
  joined = optuna_worker_process.join(store)
  while sum(t.state == TrialState.COMPLETE for t in optuna_worker.trials(joined)) < 3:
    time.sleep(0.05)
  worker.kill()
  worker.join()
  states = collections.Counter(t.state for t in optuna_worker.trials(joined))
  assert states[TrialState.RUNNING] <= 1  # what it was at
  assert states[TrialState.COMPLETE] + states[TrialState.WAITING] >= 199
  quick = joined._replace(beat=0.1)
  only = [t.number for t in optuna_worker.trials(joined) if t.state == TrialState.RUNNING]
  seen = []

  def note(trial, lost):
    seen.append(trial.number)
    return optuna_worker.Found(0.0, {})

  assert optuna_worker.work(quick, note)
  assert len(seen) == len(set(seen))
  assert set(only) <= set(seen)
  assert all(t.state == TrialState.COMPLETE for t in optuna_worker.trials(joined))
