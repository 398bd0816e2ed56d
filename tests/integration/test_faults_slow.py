"""Proof that takes most of an hour: whatever happens to one of several processes, the run comes through it.

Faults of ten kinds hit runs of 2 to 4 processes, one after the other, until each run is finished. After every
fault all processes have ended within a minute with a line that says why, or the run went on; and what is
on disk is what the unbroken run had at that step, bit for bit.
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
from tests.helpers.warm_processes import Nursery

pytestmark = pytest.mark.slow

EACH = int(os.environ.get('FAULTS_OF_A_KIND', '10'))
SIZES = (2, 3, 2, 4)  # processes of one run after the other
STEPS = 200
FLAGS = (
  *process_groups.RING, '--batch_size=12', f'--steps={STEPS}', f'--eval_every={STEPS}', '--devices=1',
)  # fmt: skip
DAMAGE = ('truncated', 'bit-flipped', 'missing')
AT_ONCE = ('slow disk', 'clock skew')
KINDS = ('kill', 'freeze', 'SIGTERM', 'lost coordinator', 'full disk', *DAMAGE, *AT_ONCE)
LIMIT = 60.0  # seconds from a fault to the end of the last process


class Table:
  """Runs, faults, and what came of them."""

  def __init__(self, nursery, disk, roomy, rng):
    self.nursery, self.disk, self.roomy, self.rng = nursery, disk, roomy, rng
    self.slowest, self.runs, self.failures = 0.0, 0, []
    self.counts, self.sizes = collections.Counter(), collections.Counter()
    self.unbroken = {}

  def start(self, run, n, disturbed=None, *flags):
    """Start all processes of a run; `disturbed[i]` is what is wrong with the world of process i."""
    together = (f'--coordinator=localhost:{process_groups.free_port()}', f'--num_processes={n}')
    return [
      self.nursery.train(
        *FLAGS, *flags, f'--run={run}', *together, f'--process_id={i}',
        disturbed=(disturbed or {}).get(i, ''),
      )
      for i in range(n)
    ]  # fmt: skip

  def ended(self, children, limit=LIMIT):
    """How all of them ended, and in how many seconds from now."""
    began = time.monotonic()
    found = [child.wait(began + limit) for child in children]
    if limit == LIMIT:
      self.slowest = max(self.slowest, time.monotonic() - began)
    return found

  def whole(self, n):
    """The run of n processes that nothing disturbs, with all its checkpoints."""
    if n not in self.unbroken:
      run = self.roomy / f'unbroken{n}'
      children = self.start(run, n, None, '--keep=1000', '--checkpoint_every=10')
      assert [x.code for x in self.ended(children, 900)] == [0] * n, children[0].said()
      self.unbroken[n] = (records(run), {s: commands.state(run, s) for s in steps_of(run)})
    return self.unbroken[n]

  def intact(self, run, n):
    """Every record and every checkpoint is the unbroken run's; returns the last step on disk."""
    told, states = self.whole(n)
    assert records(run) == told[: len(records(run))]
    there = [step for step in steps_of(run) if checkpoint_integrity.find_damage(run, step) is None]
    for step in there[-1:]:
      jax.tree.map(np.testing.assert_array_equal, commands.state(run, step), states[step])
    return max(there, default=0)


def records(run):
  return commands.records(run)


def steps_of(run):
  names = (path.name for path in (run / 'checkpoints').glob('*'))
  return sorted(int(name) for name in names if name.isdecimal())


def inode(run):
  path = run / 'metrics.jsonl'
  return path.stat().st_ino if path.exists() else None


def wait_until(table, run, step, children, before):
  """Return True when the records reach `step`; False where a process ended before."""
  deadline = time.monotonic() + 180
  # While the file is the one of before, what it says is an earlier process's word.
  while not (inode(run) != before and any(record['step'] >= step for record in records(run))):
    if any(child.poll() is not None for child in children):
      return False
    assert time.monotonic() < deadline, [child.said() for child in children]
    time.sleep(0.01)
  time.sleep(table.rng.uniform(0, 0.3))
  return all(child.poll() is None for child in children)


def lost(table, children, victim, number):
  """A process is gone or frozen: the others say so and end; so does it, when it wakes up."""
  children[victim].send_signal(number)
  others = table.ended([child for child in children if child is not children[victim]])
  if number == signal.SIGSTOP:
    children[victim].send_signal(signal.SIGCONT)
    (woken,) = table.ended([children[victim]])
    assert woken.code in (0, process_groups.EXIT_PEER_LOST), woken
  else:
    (killed,) = table.ended([children[victim]])
    assert killed.code in (-9, 0), killed
  for other in others:
    assert other.code in (0, process_groups.EXIT_PEER_LOST), other
    assert other.code == 0 or f'process {victim}' in process_groups.last_line(other), other
  return others


