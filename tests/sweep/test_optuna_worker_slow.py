"""Kills workers of a study in a real PostgreSQL again and again, and stops the database."""

import gc
import multiprocessing
import random
import time

import pytest
from optuna.trial import TrialState

from tests.helpers import optuna_worker_process, postgresql

pytestmark = [
  pytest.mark.slow,
  # Optuna closes its connections only when they are collected as garbage.
  pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
]
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.helpers.optuna_worker_process'])
N_WORKERS = 4
LIMIT = 1500  # seconds, on a machine that does much else


@pytest.fixture
def server():
  with postgresql.running() as server:
    yield server
  gc.collect()  # closes connections while their warnings are ignored


def start(server, patience=60):
  """A worker, forked from a process that has imported everything and done nothing."""
  worker = CONTEXT.Process(target=optuna_worker_process.serve, args=(server.url, patience))
  worker.start()
  return worker


def finished(shared):
  return [t for t in shared.planned_trials() if t.state == TrialState.COMPLETE]


def assert_each_once(shared):
  trials = shared.planned_trials()
  assert [t.state for t in trials] == [TrialState.COMPLETE] * 200
  assert len({tuple(sorted(t.params.items())) for t in trials}) == 200
  for trial in trials:
    assert trial.value == pytest.approx(optuna_worker_process.value_of(trial.params))
  others = (
    len(shared.study.get_trials(deepcopy=False)) - 200
  )  # duplicates, enqueued by two workers at once
  failed = [t for t in shared.study.get_trials(deepcopy=False) if t.state == TrialState.FAIL]
  assert len(failed) == others


def test_four_workers_killed_every_few_seconds_lose_nothing_and_double_nothing(server):
  workers = [start(server) for _ in range(N_WORKERS)]
  shared = optuna_worker_process.join(server.url)
  kills, began, draw, done = 0, time.monotonic(), random.Random(0), -1
  while any(worker.is_alive() for worker in workers):
    assert time.monotonic() - began < LIMIT
    time.sleep(draw.uniform(1, 3))
    now = len(finished(shared))
    if now == done < 200:
      continue  # on a busy machine kills could outrun the work for good
    done = now
    i = draw.randrange(N_WORKERS)
    if workers[i].is_alive():
      workers[i].kill()
      workers[i].join()
      workers[i] = start(server)
      kills += 1
  assert_each_once(shared)
  assert kills >= 5
  assert {worker.exitcode for worker in workers} <= {0, -9}
  print(f'{kills} kills in {time.monotonic() - began:.0f} s')


def test_workers_wait_for_a_database_that_comes_back(server):
  worker = start(server)
  shared = optuna_worker_process.join(server.url)
  while not finished(shared):
    time.sleep(0.2)
  server.stop()
  time.sleep(5)
  assert worker.is_alive()
  server.start()
  worker.join(LIMIT)
  assert worker.exitcode == 0
  assert_each_once(optuna_worker_process.join(server.url))


def test_a_database_that_stays_away_ends_the_worker(server):
  worker = start(server, patience=4)
  shared = optuna_worker_process.join(server.url)
  while not finished(shared):
    time.sleep(0.2)
  server.stop()
  worker.join(120)
  assert worker.exitcode == 1
