"""Runs scripts in processes, and reads their output and run folders."""

import gc
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np

from gan_jax.data import array_cache, dataset
from gan_jax.training import load_run, metric_writers

ROOT = pathlib.Path(__file__).parents[2]
DATASET = 'few_digits'  # the first images of MNIST
_SIZES = {'train': 2000, 'validation': 1100, 'test': 200}
TINY = (f'--dataset={DATASET}', '--g_width=32', '--d_width=8', '--batch_size=20')
STEPS = 1000
RUN = (*TINY, f'--steps={STEPS}', '--log_every=100', '--eval_every=500', '--checkpoint_every=250')
# Beginnings of lines on stderr that are no errors.
PROGRESS = ('step ', 'going on from step ', f'{DATASET}: training a classifier')


class ProcessResult(NamedTuple):
  """Holds the exit code and the outputs of a process."""

  code: int
  out: str
  err: str


def write_few_digits(data_dir, mnist):
  """Writes the prepared `DATASET`, on which an evaluation takes about a second."""
  arrays = {key: array[: _SIZES[key.split('_')[0]]] for key, array in mnist.arrays().items()}
  path = data_dir / DATASET / 'decoded.npz'
  path.parent.mkdir(parents=True)
  array_cache.write_cache(
    path, array_cache.CachedDataset(dataset.from_arrays(DATASET, arrays), f'{DATASET}/1.0.0')
  )


def start(script, *args, cwd=ROOT, env=None, prefix=()):
  """Starts `python -m experiments.SCRIPT ARGS` in a new process."""
  command = [*prefix, sys.executable, '-m', f'experiments.{script}', *map(str, args)]
  return subprocess.Popen(
    command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def finish(process, timeout=600):
  """Waits for a process; kills it and raises AssertionError at the timeout."""
  try:
    out, err = process.communicate(timeout=timeout)
  except subprocess.TimeoutExpired:
    process.kill()
    out, err = process.communicate()
    raise AssertionError(f'no end after {timeout} s:\n{out}\n{err}') from None
  return ProcessResult(process.returncode, out, err)


def load_state(run, step='last'):
  """Returns the GanState of a checkpoint."""
  return load_run.load_run(run, str(step)).state


def records(run):
  """Returns the lines of metrics.jsonl without steps_per_second."""
  lines = metric_writers.read_metrics(run / 'metrics.jsonl')
  return [
    {key: value for key, value in line.items() if key != 'steps_per_second'} for line in lines
  ]


def newest_checkpoint(run):
  """Returns the folder of a run's last checkpoint."""
  return max(path for path in (run / 'checkpoints').iterdir() if path.name.isdecimal())


def assert_same_run(left, right):
  """Asserts equal states, records but for speed, samples, and last checkpoints, bit for bit."""
  jax.tree.map(np.testing.assert_array_equal, load_state(left), load_state(right))
  assert records(left) == records(right)
  pictures = sorted(path.name for path in (right / 'samples').iterdir())
  assert sorted(path.name for path in (left / 'samples').iterdir()) == pictures
  for name in pictures:
    assert (left / 'samples' / name).read_bytes() == (right / 'samples' / name).read_bytes()
  assert newest_checkpoint(left).name == newest_checkpoint(right).name


def error_lines(ended):
  """Returns the lines of stderr that report no progress."""
  return [line for line in ended.err.splitlines() if not line.startswith(PROGRESS)]


def assert_mistake(ended, *fragments):
  """Asserts exit code 2, no output, and one error line on stderr with all `fragments`."""
  assert 'Traceback' not in ended.err
  assert ended.code == 2, ended
  (line,) = error_lines(ended)
  assert line.startswith('error: ')
  for fragment in fragments:
    assert fragment in line
  assert ended.out == ''


def wait_for_step(run, step, process, timeout=120):
  """Waits until metrics.jsonl reaches `step`; raises AssertionError if the process ends before."""
  deadline = time.monotonic() + timeout
  while not any(
    record['step'] >= step for record in metric_writers.read_metrics(run / 'metrics.jsonl')
  ):
    assert process.poll() is None, finish(process)
    assert time.monotonic() < deadline, f'step {step} was not reached in {timeout} s'
    time.sleep(0.02)


def wait_for_checkpoint(run, step, process, timeout=120):
  """Waits until the checkpoint of `step` is complete; raises AssertionError if the process ends before."""
  deadline = time.monotonic() + timeout
  while not (run / 'checkpoints' / f'{step:08d}').exists():
    assert process.poll() is None, finish(process)
    assert time.monotonic() < deadline, f'no checkpoint of step {step} in {timeout} s'
    time.sleep(0.02)


class ScriptRunner:
  """Runs scripts as `__main__` in forks of a process that has imported their modules.

  Exit codes, outputs and signals are those of `python -m`.
  """

  def __init__(self, folder, env):
    self._folder, self._count = folder, 0
    command = [sys.executable, str(pathlib.Path(__file__).absolute())]
    self._server = subprocess.Popen(
      command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

  def __call__(self, script, *args, cwd=ROOT, timeout=120):
    """Runs `experiments.SCRIPT` to its end."""
    self._count += 1
    streams = [self._folder / f'{self._count:03d}.{name}' for name in ('out', 'err')]
    request = {
      'module': f'experiments.{script}',
      'args': [str(arg) for arg in args],
      'cwd': str(cwd),
      'streams': [str(path) for path in streams],
      'timeout': timeout,
    }
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    return ProcessResult(
      int(self._server.stdout.readline()), *(path.read_text() for path in streams)
    )

  def close(self):
    self._server.stdin.close()
    self._server.wait(timeout=10)
    self._server.stdout.close()


def _serve():
  """Forks for each request on stdin; the child returns after running the script."""
  from jax._src import xla_bridge

  from experiments import command_line  # noqa: F401  imported by every script
  from gan_jax.evaluation import parzen_evaluation, sample_grids  # noqa: F401
  from gan_jax.training import train  # noqa: F401

  gc.freeze()  # a collection would copy all memory that a child shares
  while line := sys.stdin.readline():
    request = json.loads(line)
    assert not xla_bridge.backends_are_initialized()  # threads do not survive a fork
    child = os.fork()
    if not child:
      _run_script(request)
      return
    print(_wait_for_exit(child, request['timeout']), flush=True)


def _run_script(request):
  for number, path in enumerate([os.devnull, *request['streams']]):
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, number)
    os.close(file)
  os.chdir(request['cwd'])
  sys.argv = [request['module'], *request['args']]
  runpy.run_module(request['module'], run_name='__main__', alter_sys=True)


def _wait_for_exit(child, timeout):
  """Returns the exit code of a child, which is killed at the timeout."""
  deadline = time.monotonic() + timeout
  while True:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
      return os.waitstatus_to_exitcode(status)
    if time.monotonic() > deadline:
      os.kill(child, signal.SIGKILL)
    time.sleep(0.01)


if __name__ == '__main__':
  sys.path.pop(0)  # the folder of this file
  _serve()
