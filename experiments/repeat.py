"""Train one preset with several seeds, and say what it reaches: mean and spread, best and last.

  python -m experiments.repeat --flagfile=experiments/presets/ring.flags --seeds=10 --run=runs/ring

Every seed is a run of its own, in seed_0, seed_1, ... of the folder, made by experiments.train: what is
finished already is not made again. Prints a table, and writes it as summary.md and summary.json.
"""

import concurrent.futures
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments import launcher
from gan_jax import restore, tasks
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.runs import write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of the runs; runs/ and the data by default.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds, from 0.')
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at a time.')
_SETTINGS = launcher.define_fields(Config)
_COLUMNS = (('last', 'raw'), ('last', 'ema'), ('best', 'raw'), ('best', 'ema'))


def main(argv: list[str]) -> int:
  """Train, judge, tell."""
  del argv
  for flag, holder in (('seeds', _SEEDS), ('jobs', _JOBS)):
    if holder.value < 1:
      raise UserError(f'--{flag}={holder.value}: give a number of at least 1')
  config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  folder = Path(_RUN.value or f'runs/{config.dataset}_seeds')
  folder.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  with concurrent.futures.ThreadPoolExecutor(_JOBS.value) as pool:
    futures = [pool.submit(_train, config, folder, seed) for seed in range(_SEEDS.value)]
    codes = [future.result() for future in futures]
  if any(codes):
    seed = next(i for i, code in enumerate(codes) if code)
    raise UserError(f'seed {seed} ended with exit code {codes[seed]}; see {_log(folder, seed)}')
  minutes = (time.monotonic() - began) / 60
  values = _judge(folder, range(_SEEDS.value))
  text = _table(values)
  print(f'{text}\n{_SEEDS.value} seeds, trained in {minutes:.1f} minutes, {_JOBS.value} at a time')
  write_atomically(folder / 'summary.md', (text + '\n').encode())
  summary = {'seeds': _SEEDS.value, 'flags': dataclasses.asdict(config), 'values': values}
  write_atomically(folder / 'summary.json', (json.dumps(summary, indent=2) + '\n').encode())
  return 0


def _log(folder: Path, seed: int) -> Path:
  return folder / f'seed_{seed}.log'


def _train(config: Config, folder: Path, seed: int) -> int:
  """Train one seed in a process of its own; returns its exit code."""
  settings = dataclasses.asdict(config) | {'seed': seed}
  flags_ = [f'--{name}={value}' for name, value in settings.items()]
  command = [sys.executable, '-m', 'experiments.train', *flags_, f'--run={folder}/seed_{seed}']
  began = time.monotonic()
  with _log(folder, seed).open('w') as log:
    code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
  print(f'seed {seed}: exit code {code} after {time.monotonic() - began:.0f} s', flush=True)
  return code


def _judge(folder: Path, seeds: range) -> dict[str, dict[str, list[float]]]:
  """For each metric and column, its value at every seed, on test data."""
  values: dict[str, dict[str, list[float]]] = {}
  for seed in seeds:
    for checkpoint in ('last', 'best'):
      trained = restore.open_run(folder / f'seed_{seed}', checkpoint)
      task = tasks.open_task(trained.config, launcher.cache_dir())
      scores = task.report(trained.gan, trained.state, 'test', 0).scores
      for which, named in scores.items():
        for name, value in named.items():
          row: Any = values.setdefault(name, {})
          row.setdefault(f'{checkpoint} {which}', []).append(value)
  return values


def _table(values: dict[str, dict[str, list[float]]]) -> str:
  """Markdown: a row for each metric, mean +- standard deviation over seeds (range)."""
  names = [f'{checkpoint} {which}' for checkpoint, which in _COLUMNS]
  lines = [f'| | {" | ".join(names)} |', f'|---|{"---|" * len(names)}']
  for metric, row in values.items():
    cells = []
    for name in names:
      x = row[name]
      spread = statistics.stdev(x) if len(x) > 1 else 0.0
      cells.append(f'{statistics.mean(x):.4g} +- {spread:.2g} ({min(x):.4g} to {max(x):.4g})')
    lines.append(f'| {metric} | {" | ".join(cells)} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  launcher.run(main)
