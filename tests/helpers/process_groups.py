"""Starts, awaits and ends runs of several processes on this machine."""

import os
import signal
import socket
import sys
import time

from gan_jax.training import metric_writers
from tests.helpers import commands

STEPS = 200
RING = (
  *('--dataset=ring', '--network=relu', '--g_width=16', '--d_width=16', '--g_depth=1'),
  *('--d_depth=1', '--latent_size=2', '--batch_size=8', '--g_norm=batch', '--k=2'),
  *('--log_every=10', '--checkpoint_every=20', f'--eval_every={STEPS}', f'--steps={STEPS}'),
  # SGD: Adam divides by small moments, which magnifies differences in the last bit.
  *('--g_optimizer=sgd', '--d_optimizer=sgd', '--g_b1=0', '--d_b1=0', '--g_lr=0.02', '--d_lr=0.02'),
  '--peer_timeout=8',
  '--referee_every=0',
)
EXIT_PEER_LOST = 4


def free_port():
  """Returns a port of localhost that is currently free."""
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


def start(run, env, *flags, n=2, devices=1, each=None):
  """Starts `n` processes of one run; `each[i]` are additional flags of process i."""
  port = free_port()
  group_flags = (f'--coordinator=localhost:{port}', f'--num_processes={n}', f'--devices={devices}')
  return [
    commands.start(
      'train', *RING, *flags, *group_flags, f'--process_id={i}', f'--run={run}', *(each or {}).get(i, ()),
      env=env,
    )
    for i in range(n)
  ]  # fmt: skip


def finish(processes, timeout=180):
  """Waits for `processes`, kills those that exceed the timeout, and returns their codes and outputs."""
  deadline = time.monotonic() + timeout
  try:
    return [commands.finish(process, max(1, deadline - time.monotonic())) for process in processes]
  finally:
    for process in processes:
      end(process)


def end(process):
  """Kills a process, even a stopped one."""
  if not process.stdout.closed:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()


def train(run, env, *flags, **options):
  """Runs to the end in several processes and returns the result of process 0."""
  ended = finish(start(run, env, *flags, **options))
  assert [each.code for each in ended] == [0] * len(ended), ended
  return ended[0]


def wait_for_step(run, step, processes, timeout=120):
  """Waits until the metrics of the run reach `step`."""
  deadline = time.monotonic() + timeout
  while not any(
    record['step'] >= step for record in metric_writers.read_metrics(run / 'metrics.jsonl')
  ):
    assert all(process.poll() is None for process in processes), finish(processes)
    assert time.monotonic() < deadline, f'step {step} was not reached in {timeout} s'
    time.sleep(0.02)


def last_line(ended):
  """Returns the last line that a process wrote to stderr, or an empty string."""
  return (ended.err.strip().splitlines() or [''])[-1]


def environment(cache):
  """Returns environment variables of a CPU process that caches compiled programs in `cache`."""
  return os.environ | {
    'XDG_CACHE_HOME': str(cache),
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': str(commands.ROOT),
    'PYTHON': sys.executable,
  }