def full_disk(table, children):
  """The disk is full from now on; afterwards there is room again."""
  filler = table.disk / 'filler'
  with filler.open('wb', buffering=0) as file:
    try:
      while True:
        file.write(b'x' * 4096)
    except OSError:
      pass
  ended = table.ended(children)
  filler.unlink()
  for each in ended:
    assert each.code in (0, 2, process_groups.EXIT_PEER_LOST), each
    assert each.code == 0 or 'error: ' in process_groups.last_line(each), each
  assert any('disk is full' in each.err for each in ended) or {x.code for x in ended} == {0}, ended
  return ended


def damage(kind, run, step, rng):
  """Spoil a checkpoint."""
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


def stop(table, children, victim):
  """SIGTERM for one of them: all save and end well."""
  children[victim].send_signal(signal.SIGTERM)
  ended = table.ended(children)
  assert [each.code for each in ended] == [0] * len(ended), ended
  finished = any('finished: ' in each.out for each in ended)
  assert finished or all('and saved at step' in each.out for each in ended), ended
  return ended


def strike(table, kind, run, n):
  """Start the run, let one fault happen to it, and see what comes of that; False where it came too late."""
  rng, last = table.rng, max(steps_of(run), default=0)
  if kind in DAMAGE and not last:
    return False
  if kind in DAMAGE:
    damage(kind, run, last, rng)
  worlds = {}
  if kind == 'slow disk':
    worlds = dict.fromkeys(range(n), 'slow disk')
  elif kind == 'clock skew':
    worlds = {rng.randrange(n): rng.choice(('ahead', 'behind'))}
  before = inode(run)
  children = table.start(run, n, worlds)
  if kind in DAMAGE:
    last = max([step for step in steps_of(run) if step < last], default=0)
  step = min(last + 10 * rng.randint(1, 6), STEPS - 10)
  there = wait_until(table, run, step, children, before)
  if not there:
    ended = table.ended(children)
    assert [each.code for each in ended] == [0] * n, ended
  elif kind == 'kill':
    lost(table, children, rng.randrange(1, n), signal.SIGKILL)
  elif kind == 'freeze':
    lost(table, children, rng.randrange(1, n), signal.SIGSTOP)
  elif kind == 'lost coordinator':
    lost(table, children, 0, rng.choice((signal.SIGKILL, signal.SIGSTOP)))
  elif kind == 'full disk':
    full_disk(table, children)
  else:
    stop(table, children, rng.randrange(n))
  if kind in DAMAGE:
    assert 'this checkpoint is damaged' in children[0].said()[1], children[0].said()
  return there or kind in (*DAMAGE, *AT_ONCE)


@pytest.fixture
def disk(tmp_path):
  """A small file system of its own, so that it can be full; where it cannot be mounted, a folder."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)]
  mounted = not subprocess.run(command, capture_output=True, check=False).returncode
  yield folder, mounted
  if mounted:
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_whatever_happens_to_a_process_the_run_ends_as_the_unbroken_one(tmp_path, disk):
  folder, mounted = disk
  kinds = [kind for kind in KINDS if mounted or kind != 'full disk'] * EACH
  rng = random.Random(1)
  rng.shuffle(kinds)
  nursery = Nursery(tmp_path / 'streams', process_groups.environment(tmp_path / 'cache'))
  table = Table(nursery, folder, tmp_path, rng)
  try:
    hit(table, kinds)
  finally:
    nursery.close()
  found = {'runs': table.runs, 'slowest end': table.slowest, 'failures': len(table.failures)}
  print(json.dumps({'faults': table.counts, 'of processes': table.sizes} | found), flush=True)
  assert not table.failures
  assert sum(table.counts.values()) >= EACH * len(set(kinds))


def hit(table, kinds):
  """Let every one of `kinds` happen, to one run after another; what went otherwise is kept for the end."""
  began, waiting = time.monotonic(), list(kinds)
  while waiting:
    n = SIZES[table.runs % len(SIZES)]
    run, last = table.disk / f'run{table.runs}', 0
    table.whole(n)
    try:
      while waiting and last < STEPS:
        # What needs a checkpoint waits for one.
        kind = next((x for x in waiting if last or x not in DAMAGE), 'SIGTERM')
        if strike(table, kind, run, n):
          table.counts[kind] += 1
          table.sizes[n] += 1
          if kind in waiting:
            waiting.remove(kind)
        last = table.intact(run, n)
        print(
          f'{time.monotonic() - began:6.0f} s  {sum(table.counts.values()):3d}  run {table.runs} of {n}  '
          f'{kind}: step {last}  slowest end {table.slowest:.1f} s', flush=True,
        )  # fmt: skip
      if last < STEPS:
        assert [x.code for x in table.ended(table.start(run, n), 900)] == [0] * n
      told, states = table.whole(n)
      assert (table.intact(run, n), records(run)) == (STEPS, told)
      jax.tree.map(np.testing.assert_array_equal, commands.state(run), states[STEPS])
    except AssertionError as error:
      table.failures.append(f'{kind} of {n}: {error}')
      print(f'FAILED {table.failures[-1]}', flush=True)
      if kind in waiting:
        waiting.remove(kind)
      table.nursery.end()
    table.runs += 1
    shutil.rmtree(run, ignore_errors=True)
