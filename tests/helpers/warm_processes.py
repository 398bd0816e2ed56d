"""Processes of one run as forks of an interpreter that has imported everything, for tests that start hundreds.

A fork may live in a disturbed world: with a slow disk, or with a clock that is wrong.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

if __name__ == '__main__':
  sys.path.pop(0)  # this folder: its modules are not for scripts

from tests.helpers import commands


class Child(NamedTuple):
  """One of the processes, as seen from outside."""

  pid: int
  stem: pathlib.Path  # of the files of its streams and its exit code

  def poll(self):
    """Its exit code; None while it lives."""
    code = self.stem.with_suffix('.code')
    return int(code.read_text()) if code.exists() else None

  def send_signal(self, number):
    """Signal it, unless it is gone."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def wait(self, deadline):
    """How it ended; an AssertionError where it lives at `deadline` on the monotonic clock."""
    while self.poll() is None:
      if time.monotonic() > deadline:
        self.send_signal(signal.SIGUSR1)  # it says where it is
        time.sleep(1)
        raise AssertionError(f'process {self.pid} did not end:\n{"".join(self.said())}')
      time.sleep(0.02)
    return commands.Ended(self.poll(), *self.said())

  def said(self):
    """Its two streams so far."""
    return [self.stem.with_suffix(f'.{name}').read_text() for name in ('out', 'err')]


class Nursery:
  """Starts children; those that live at `close` are killed."""

  def __init__(self, folder, env):
    self._folder, self._children = folder, []
    folder.mkdir()
    self._server = subprocess.Popen(
      [sys.executable, '-m', 'tests.helpers.warm_processes'], cwd=commands.ROOT, env=env,
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

  def train(self, *args, disturbed=''):
    """Start `experiments.train` in a world disturbed by one of `DISTURBANCES`, or in this one."""
    stem = self._folder / f'{len(self._children):04d}'
    request = {'args': [str(arg) for arg in args], 'stem': str(stem), 'disturbed': disturbed}
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    self._children.append(Child(int(self._server.stdout.readline()), stem))
    return self._children[-1]

  def end(self):
    """Kill those that live."""
    for child in self._children:
      child.send_signal(signal.SIGKILL)

  def close(self):
    """End all."""
    self.end()
    self._server.stdin.close()
    self._server.wait(timeout=20)
    self._server.stdout.close()


def _slow_disk():
  """Whatever Python asks of the disk takes a tenth of a second more."""
  from gan_jax.training import checkpoint_integrity

  def slowly(fn):
    def call(*args, **kwargs):
      time.sleep(0.1)
      return fn(*args, **kwargs)

    return call

  os.fsync, os.replace, os.rename = map(slowly, (os.fsync, os.replace, os.rename))
  pathlib.Path.replace = slowly(pathlib.Path.replace)
  pathlib.Path.rename = slowly(pathlib.Path.rename)
  checkpoint_integrity._digest = slowly(checkpoint_integrity._digest)


def _skewed(by):
  """A clock that is wrong by so many seconds, and stranger from minute to minute."""

  def disturb():
    true, began = time.time, time.time()
    time.time = lambda: true() + by + (true() - began) * (0.1 if by > 0 else -0.1)

  return disturb


DISTURBANCES = {'slow disk': _slow_disk, 'ahead': _skewed(7200.0), 'behind': _skewed(-7200.0)}


def _serve():
  """Fork for each request on stdin, and write down how each fork ended."""
  import gc
  import select

  import orbax.checkpoint
  from jax._src import xla_bridge

  from experiments import command_line  # noqa: F401  what every script imports
  from gan_jax.evaluation import parzen_evaluation, sample_grids  # noqa: F401
  from gan_jax.training import train  # noqa: F401

  del orbax
  gc.freeze()
  alive = {}
  while alive or not sys.stdin.closed:
    if not sys.stdin.closed and select.select([sys.stdin], [], [], 0.02)[0]:
      line = sys.stdin.readline()
      if not line:
        sys.stdin.close()
        continue
      request = json.loads(line)
      assert not xla_bridge.backends_are_initialized()  # its threads would not live through a fork
      pid = os.fork()
      if not pid:
        return request
      alive[pid] = request['stem']
      print(pid, flush=True)
    pid, status = os.waitpid(-1, os.WNOHANG) if alive else (0, 0)
    if pid:
      temporary = pathlib.Path(f'{alive.pop(pid)}.tmp')
      temporary.write_text(str(os.waitstatus_to_exitcode(status)))
      temporary.rename(temporary.with_suffix('.code'))
  return None


if __name__ == '__main__':
  given = _serve()
  if given:
    import faulthandler
    import runpy

    for number, path in enumerate((os.devnull, f'{given["stem"]}.out', f'{given["stem"]}.err')):
      file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
      os.dup2(file, number)
      os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1)
    DISTURBANCES.get(given['disturbed'], lambda: None)()
    sys.argv = ['experiments.train', *given['args']]
    runpy.run_module('experiments.train', run_name='__main__', alter_sys=True)
