"""What does a setting do? Every combination of values, several seeds each, trained side by side.

  python -m experiments.sweep --flagfile=experiments/presets/ring.flags --sweep=k=0.5,1,2,5,auto
  python -m experiments.sweep --flagfile=... --sweep='g_lr=log(1e-4,1e-2,5)' --sweep=r1=0.01,0.1
  python -m experiments.sweep --flagfile=... --sweep=... --store=postgresql://me@host/db

Runs that differ in numbers only are one compiled program. The same command goes on where it ended,
and given to several machines that share the folder of --run it shares the work. With --store it is
a worker of an Optuna study, each trial of which is a population of seeds. Writes results.csv and
.parquet, summary.md, plots, samples, and a run's folder for each member.
"""

import functools
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import launcher
from gan_jax.config.config import Config
from gan_jax.distributed.devices import choose_devices, simulate_cpu_devices
from gan_jax.evaluation import tasks
from gan_jax.sweep import (
  compute_cost,
  equal_compute,
  member_mapping,
  plots,
  results_table,
  scheduler,
  search_space,
)
from gan_jax.sweep.equal_compute import Contest
from gan_jax.sweep.group_trainer import Listener
from gan_jax.sweep.results_table import Row
from gan_jax.training.stop_signals import catch_stop_signals
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

_RUN = flags.DEFINE_string('run', None, 'Folder of the sweep; runs/ and the data by default.')
_SWEEP = flags.DEFINE_multi_string(
  'sweep',
  [],
  'A flag and its values: k=0.5,1,auto, g_lr=log(1e-4,1e-2,5) or lin(). May come often.',
)
_SEEDS = flags.DEFINE_integer('seeds', 8, 'How many seeds of each setting, from --seed.')
_COMPUTE = flags.DEFINE_enum(
  'compute',
  'gradients',
  ['none', *compute_cost.UNITS],
  'Compare at equal G updates, and again at an equal budget of this.',
)
_HALVING = flags.DEFINE_integer('halving', 0, 'Keep one setting in so many at each rung; 0: all.')
_YES = flags.DEFINE_bool('yes', False, 'Begin a sweep of more than 256 runs.')
_DEVICES = flags.DEFINE_integer('devices', 0, 'Devices: 0 for all; on a CPU one for each core.')
_MEMBERS = flags.DEFINE_enum(
  'members',
  'auto',
  ['auto', *member_mapping.HOW],
  'How a device computes its members: one after another, at once, or in turns of a call each.',
)
_REFEREE = flags.DEFINE_bool('referee', False, "Ask for the referee's verdict on every run.")
_STORE = flags.DEFINE_string('store', '', 'journal:FILE or postgresql://USER@HOST/DATABASE.')
_STUDY = flags.DEFINE_string('study', 'sweep', 'With --store: its name there.')
_SAMPLER = flags.DEFINE_enum(
  'sampler', 'grid', ['grid', 'random', 'tpe'], 'With --store: what chooses settings.'
)
_TRIALS = flags.DEFINE_integer('trials', 50, 'With --sampler=random or tpe: settings in all.')
_PRUNE = flags.DEFINE_bool('prune', False, 'With --store: give up settings below the median.')
_BEAT = flags.DEFINE_float(
  'heartbeat', 5.0, 'With --store: seconds; after four without one a worker counts as gone.', 0.1
)
_PATIENCE = flags.DEFINE_float('patience', 60.0, 'With --store: seconds that it may be away.', 1)
_SETTINGS = launcher.define_fields(Config, brief=False)
_MANY = 256  # runs that nobody starts by mistake


