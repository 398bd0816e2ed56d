"""What is k worth? Fixed k and the controller on one preset, at equal compute, several seeds each.

  python -m experiments.compare_k --flagfile=experiments/presets/ring.flags --ks=1,2,5,auto

Compute is counted in gradients of one player on one minibatch: an update of either costs one, so k
buys updates of D with updates of G. Every setting gets what the preset costs with its own k, and
its schedules end with its steps; for k=auto a pilot run of another seed tells how many these are.
The updates by which the controller looks ahead are counted. Prints a table of averaged weights on
test data, and writes it as compare_k.md, .json and .png.
"""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import NamedTuple

from absl import flags
from scipy import stats

from experiments import launcher, seeds
from gan_jax import balance, evaluate, plots, tasks, updates
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.runs import write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of the runs; runs/ and the data by default.')
_KS = flags.DEFINE_list('ks', ['1', '2', '5', 'auto'], 'What to compare: numbers, and auto.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds, from 0.')
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at a time, each on its share of the cores.')
_SETTINGS = launcher.define_fields(Config)
_PILOTS = 2  # the second corrects the first, whose schedules had another length


class Setting(NamedTuple):
  """One k, and what its runs reached."""

  k: str
  steps: int
  judged: list[seeds.Judged]  # one for each seed

  def values(self, metric: str) -> list[float]:
    """Of averaged weights, one for each seed."""
    return [each.scores['ema'][metric] for each in self.judged]

  @property
  def mean_k(self) -> float:
    """Updates of D per update of G."""
    return statistics.mean(each.d_updates / each.g_updates for each in self.judged)


def main(argv: list[str]) -> int:
  """Train, judge, compare."""
  del argv
  seeds.check(_SEEDS.value, _JOBS.value)
  config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  if not _KS.value:
    raise UserError('--ks=: give numbers, and auto, with commas between')
  if config.ratio is None:
    raise UserError('--k=auto: the preset needs a number, from which the compute is reckoned')
  for k in _KS.value:
    dataclasses.replace(config, k=k)  # raises UserError
  folder = launcher.run_folder(_RUN.value, config.dataset, '_k')
  budget = _cost(config, config.steps, config.steps * float(config.k))
  task = tasks.open_task(config, launcher.cache_dir())
  steps = {k: _steps(config, k, budget, folder, task) for k in _KS.value}
  runs = {
    k: [_run(config, k, steps[k], seed, folder) for seed in range(_SEEDS.value)] for k in steps
  }
  # Seed after seed, so that whatever else the machine does meets all settings alike.
  seeds.train([run for row in zip(*runs.values(), strict=True) for run in row], _JOBS.value)
  settings = [Setting(k, steps[k], [seeds.judge(run, task) for run in runs[k]]) for k in steps]
  metric, higher_is_better = task.ranked_by
  text = _table(config, settings, metric, higher_is_better)
  print(text)
  write_atomically(folder / 'compare_k.md', (text + '\n').encode())
  values = {
    each.k: each._asdict() | {'judged': [x._asdict() for x in each.judged]} for each in settings
  }
  result = {
    'flags': dataclasses.asdict(config),
    'budget': budget,
    'metric': metric,
    'settings': values,
  }
  write_atomically(
    folder / 'compare_k.json', (json.dumps(evaluate.valid_json(result), indent=2) + '\n').encode()
  )
  plots.by_setting(
    folder / 'compare_k.png', {f'k = {each.k}': each.values(metric) for each in settings}, metric
  )
  return 0


def _cost(config: Config, g_updates: float, d_updates: float) -> float:
  if config.k == 'auto':
    d_updates += balance.Balance().spent(int(g_updates))
  return updates.gradient_evaluations(config.update, config.unroll, g_updates, d_updates)


def _run(config: Config, k: str, steps: int, seed: int, folder: Path) -> seeds.Run:
  # Only the end is judged; what evaluations on the way cost is no part of the comparison.
  config = dataclasses.replace(config, k=k, steps=steps, seed=seed, eval_every=steps)
  return seeds.Run(folder / f'k_{k}' / f'seed_{seed}', config)


def _steps(config: Config, k: str, budget: float, folder: Path, task: tasks.Task) -> int:
  """Updates of G that the budget pays for, with their share of updates of D."""
  if k != 'auto':
    return round(budget / _cost(config, 1, float(k)))
  steps = round(budget / 3)  # as if k were 2
  for i in range(_PILOTS):
    pilot = _run(config, k, steps, _SEEDS.value, folder / f'pilot_{i}')
    seeds.train([pilot], 1)
    judged = seeds.judge(pilot, task)
    steps = round(steps * budget / _cost(pilot.config, judged.g_updates, judged.d_updates))
  return steps


def _table(config: Config, settings: list[Setting], metric: str, higher_is_better: bool) -> str:
  """Markdown: a row for each k; p of a two-sided Mann-Whitney test against the best fixed k."""
  sign = -1 if higher_is_better else 1
  fixed = [each for each in settings if each.k != 'auto']
  best = min(fixed or settings, key=lambda each: sign * statistics.mean(each.values(metric)))
  lines = [
    f'| k | steps | D per G | gradients | real examples | {metric} | p against k = {best.k} |',
    '|---|---|---|---|---|---|---|',
  ]
  for each in settings:
    values = each.values(metric)
    p = 1.0 if each is best else stats.mannwhitneyu(values, best.values(metric)).pvalue
    examples = config.batch_size * statistics.mean(x.d_updates for x in each.judged)
    this = dataclasses.replace(config, k=each.k)
    spent = statistics.mean(_cost(this, x.g_updates, x.d_updates) for x in each.judged)
    lines.append(
      f'| {each.k} | {each.steps} | {each.mean_k:.2f} | {spent:.0f} | {examples:.3g} '
      f'| {seeds.spread(values)} | {"" if each is best else f"{p:.2f}"} |'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  launcher.run(main)
