"""Workers of a study in a real PostgreSQL that are killed again and again, and a database that goes away."""

import random
import subprocess
import sys
import time

import pytest
from optuna.trial import TrialState

from gan_jax import fleet
from tests import fleet_worker, postgresql

pytestmark = pytest.mark.slow
N_WORKERS = 4
LIMIT = 500  # seconds


@pytest.fixture
def server():
  with postgresql.running() as server:
    yield server


def start(server, patience=60):
  command = [sys.executable, '-m', 'tests.fleet_worker', server.url, str(patience)]
  return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finished(joined):
  return [t for t in fleet.trials(joined) if t.state == TrialState.COMPLETE]


def assert_each_once(joined):
  trials = fleet.trials(joined)
  assert [t.state for t in trials] == [TrialState.COMPLETE] * 200
  assert len({tuple(sorted(t.params.items())) for t in trials}) == 200
  for trial in trials:
    assert trial.value == pytest.approx(fleet_worker.value_of(trial.params))
  assert len(joined.study.get_trials(deepcopy=False)) == 200


def test_four_workers_killed_every_few_seconds_lose_nothing_and_double_nothing(server):
  workers = [start(server) for _ in range(N_WORKERS)]
  kills, began, draw = 0, time.monotonic(), random.Random(0)
  while any(worker.poll() is None for worker in workers):
    assert time.monotonic() - began < LIMIT
    time.sleep(draw.uniform(2, 4))
    i = draw.randrange(N_WORKERS)
    if workers[i].poll() is None:
      workers[i].kill()
      workers[i].communicate()
      workers[i] = start(server)
      kills += 1
  joined = fleet_worker.join(server.url)
  assert_each_once(joined)
  assert kills >= 5
  for worker in workers:
    assert worker.communicate()[1] == ''
  print(f'{kills} kills in {time.monotonic() - began:.0f} s')


def test_a_database_that_comes_back_is_waited_for(server):
  worker = start(server)
  joined = fleet_worker.join(server.url)
  while not finished(joined):
    time.sleep(0.2)
  server.stop()
  time.sleep(5)
  assert worker.poll() is None
  server.start()
  assert worker.wait(timeout=LIMIT) == 0
  assert_each_once(fleet_worker.join(server.url))


def test_a_database_that_stays_away_ends_the_worker_with_one_line(server):
  worker = start(server, patience=4)
  joined = fleet_worker.join(server.url)
  while not finished(joined):
    time.sleep(0.2)
  server.stop()
  _, err = worker.communicate(timeout=120)
  assert worker.returncode != 0
  (line,) = err.splitlines()
  assert 'out of reach for 4 s' in line
