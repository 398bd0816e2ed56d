"""Tests for almost an hour that runs of several processes survive faults of ten kinds.

Injects faults into runs of 2 to 4 processes until each run is finished. After a fault all processes end within
a minute with a line that names the reason, or the run continues. Records and checkpoints on disk always equal
those of the uninterrupted run, bit for bit.
"""

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from gan_jax.training import checkpoint_integrity
from tests.helpers import commands, process_groups
from tests.helpers.warm_processes import ForkServer

pytestmark = pytest.mark.slow

REPEATS = int(os.environ.get('FAULTS_OF_A_KIND', '10'))
RUN_SIZES = (2, 3, 2, 4)  # processes of successive runs
STEPS = 200
FLAGS = (
  *process_groups.RING, '--batch_size=12', f'--steps={STEPS}', f'--eval_every={STEPS}', '--devices=1',
)  # fmt: skip
DAMAGE = ('truncated', 'bit-flipped', 'missing')
DURING_RUN = ('slow disk', 'clock skew')
KINDS = ('kill', 'freeze', 'SIGTERM', 'lost coordinator', 'full disk', *DAMAGE, *DURING_RUN)
LIMIT = 60.0  # seconds from a fault to the end of the last process


class FaultTest:
  """Starts runs, compares them with uninterrupted ones, and counts faults and failures."""

  def __init__(self, server, disk, large_disk, rng):
    self.server, self.disk, self.large_disk, self.rng = server, disk, large_disk, rng
    self.slowest, self.runs, self.failures = 0.0, 0, []
    self.counts, self.sizes = collections.Counter(), collections.Counter()
    self.cache = {}

  def start(self, run, n, faults=None, *flags):
    """Starts all processes of a run; `faults[i]` is the simulated fault of process i."""
    group_flags = (f'--coordinator=localhost:{process_groups.free_port()}', f'--num_processes={n}')
    return [
      self.server.train(
        *FLAGS, *flags, f'--run={run}', *group_flags, f'--process_id={i}',
        fault=(faults or {}).get(i, ''),
      )
      for i in range(n)
    ]  # fmt: skip

  def wait(self, children, limit=LIMIT):
    """Waits for all processes, records the longest time, and returns their results."""
    start = time.monotonic()
    results = [child.wait(start + limit) for child in children]
    if limit == LIMIT:
      self.slowest = max(self.slowest, time.monotonic() - start)
    return results

  def uninterrupted(self, n):
    """Returns the records and all states of an uninterrupted run of n processes."""
    if n not in self.cache:
      run = self.large_disk / f'uninterrupted{n}'
      children = self.start(run, n, None, '--keep=1000', '--checkpoint_every=10')
      assert [x.code for x in self.wait(children, 900)] == [0] * n, children[0].outputs()
      self.cache[n] = (records(run), {s: commands.load_state(run, s) for s in steps_of(run)})
    return self.cache[n]

  def check_files(self, run, n):
    """Asserts that records and checkpoints equal the uninterrupted run's; returns the last step on disk."""
    expected, states = self.uninterrupted(n)
    assert records(run) == expected[: len(records(run))]
    steps = [step for step in steps_of(run) if checkpoint_integrity.find_damage(run, step) is None]
    for step in steps[-1:]:
      jax.tree.map(np.testing.assert_array_equal, commands.load_state(run, step), states[step])
    return max(steps, default=0)


def records(run):
  return commands.records(run)


def steps_of(run):
  names = (path.name for path in (run / 'checkpoints').glob('*'))
  return sorted(int(name) for name in names if name.isdecimal())


def inode(run):
  path = run / 'metrics.jsonl'
  return path.stat().st_ino if path.exists() else None


def wait_until(test, run, step, children, before):
  """Waits until the records reach `step`; returns False if a process ends before."""
  deadline = time.monotonic() + 180
  # The inode `before` is that of the file of earlier processes.
  while not (inode(run) != before and any(record['step'] >= step for record in records(run))):
    if any(child.poll() is not None for child in children):
      return False
    assert time.monotonic() < deadline, [child.outputs() for child in children]
    time.sleep(0.01)
  time.sleep(test.rng.uniform(0, 0.3))
  return all(child.poll() is None for child in children)


def lose_process(test, children, victim, number):
  """Kills or freezes a process; the others name it and end, and a frozen one ends when it resumes."""
  children[victim].send_signal(number)
  others = test.wait([child for child in children if child is not children[victim]])
  if number == signal.SIGSTOP:
    children[victim].send_signal(signal.SIGCONT)
    (woken,) = test.wait([children[victim]])
    assert woken.code in (0, process_groups.EXIT_PEER_LOST), woken
  else:
    (killed,) = test.wait([children[victim]])
    assert killed.code in (-9, 0), killed
  for other in others:
    assert other.code in (0, process_groups.EXIT_PEER_LOST), other
    assert other.code == 0 or f'process {victim}' in process_groups.last_line(other), other
  return others


def full_disk(test, children):
  """Fills the disk until all processes have ended."""
  filler = test.disk / 'filler'
  with filler.open('wb', buffering=0) as file:
    try:
      while True:
        file.write(b'x' * 4096)
    except OSError:
      pass
  ended = test.wait(children)
  filler.unlink()
  for each in ended:
    assert each.code in (0, 2, process_groups.EXIT_PEER_LOST), each
    assert each.code == 0 or 'error: ' in process_groups.last_line(each), each
  assert any('disk is full' in each.err for each in ended) or {x.code for x in ended} == {0}, ended
  return ended


