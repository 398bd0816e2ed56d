"""Runs of experiments.train beside one another, each in a process of its own, and what they reach."""

import concurrent.futures
import dataclasses
import os
import queue
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gan_jax.config.config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError


class Run(NamedTuple):
  """What to train, and in which folder."""

  folder: Path
  config: Config


def check(seeds: int, jobs: int) -> None:
  """Raise UserError where --seeds or --jobs is no number of runs."""
  for flag, value in (('seeds', seeds), ('jobs', jobs)):
    if value < 1:
      raise UserError(f'--{flag}={value}: give a number of at least 1')


def train(runs: Sequence[Run], jobs: int) -> None:
  """Train all runs, `jobs` at a time, each on its own share of the cores; finished ones cost a second.

  Raises UserError where one of them fails, after the others have ended.
  """
  cores = _cores()
  share = max(1, len(cores) // jobs)
  shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
  for i in range(jobs):
    shares.put({cores[j % len(cores)] for j in range(i * share, (i + 1) * share)})

  def one(run: Run) -> int:
    mine = shares.get()
    try:
      return _train(run, mine)
    finally:
      shares.put(mine)

  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    codes = list(pool.map(one, runs))
  for run, code in zip(runs, codes, strict=True):
    if code:
      raise UserError(f'{run.folder} ended with exit code {code}; see {_log(run)}')


def _cores() -> list[int]:
  """The cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def _log(run: Run) -> Path:
  return run.folder.with_name(f'{run.folder.name}.log')


def _train(run: Run, cores: set[int]) -> int:
  flags_ = [f'--{name}={value}' for name, value in dataclasses.asdict(run.config).items()]
  command = [sys.executable, '-m', 'experiments.train', *flags_, f'--run={run.folder}']
  run.folder.parent.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  # Two programs that both think the whole machine theirs take half as long again as one after the other.
  environment = os.environ | {'NPROC': str(len(cores))}
  with _log(run).open('w') as log:
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if hasattr(os, 'sched_setaffinity'):
      os.sched_setaffinity(process.pid, cores)
    code = process.wait()
  print(f'{run.folder}: exit code {code} after {time.monotonic() - began:.0f} s', flush=True)
  return code


def judge(run: Run, task: Task) -> dict[str, Mapping[str, dict[str, float]]]:
  """By 'last' and 'best' checkpoint, scores of 'raw' and 'ema' weights, by name, on the task's test data."""
  last, best = (load_run.load_run(run.folder, which) for which in ('last', 'best'))
  scores = task.full_report(last.gan, last.state, 'test', 0).scores
  if best.step == last.step:
    return {'last': scores, 'best': scores}
  return {'last': scores, 'best': task.full_report(best.gan, best.state, 'test', 0).scores}


def spread(values: Sequence[float]) -> str:
  """Mean +- standard deviation (range), for a table."""
  deviation = statistics.stdev(values) if len(values) > 1 else 0.0
  return (
    f'{statistics.mean(values):.4g} +- {deviation:.2g} ({min(values):.4g} to {max(values):.4g})'
  )
