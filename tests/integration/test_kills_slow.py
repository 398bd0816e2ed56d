"""Tests for half an hour that runs killed many times end like an uninterrupted one."""

import collections
import os
import random
import time

import jax
import numpy as np
import pytest

from gan_jax.training import metric_writers
from tests.helpers import commands

pytestmark = pytest.mark.slow

KILLS = 160  # tests/data/test_preparation_slow.py kills the preparation of data
STEPS, EVAL_EVERY = 400, 200
RUN = (
  *commands.TINY,
  f'--steps={STEPS}',
  '--log_every=20',
  f'--eval_every={EVAL_EVERY}',
  '--checkpoint_every=50',
  '--k=auto',
  '--augment=translation',
  '--ada_target=0.6',
)
PHASES = ('start-up', 'training', 'checkpoint', 'evaluation')


def test_killed_runs_end_like_an_uninterrupted_one(tmp_path, mnist):
  env = environment(tmp_path, mnist)
  unbroken = tmp_path / 'unbroken'
  train(unbroken, env)  # with an empty compilation cache
  seconds = measure_phases(tmp_path / 'measured', env)
  print('\nseconds of each phase:', seconds)
  rng, phases, runs = random.Random(0), collections.Counter(), 0
  targets = [PHASES[i % len(PHASES)] for i in range(KILLS)]
  rng.shuffle(targets)
  run = tmp_path / 'run0'
  while targets:
    before = inode(run)
    if kill_in(targets[-1], run, env, seconds, rng):
      phases[phase_of(run, before)] += 1
      targets.pop()
      print(f'{sum(phases.values())} kills of {runs + 1} runs:', dict(phases), flush=True)
      assert_intact(run, unbroken)
    else:  # the run ended before the kill
      assert_same(run, unbroken)
      runs += 1
      run = tmp_path / f'run{runs}'
  train(run, env)
  assert_same(run, unbroken)
  assert sum(phases.values()) == KILLS
  assert KILLS < 40 or len(phases) == len(PHASES)


def environment(folder, mnist):
  """Returns environment variables with few images and an initially empty compilation cache."""
  commands.write_few_digits(folder / 'data', mnist)
  return os.environ | {
    'GAN_JAX_DATA_DIR': str(folder / 'data'),
    'XDG_CACHE_HOME': str(folder / 'cache'),
    'JAX_PLATFORMS': 'cpu',
  }


def start(run, env):
  return commands.start('train', *RUN, f'--run={run}', env=env)


def train(run, env):
  """Trains a run to its end."""
  ended = commands.finish(start(run, env), timeout=900)  # includes the training of a classifier
  assert (ended.code, 'Traceback' in ended.err) == (0, False), ended


def measure_phases(run, env):
  """Returns the seconds of each phase, with a warm compilation cache."""
  process, begun = start(run, env), time.perf_counter()
  wait_for('training', run, None, process)
  started = time.perf_counter()
  wait_for('evaluation', run, None, process)
  trained = time.perf_counter()
  ended = commands.finish(process)
  assert ended.code == 0, ended
  rest = time.perf_counter() - trained  # two evaluations, and training between them
  return {
    'start-up': started - begun,
    'training': rest / 2,
    'checkpoint': 0.2,
    'evaluation': rest / 2,
  }


kills_since_checkpoint = collections.Counter()  # by run


def kill_in(aim, run, env, seconds, rng):
  """Starts the run and kills it at a random time in phase `aim`; returns False if the run ended before.

  Kills come later, the more of them had no checkpoint between, so that every run ends.
  """
  before, done = inode(run), checkpoints(run)
  process = start(run, env)
  alive = aim == 'start-up' or wait_for(aim, run, before, process)
  patience = 1.3 ** kills_since_checkpoint[run]
  deadline = time.monotonic() + rng.uniform(0, seconds[aim]) * patience
  while alive and time.monotonic() < deadline:
    alive = process.poll() is None
    time.sleep(0.002)
  process.kill()
  ended = commands.finish(process)
  kills_since_checkpoint[run] = kills_since_checkpoint[run] + 1 if checkpoints(run) == done else 0
  assert ended.code in (0, -9), ended
  assert 'Traceback' not in ended.err
  return ended.code == -9


def wait_for(aim, run, before, process):
  """Waits for a phase; returns False if the process ends before."""
  while process.poll() is None:
    if inode(run) != before and reached(aim, run):  # metrics.jsonl was opened by this process
      return True
    time.sleep(0.005)
  return False


def reached(aim, run):
  if aim == 'checkpoint':
    return any((run / 'checkpoints').glob('*tmp*'))
  records = commands.records(run)
  if aim == 'training':
    return any(record['step'] > max(checkpoints(run), default=0) for record in records)
  return bool(records) and 'd_loss' in records[-1] and records[-1]['step'] % EVAL_EVERY == 0


def inode(run):
  """Returns the inode of metrics.jsonl, which changes with each process; None without a file."""
  try:
    return (run / 'metrics.jsonl').stat().st_ino
  except FileNotFoundError:
    return None


def checkpoints(run):
  """Returns the steps of the complete checkpoints."""
  folder = run / 'checkpoints'
  return {int(path.name) for path in folder.glob('*') if path.name.isdecimal()}


def phase_of(run, before):
  """Returns the phase in which a process was killed, from its files."""
  if inode(run) == before:
    return 'start-up'
  if any((run / 'checkpoints').glob('*tmp*')):
    return 'checkpoint'
  return 'evaluation' if reached('evaluation', run) else 'training'


def assert_intact(run, unbroken):
  """Asserts that all complete records are the first ones of the unbroken run."""
  path = run / 'metrics.jsonl'
  records = commands.records(run)
  assert records == commands.records(unbroken)[: len(records)]
  if path.exists():
    text = path.read_text()
    assert len(metric_writers.read_metrics(path)) >= text.count('\n')


def assert_same(run, unbroken):
  """Asserts equal files, bit for bit, without temporary ones."""
  jax.tree.map(
    np.testing.assert_array_equal, commands.load_state(run), commands.load_state(unbroken)
  )
  assert commands.records(run) == commands.records(unbroken)
  assert checkpoints(run) == checkpoints(unbroken)
  names = [{path.name for path in run_paths(folder)} for folder in (run, unbroken)]
  assert names[0] == names[1]
  for path in (unbroken / 'samples').iterdir():
    assert (run / 'samples' / path.name).read_bytes() == path.read_bytes()
  assert not [path for path in run.rglob('*') if 'tmp' in path.name or path.name[0] == '.']


def run_paths(run):
  """Returns the paths in a run folder without event files, of which each process writes one."""
  paths = [*run.glob('*'), *run.glob('samples/*'), *run.glob('checkpoints/*')]
  return [path for path in paths if not path.name.startswith('events.')]