def damage(kind, run, step, rng):
  """Damages a random file of a checkpoint."""
  folder = checkpoint_integrity.checkpoint_path(run, step)
  files = sorted(
    path for path in folder.glob('*/**/*') if path.is_file() and path.stat().st_size > 8
  )
  path = rng.choice(files)
  if kind == 'truncated':
    os.truncate(path, rng.randrange(path.stat().st_size))
  elif kind == 'bit-flipped':
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
  elif rng.random() < 0.5:
    path.unlink()
  else:
    shutil.rmtree(folder)


def stop(test, children, victim):
  """Sends SIGTERM to one process; all save and exit with 128 + 15."""
  children[victim].send_signal(signal.SIGTERM)
  ended = test.wait(children)
  finished = any('finished: ' in each.out for each in ended)
  code = 0 if finished else 143
  assert [each.code for each in ended] == [code] * len(ended), ended
  assert finished or all('and saved at step' in each.out for each in ended), ended
  return ended


def inject_fault(test, kind, run, n):
  """Starts a run, injects one fault and checks the results; returns False if the run ended before."""
  rng, last = test.rng, max(steps_of(run), default=0)
  if kind in DAMAGE and not last:
    return False
  if kind in DAMAGE:
    damage(kind, run, last, rng)
  faults = {}
  if kind == 'slow disk':
    faults = dict.fromkeys(range(n), 'slow disk')
  elif kind == 'clock skew':
    faults = {rng.randrange(n): rng.choice(('ahead', 'behind'))}
  before = inode(run)
  children = test.start(run, n, faults)
  if kind in DAMAGE:
    last = max([step for step in steps_of(run) if step < last], default=0)
  step = min(last + 10 * rng.randint(1, 6), STEPS - 10)
  reached = wait_until(test, run, step, children, before)
  if not reached:
    ended = test.wait(children)
    assert [each.code for each in ended] == [0] * n, ended
  elif kind == 'kill':
    lose_process(test, children, rng.randrange(1, n), signal.SIGKILL)
  elif kind == 'freeze':
    lose_process(test, children, rng.randrange(1, n), signal.SIGSTOP)
  elif kind == 'lost coordinator':
    lose_process(test, children, 0, rng.choice((signal.SIGKILL, signal.SIGSTOP)))
  elif kind == 'full disk':
    full_disk(test, children)
  else:
    stop(test, children, rng.randrange(n))
  if kind in DAMAGE:
    assert 'this checkpoint is damaged' in children[0].outputs()[1], children[0].outputs()
  return reached or kind in (*DAMAGE, *DURING_RUN)


@pytest.fixture
def disk(tmp_path):
  """Yields a folder, and whether a small file system is mounted there."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)]
  mounted = not subprocess.run(command, capture_output=True, check=False).returncode
  yield folder, mounted
  if mounted:
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_runs_with_faults_end_like_uninterrupted_ones(tmp_path, disk):
  folder, mounted = disk
  kinds = [kind for kind in KINDS if mounted or kind != 'full disk'] * REPEATS
  rng = random.Random(1)
  rng.shuffle(kinds)
  server = ForkServer(tmp_path / 'streams', process_groups.environment(tmp_path / 'cache'))
  test = FaultTest(server, folder, tmp_path, rng)
  try:
    inject_all(test, kinds)
  finally:
    server.close()
  totals = {'runs': test.runs, 'slowest end': test.slowest, 'failures': len(test.failures)}
  print(json.dumps({'faults': test.counts, 'of processes': test.sizes} | totals), flush=True)
  assert not test.failures
  assert sum(test.counts.values()) >= REPEATS * len(set(kinds))


def inject_all(test, kinds):
  """Injects a fault of each of `kinds` into successive runs; collects failures."""
  start, waiting = time.monotonic(), list(kinds)
  while waiting:
    n = RUN_SIZES[test.runs % len(RUN_SIZES)]
    run, last = test.disk / f'run{test.runs}', 0
    test.uninterrupted(n)
    try:
      while waiting and last < STEPS:
        # Damage needs a checkpoint.
        kind = next((x for x in waiting if last or x not in DAMAGE), 'SIGTERM')
        if inject_fault(test, kind, run, n):
          test.counts[kind] += 1
          test.sizes[n] += 1
          if kind in waiting:
            waiting.remove(kind)
        last = test.check_files(run, n)
        print(
          f'{time.monotonic() - start:6.0f} s  {sum(test.counts.values()):3d}  run {test.runs} of {n}  '
          f'{kind}: step {last}  slowest end {test.slowest:.1f} s', flush=True,
        )  # fmt: skip
      if last < STEPS:
        assert [x.code for x in test.wait(test.start(run, n), 900)] == [0] * n
      expected, states = test.uninterrupted(n)
      assert (test.check_files(run, n), records(run)) == (STEPS, expected)
      jax.tree.map(np.testing.assert_array_equal, commands.load_state(run), states[STEPS])
    except AssertionError as error:
      test.failures.append(f'{kind} of {n}: {error}')
      print(f'FAILED {test.failures[-1]}', flush=True)
      if kind in waiting:
        waiting.remove(kind)
      test.server.kill_all()
    test.runs += 1
    shutil.rmtree(run, ignore_errors=True)