def main(argv: list[str]) -> int:
  """Train, judge, tell."""
  del argv
  base = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  axes = search_space.axes(_SWEEP.value)
  settings = search_space.settings(axes)
  simulate_cpu_devices(_DEVICES.value, default=_cpu_cores())
  folder = launcher.run_folder(_RUN.value, base.dataset, '_sweep')
  unit = 'none' if _STORE.value else _COMPUTE.value
  game = Contest(
    base,
    settings,
    _SEEDS.value,
    unit,
    _HALVING.value,
    folder,
    equal_compute.once(lambda config: tasks.load_task(config, launcher.cache_dir())),
    [],
    'map',
    {},
    {},
    functools.partial(verdict_of, known={}) if _REFEREE.value else None,
  )
  equal_compute.check(game)
  _show_size(game)
  facts = scheduler.facts_of(
    base, sweep=_SWEEP.value, seeds=_SEEDS.value, compute=unit, halving=_HALVING.value
  )
  scheduler.describe(folder, facts)
  devices = choose_devices(_DEVICES.value)
  game = game._replace(devices=devices, how=_how(devices))
  with catch_stop_signals() as received:
    rows, ended = _fleet(game, axes, facts, received) if _STORE.value else _alone(game, received)
  if received and not ended:
    print(f'stopped by {received[0].name} and saved; go on with:')
    print(f'  {launcher.command("experiments.sweep", *sys.argv[1:])}')
    return launcher.INTERRUPTED if received[0].name == 'SIGINT' else 0
  _tell(game, axes, rows)
  return 0


def verdict_of(folder: Path, known: dict[Any, Any]) -> str:
  """The referee's word on the run in `folder`; `known` as in `judge_run`."""
  from gan_jax.training import diagnose_run

  record, _ = diagnose_run.diagnose_checkpoint(
    folder, 'last', 'ema', 0, launcher.cache_dir(), known
  )
  return str(record['verdict'])


def _show_size(game: Contest) -> None:
  """Say how large the sweep is; raises UserError where nobody would start it by mistake."""
  settings, ways = len(game.settings), 1 if game.unit == 'none' else 2
  if _STORE.value and _SAMPLER.value != 'grid':
    settings = _TRIALS.value
    if settings < 1:
      raise UserError(f'--trials={settings}: give a number of at least 1')
  n = settings * game.seeds * ways
  if n > _MANY and not _YES.value:
    twice = ' x 2 ways to compare' if ways > 1 else ''
    raise UserError(
      f'--sweep: {settings} settings x {game.seeds} seeds{twice} are {n} runs, more than {_MANY}; '
      'add --yes to begin them, or lower --seeds'
    )
  both = f', at equal updates and at equal {game.unit}' if ways > 1 else ''
  print(f'{settings} settings x {game.seeds} seeds{both}: at most {n} runs', flush=True)


def _cpu_cores() -> int:
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1


def _how(devices: list[jax.Device]) -> str:
  """On a CPU members come one after another, which was measured, and makes them equal to solo runs."""
  if _MEMBERS.value != 'auto':
    return str(_MEMBERS.value)
  return 'size' if devices[0].platform == 'cpu' else 'measure'


def _alone(game: Contest, received: list[Any]) -> tuple[list[Row], bool]:
  """All runs, by this process and those that share its folder."""
  rows = equal_compute.run(game, lambda line: print(line, flush=True), lambda: bool(received))
  return rows, not received


class _Pruning(Listener):
  """Reports the mean of a population as soon as all its members were evaluated at a step."""

  def __init__(self, trial: Any, n: int, sign: int):
    self._trial, self._n, self._sign = trial, n, sign
    self._scores: dict[int, dict[str, float]] = {}
    self._lost: set[str] = set()
    self.hopeless = False

  def scored(self, name: str, step: int, score: float) -> None:
    """Report what is complete."""
    there = self._scores.setdefault(step, {})
    there[name] = score
    if len(there) + len(self._lost) == self._n and math.isfinite(mean := _mean(there.values())):
      self._trial.report(self._sign * mean, step)
      self.hopeless = self._trial.should_prune()

  def ended(self, name: str, status: str, step: int) -> None:
    """Do not wait for it."""
    self._lost.add(name)


def _mean(values: Any) -> float:
  good = [x for x in values if math.isfinite(x)]
  return statistics.mean(good) if good else math.nan


