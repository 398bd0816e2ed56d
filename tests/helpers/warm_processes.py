"""Forks training processes from an interpreter that has imported all modules, for tests that start hundreds.

A fork may have a simulated fault: a slow disk, or a wrong clock.
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
  sys.path.pop(0)  # the folder of this file

from tests.helpers import commands


class ForkedProcess(NamedTuple):
  """Polls, signals and awaits a fork of the server."""

  pid: int
  stem: pathlib.Path  # of the files of its streams and its exit code

  def poll(self):
    """Returns the exit code; None while the process runs."""
    code = self.stem.with_suffix('.code')
    return int(code.read_text()) if code.exists() else None

  def send_signal(self, number):
    """Sends a signal, unless the process has ended."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def wait(self, deadline):
    """Returns the result; raises AssertionError if the process runs at `deadline` (monotonic clock)."""
    while self.poll() is None:
      if time.monotonic() > deadline:
        self.send_signal(signal.SIGUSR1)  # prints its stack
        time.sleep(1)
        raise AssertionError(f'process {self.pid} did not end:\n{"".join(self.outputs())}')
      time.sleep(0.02)
    return commands.ProcessResult(self.poll(), *self.outputs())

  def outputs(self):
    """Returns stdout and stderr so far."""
    return [self.stem.with_suffix(f'.{name}').read_text() for name in ('out', 'err')]


class ForkServer:
  """Starts forked training processes; kills those that still run at `close`."""

  def __init__(self, folder, env):
    self._folder, self._processes = folder, []
    folder.mkdir()
    self._server = subprocess.Popen(
      [sys.executable, '-m', 'tests.helpers.warm_processes'], cwd=commands.ROOT, env=env,
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

  def train(self, *args, fault=''):
    """Starts `experiments.train`, with one of `FAULTS` if given."""
    stem = self._folder / f'{len(self._processes):04d}'
    request = {'args': [str(arg) for arg in args], 'stem': str(stem), 'fault': fault}
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    self._processes.append(ForkedProcess(int(self._server.stdout.readline()), stem))
    return self._processes[-1]

  def kill_all(self):
    """Kills the processes that still run."""
    for process in self._processes:
      process.send_signal(signal.SIGKILL)

  def close(self):
    """Kills the processes and ends the server."""
    self.kill_all()
    self._server.stdin.close()
    self._server.wait(timeout=20)
    self._server.stdout.close()


def _slow_disk():
  """Delays operations on files by 0.1 s."""
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
  """Returns a function that sets time.time wrong by `by` seconds, growing by 10 % of the elapsed time."""

  def skew():
    true, began = time.time, time.time()
    time.time = lambda: true() + by + (true() - began) * (0.1 if by > 0 else -0.1)

  return skew


FAULTS = {'slow disk': _slow_disk, 'ahead': _skewed(7200.0), 'behind': _skewed(-7200.0)}


def _serve():
  """Forks for each request on stdin and writes exit codes to files; a fork returns its request."""
  import gc
  import select

  import orbax.checkpoint
  from jax._src import xla_bridge

  from experiments import command_line  # noqa: F401  imported by every script
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
      assert not xla_bridge.backends_are_initialized()  # threads do not survive a fork
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
  request = _serve()
  if request:
    import faulthandler
    import runpy

    for number, path in enumerate((os.devnull, f'{request["stem"]}.out', f'{request["stem"]}.err')):
      file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
      os.dup2(file, number)
      os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1)
    FAULTS.get(request['fault'], lambda: None)()
    sys.argv = ['experiments.train', *request['args']]
    runpy.run_module('experiments.train', run_name='__main__', alter_sys=True)
