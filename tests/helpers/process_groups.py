"""Runs of several processes on this machine, for the tests that look at them from outside."""

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
  # Plain descent: Adam divides by small moments, and what differs in the last bit grows with it.
  *('--g_optimizer=sgd', '--d_optimizer=sgd', '--g_b1=0', '--d_b1=0', '--g_lr=0.02', '--d_lr=0.02'),
  '--peer_timeout=8',
  '--referee_every=0',
)
CODE_LOST = 4


def free_port():
  """A port that nobody listens to at this moment."""
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


def start(run, env, *flags, n=2, devices=1, each=None):
  """Start `n` processes of one run; `each[i]` are further flags of process i."""
  port = free_port()
  together = (f'--coordinator=localhost:{port}', f'--num_processes={n}', f'--devices={devices}')
  return [
    commands.start(
      'train', *RING, *flags, *together, f'--process_id={i}', f'--run={run}', *(each or {}).get(i, ()),
      env=env,
    )
    for i in range(n)
  ]  # fmt: skip


def finish(processes, timeout=180):
  """How each of them ended."""
  deadline = time.monotonic() + timeout
  try:
    return [commands.finish(process, max(1, deadline - time.monotonic())) for process in processes]
  finally:
    for process in processes:
      end(process)


def end(process):
  """End a process whatever state it is in."""
  if not process.stdout.closed:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()


def train(run, env, *flags, **options):
  """Let a run come to its end; returns what process 0 said."""
  ended = finish(start(run, env, *flags, **options))
  assert [each.code for each in ended] == [0] * len(ended), ended
  return ended[0]


def wait_for_step(run, step, processes, timeout=120):
  """Return when the run's records reach `step`."""
  deadline = time.monotonic() + timeout
  while not any(
    record['step'] >= step for record in metric_writers.read_metrics(run / 'metrics.jsonl')
  ):
    assert all(process.poll() is None for process in processes), finish(processes)
    assert time.monotonic() < deadline, f'step {step} was not reached in {timeout} s'
    time.sleep(0.02)


def last_line(ended):
  """The last line that a process wrote to stderr, or nothing."""
  return (ended.err.strip().splitlines() or [''])[-1]


def environment(cache):
  """One thread for each process, and a cache of compiled programs."""
  return os.environ | {
    'XDG_CACHE_HOME': str(cache),
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': str(commands.ROOT),
    'PYTHON': sys.executable,
  }