def _fleet(
  game: Contest, axes: list[search_space.Axis], facts: dict[str, Any], received: list[Any]
) -> tuple[list[Row], bool]:
  """As many trials of the study as fall to this worker; then what all have found."""
  try:
    from gan_jax.sweep import optuna_worker  # Optuna takes a second to import
  except ModuleNotFoundError as error:
    raise UserError(
      f'--store: {error.name} is not installed; make setup EXTRAS=dev,sweep'
    ) from None

  stop = lambda: bool(received)
  joined = optuna_worker.join(
    _STORE.value,
    _STUDY.value,
    facts,
    axes,
    _SAMPLER.value,
    _TRIALS.value,
    game.ranked.higher_is_better,
    _PRUNE.value,
    _BEAT.value,
    _PATIENCE.value,
  )
  mine: list[Row] = []
  own = game.folder / 'workers' / f'{platform.node()}_{os.getpid()}'
  own.mkdir(parents=True, exist_ok=True)

  def evaluate(trial: Any, lost: Callable[[], bool]) -> optuna_worker.Found:
    setting = optuna_worker.suggest(trial, axes, continuous=_SAMPLER.value != 'grid')
    rows = _trial(game, trial, setting, lambda: stop() or lost())
    if rows is None:
      return optuna_worker.Found(None, {})
    mine.extend(rows)
    results_table.write(own, mine)  # readable whatever becomes of the store
    worst = -math.inf if game.ranked.higher_is_better else math.inf
    value = _mean(row.metric for row in rows)
    print(
      f'trial {trial.number}: {search_space.label(setting)}: {game.ranked.name} {value:.4g}',
      flush=True,
    )
    found = {'rows': json.dumps(json_safe([row.flat() for row in rows]))}
    return optuna_worker.Found(value if math.isfinite(value) else worst, found)

  ended = optuna_worker.work(joined, evaluate, stop)
  rows = []
  for trial in optuna_worker.trials(joined):
    for flat in json.loads(trial.user_attrs.get('rows', '[]')):
      rows.append(results_table.unflatten(flat, [axis.name for axis in axes]))
  return rows, ended


def _trial(
  game: Contest, trial: Any, setting: search_space.Setting, stop: Callable[[], bool]
) -> list[Row] | None:
  """A population of one setting; None where it was given up half-way."""
  try:
    alone = game._replace(settings=[setting], halving=0)
    members = equal_compute.entries(
      alone, {setting: search_space.configure(game.base, setting).steps}, equal_compute.UPDATES
    )
  except UserError:  # a sampler may propose what cannot be run
    return []
  plan = equal_compute.plan_of(alone, members, game.folder / 'trials' / f'{trial.number:05d}')
  listener = _Pruning(trial, len(members), game.sign)
  if not scheduler.run(plan, listener, lambda: stop() or listener.hopeless):
    return None
  results = {result.member.name: result for result in scheduler.results(plan.folder, plan.members)}
  return [
    equal_compute.row(game, equal_compute.UPDATES, entry, results[member.name], plan.folder)
    for entry, member in members.items()
  ]


def _tell(game: Contest, axes: list[search_space.Axis], rows: list[Row]) -> None:
  """Tables, plots and samples."""
  folder, ranked = game.folder, game.ranked
  results_table.write(folder, rows)
  swept = '; '.join(_SWEEP.value) or 'seeds'
  text = results_table.summary(rows, ranked, f'{game.base.dataset}: {swept}, {game.seeds} seeds')
  write_atomically(folder / 'summary.md', text.encode())
  print(text)
  for path in plots.draw(folder, rows, axes, ranked):
    print(f'  plot      {path}')
  for way, some in results_table.ways(rows).items():
    for place, row in results_table.examples(some, ranked).items():
      if Path(row.values['run']).exists():  # else it is on the machine that trained it
        where = folder / 'samples' / f'{way.split()[0]}_{place}'
        equal_compute.paint(game, row, where)
        label = f'{search_space.label(row.setting)}, seed {row.seed}: {row.metric:.4g}'
        print(f'  {place:<9} {where} ({label})')
  for part in folder.glob('**/waves'):
    scheduler.tidy(part.parent)
  print(f'  results   {folder / "results.csv"}, {folder / "results.parquet"}')


if __name__ == '__main__':
  launcher.run(main)
