"""Proof that takes half an hour: runs killed again and again end as one that nobody disturbed."""

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

KILLS = 160  # tests/test_data_slow.py has those of the data's preparation
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
AIMS = ('start-up', 'training', 'checkpoint', 'evaluation')


def test_killed_runs_end_as_an_unbroken_one(tmp_path, mnist):
  env = environment(tmp_path, mnist)
  unbroken = tmp_path / 'unbroken'
  train(unbroken, env)  # with nothing compiled yet
  seconds = measure(tmp_path / 'measured', env)
  print('\nseconds of each phase:', seconds)
  rng, phases, runs = random.Random(0), collections.Counter(), 0
  aims = [AIMS[i % len(AIMS)] for i in range(KILLS)]
  rng.shuffle(aims)
  run = tmp_path / 'run0'
  while aims:
    before = inode(run)
    if kill_in(aims[-1], run, env, seconds, rng):
      phases[phase_of(run, before)] += 1
      aims.pop()
      print(f'{sum(phases.values())} kills of {runs + 1} runs:', dict(phases), flush=True)
      assert_intact(run, unbroken)
    else:  # it came to its end first
      assert_same(run, unbroken)
      runs += 1
      run = tmp_path / f'run{runs}'
  train(run, env)
  assert_same(run, unbroken)
  assert sum(phases.values()) == KILLS
  assert KILLS < 40 or len(phases) == len(AIMS)


def environment(folder, mnist):
  """Few images, and a cache of compiled programs that is killed as well while it is filled."""
  commands.write_few_digits(folder / 'data', mnist)
  return os.environ | {
    'GAN_JAX_DATA_DIR': str(folder / 'data'),
    'XDG_CACHE_HOME': str(folder / 'cache'),
    'JAX_PLATFORMS': 'cpu',
  }


def start(run, env):
  return commands.start('train', *RUN, f'--run={run}', env=env)


def train(run, env):
  """Let a run come to its end."""
  ended = commands.finish(start(run, env), timeout=900)  # a classifier is trained, too
  assert (ended.code, 'Traceback' in ended.err) == (0, False), ended


def measure(run, env):
  """How long each phase takes in seconds, once everything is compiled."""
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


fruitless = collections.Counter()  # kills of a run since its last new checkpoint


def kill_in(aim, run, env, seconds, rng):
  """Start the run and kill it at a random moment of the phase `aim`; False where it ended before.

  The more kills have come before a new checkpoint, the later the next one: so every run ends.
  """
  before, done = inode(run), checkpoints(run)
  process = start(run, env)
  alive = aim == 'start-up' or wait_for(aim, run, before, process)
  patience = 1.3 ** fruitless[run]
  deadline = time.monotonic() + rng.uniform(0, seconds[aim]) * patience
  while alive and time.monotonic() < deadline:
    alive = process.poll() is None
    time.sleep(0.002)
  process.kill()
  ended = commands.finish(process)
  fruitless[run] = fruitless[run] + 1 if checkpoints(run) == done else 0
  assert ended.code in (0, -9), ended
  assert 'Traceback' not in ended.err
  return ended.code == -9


def wait_for(aim, run, before, process):
  """Return at the beginning of a phase; False where the process ends first."""
  while process.poll() is None:
    if inode(run) != before and reached(aim, run):  # its old lines are sorted: it is under way
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
  """What changes when a process begins to write metrics.jsonl; None where there is none."""
  try:
    return (run / 'metrics.jsonl').stat().st_ino
  except FileNotFoundError:
    return None


def checkpoints(run):
  """Steps of the complete checkpoints."""
  folder = run / 'checkpoints'
  return {int(path.name) for path in folder.glob('*') if path.name.isdecimal()}


def phase_of(run, before):
  """What a killed process was doing, by what it left."""
  if inode(run) == before:
    return 'start-up'
  if any((run / 'checkpoints').glob('*tmp*')):
    return 'checkpoint'
  return 'evaluation' if reached('evaluation', run) else 'training'


def assert_intact(run, unbroken):
  """Every line but for a last one that was cut short is one of the unbroken run's, in its place."""
  path = run / 'metrics.jsonl'
  records = commands.records(run)
  assert records == commands.records(unbroken)[: len(records)]
  if path.exists():
    text = path.read_text()
    assert len(metric_writers.read_metrics(path)) >= text.count('\n')


def assert_same(run, unbroken):
  """Bit for bit, with nothing left over."""
  jax.tree.map(np.testing.assert_array_equal, commands.state(run), commands.state(unbroken))
  assert commands.records(run) == commands.records(unbroken)
  assert checkpoints(run) == checkpoints(unbroken)
  names = [{path.name for path in places(folder)} for folder in (run, unbroken)]
  assert names[0] == names[1]
  for path in (unbroken / 'samples').iterdir():
    assert (run / 'samples' / path.name).read_bytes() == path.read_bytes()
  assert not [path for path in run.rglob('*') if 'tmp' in path.name or path.name[0] == '.']


def places(run):
  """What lies in a run's folder but for the events: every process begins a file of its own."""
  there = [*run.glob('*'), *run.glob('samples/*'), *run.glob('checkpoints/*')]
  return [path for path in there if not path.name.startswith('events.')]
