"""Train one preset with several seeds, and say what it reaches: mean and spread, best and last.

  python -m experiments.repeat --flagfile=experiments/presets/ring.flags --seeds=10 --run=runs/ring

Every seed is a run of its own, in seed_0, seed_1, ... of the folder, by experiments.train; what is
finished is not made again. Prints a table, and writes it as summary.md and summary.json.
"""

import dataclasses
import json
import time
from typing import Any

from absl import flags

from experiments import launcher, seeds
from gan_jax.config.config import Config
from gan_jax.evaluation import tasks
from gan_jax.utils.files import json_safe, write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of the runs; runs/ and the data by default.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds, from 0.')
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at a time, each on its share of the cores.')
_SETTINGS = launcher.define_fields(Config)
_COLUMNS = (('last', 'raw'), ('last', 'ema'), ('best', 'raw'), ('best', 'ema'))
Values = dict[str, dict[str, list[float]]]  # by metric, by column: one value for each seed


def main(argv: list[str]) -> int:
  """Train, judge, tell."""
  del argv
  seeds.check(_SEEDS.value, _JOBS.value)
  config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  folder = launcher.run_folder(_RUN.value, config.dataset, '_seeds')
  runs = [
    seeds.Run(folder / f'seed_{seed}', dataclasses.replace(config, seed=seed))
    for seed in range(_SEEDS.value)
  ]
  began = time.monotonic()
  seeds.train(runs, _JOBS.value)
  minutes = (time.monotonic() - began) / 60
  values = _judge(runs, tasks.open_task(config, launcher.cache_dir()))
  text = _table(values)
  print(f'{text}\n{_SEEDS.value} seeds, trained in {minutes:.1f} minutes, {_JOBS.value} at a time')
  write_atomically(folder / 'summary.md', (text + '\n').encode())
  summary = {'seeds': _SEEDS.value, 'flags': dataclasses.asdict(config), 'values': values}
  write_atomically(
    folder / 'summary.json', (json.dumps(json_safe(summary), indent=2) + '\n').encode()
  )
  return 0


def _judge(runs: list[seeds.Run], task: tasks.Task) -> Values:
  """For each metric and column, its value at every seed, on test data."""
  values: Values = {}
  for run in runs:
    for checkpoint, scores in seeds.judge(run, task).items():
      for which, named in scores.items():
        for name, value in named.items():
          row: Any = values.setdefault(name, {})
          row.setdefault(f'{checkpoint} {which}', []).append(value)
  return values


def _table(values: Values) -> str:
  """Markdown: a row for each metric, mean +- standard deviation over seeds (range)."""
  names = [f'{checkpoint} {which}' for checkpoint, which in _COLUMNS]
  lines = [f'| | {" | ".join(names)} |', f'|---|{"---|" * len(names)}']
  for metric, row in values.items():
    lines.append(f'| {metric} | {" | ".join(seeds.spread(row[name]) for name in names)} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  launcher.run(main)
