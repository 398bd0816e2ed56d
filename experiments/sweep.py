"""Trains every combination of swept values with several seeds, or one setting with several seeds.

  python -m experiments.sweep --flagfile=experiments/presets/ring.flags --sweep=k=0.5,1,2,5,auto
  python -m experiments.sweep --flagfile=... --sweep='g_lr=log(1e-4,1e-2,5)' --sweep=r1=0.01,0.1
  python -m experiments.sweep --flagfile=... --sweep=... --store=postgresql://me@host/db
  python -m experiments.sweep --flagfile=... --seeds=10

Runs that differ only in numbers share one compiled program. The same command resumes a sweep, and
processes on several machines that share the folder of --run divide its runs. With --store the
command is a worker of an Optuna study, whose trials train all seeds of a setting. Writes
results.csv and .parquet, summary.md, plots, samples, and a run folder for each member. Without
--sweep the summary has the test scores of the last and the best checkpoints, also in summary.json.
"""

import dataclasses
import functools
import json
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.distributed import devices as devices_lib
from gan_jax.evaluation import tasks
from gan_jax.sweep import (
  compute_budget,
  equal_compute,
  halving_scheduler,
  member_mapping,
  plots,
  results_table,
  search_space,
)
from gan_jax.sweep.equal_compute import Comparison
from gan_jax.sweep.results_table import ResultRow
from gan_jax.sweep.search_space import Axis
from gan_jax.training import run_description, stop_signals
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

from . import command_line, exit_codes

_RUN = flags.DEFINE_string('run', None, 'Folder of the sweep; runs/ and the data by default.')
_SWEEP = flags.DEFINE_multi_string(
  'sweep',
  [],
  'A flag and its values: k=0.5,1,auto, g_lr=log(1e-4,1e-2,5) or lin(). Repeatable.',
)
_SEEDS = flags.DEFINE_integer('seeds', 8, 'Number of seeds of each setting, from --seed upward.')
_COMPUTE = flags.DEFINE_enum(
  'compute', 'gradients', ['none', *compute_budget.COST_UNITS], 'Budget of the second comparison.'
)
_HALVING = flags.DEFINE_integer('halving', 0, 'Keep one setting in N at each halving; 0 keeps all.')
_YES = flags.DEFINE_bool('yes', False, 'Allow a sweep of more than 256 runs.')
_DEVICES = flags.DEFINE_integer('devices', 0, 'Devices: 0 for all; on a CPU one for each core.')
_MEMBERS = flags.DEFINE_enum(
  'members', 'auto', ['auto', *member_mapping.MAPPINGS], 'How a device maps over its members.'
)
_REFEREE = flags.DEFINE_bool('referee', False, "Compute the referee's verdict on every run.")
_STORE = flags.DEFINE_string('store', '', 'journal:FILE or postgresql://USER@HOST/DATABASE.')
_STUDY = flags.DEFINE_string('study', 'sweep', 'With --store: the name of the study.')
_SAMPLER = flags.DEFINE_enum(
  'sampler', 'grid', ['grid', 'random', 'tpe'], 'With --store: how settings are chosen.'
)
_TRIALS = flags.DEFINE_integer('trials', 50, 'With --sampler=random or tpe: number of settings.')
_PRUNE = flags.DEFINE_bool('prune', False, 'With --store: prune settings below the median.')
_HEARTBEAT = flags.DEFINE_float(
  'heartbeat', 5.0, 'With --store: seconds between heartbeats; a worker is lost after four.', 0.1
)
_PATIENCE = flags.DEFINE_float(
  'patience', 60.0, 'With --store: seconds to retry an unreachable store.', 1
)
_SETTINGS = command_line.define_config_flags(Config, brief=False)
_MAX_RUNS = 256  # without --yes


def main(argv: list[str]) -> int:
  """Trains all runs, then writes and prints the results."""
  del argv
  base = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  axes = search_space.parse_axes(_SWEEP.value)
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1
  devices_lib.simulate_cpu_devices(_DEVICES.value, cores)
  comparison = _comparison(base, axes)
  run_description.refuse_bucket(comparison.folder)
  equal_compute.check_comparison(comparison)
  _check_size(comparison)
  description = equal_compute.describe_sweep(
    base,
    comparison.load_task(base).fingerprint,
    sweep=_SWEEP.value,
    seeds=_SEEDS.value,
    compute='none' if _STORE.value else _COMPUTE.value,
    halving=_HALVING.value,
  )
  equal_compute.open_sweep(comparison.folder, description)
  devices = devices_lib.choose_devices(_DEVICES.value)
  comparison = comparison._replace(devices=devices, mapping=_mapping(devices))
  with stop_signals.catch_stop_signals() as received:
    stop = lambda: bool(received)
    if _STORE.value:
      rows, ended = _train_trials(comparison, axes, description, stop)
    else:
      log = lambda line: print(line, flush=True)
      rows = equal_compute.run_comparison(comparison, log, stop)
      ended = not received
  if received and not ended:
    print(f'stopped by {received[0].name} and saved; go on with:')
    print(f'  {command_line.shell_command("sweep", *sys.argv[1:])}')
    return exit_codes.after_signal(received[0])
  _write_results(comparison, axes, rows)
  return 0


def _comparison(base: Config, axes: list[Axis]) -> Comparison:
  """Returns the comparison that the flags describe, its devices still to be chosen."""
  return Comparison(
    base,
    search_space.setting_product(axes),
    _SEEDS.value,
    'none' if _STORE.value or not axes else _COMPUTE.value,
    _HALVING.value,
    command_line.run_directory(_RUN.value, base.dataset, '_sweep'),
    equal_compute.cache_tasks(lambda config: tasks.load_task(config, command_line.cache_dir())),
    devices=[],
    mapping='map',
    programs={},
    update_flops={},
    verdict_fn=functools.partial(_verdict, references={}) if _REFEREE.value else None,
  )


def _verdict(folder: Path, references: dict[Any, Any]) -> str:
  """Returns the referee's verdict on a run; `references` caches statistics of the data."""
  from gan_jax.training import diagnose_run

  record, _ = diagnose_run.diagnose_checkpoint(
    folder, 'last', 'ema', 0, command_line.cache_dir(), references
  )
  return str(record['verdict'])


def _check_size(comparison: Comparison) -> None:
  """Prints the number of runs; raises UserError for more than 256 without --yes."""
  settings, unit = len(comparison.settings), comparison.unit
  n_comparisons = 1 if unit == 'none' else 2
  if _STORE.value and _SAMPLER.value != 'grid':
    settings = _TRIALS.value
    if settings < 1:
      raise UserError(f'--trials={settings}: give a number of at least 1')
  n = settings * comparison.seeds * n_comparisons
  if n > _MAX_RUNS and not _YES.value:
    twice = ' x 2 comparisons' if n_comparisons > 1 else ''
    raise UserError(
      f'--sweep: {settings} settings x {comparison.seeds} seeds{twice} are {n} runs, more than '
      f'{_MAX_RUNS}; add --yes to train them, or lower --seeds'
    )
  both = f', at equal updates of G and at equal {unit}' if n_comparisons > 1 else ''
  print(f'{settings} settings x {comparison.seeds} seeds{both}: at most {n} runs', flush=True)


def _mapping(devices: list[jax.Device]) -> str:
  """Returns the mapping of --members; a CPU maps members one after another, so that they equal solo runs."""
  if _MEMBERS.value != 'auto':
    return str(_MEMBERS.value)
  return 'size' if devices[0].platform == 'cpu' else 'measure'


def _train_trials(
  comparison: Comparison, axes: list[Axis], description: dict[str, Any], stop: Callable[[], bool]
) -> tuple[list[ResultRow], bool]:
  """Trains trials of the study; returns the rows of all workers, and whether all trials are finished."""
  try:
    from gan_jax.sweep import optuna_study, optuna_worker  # imported late, as Optuna takes a second
  except ModuleNotFoundError as error:
    raise UserError(
      f'--store: {error.name} is not installed; make setup EXTRAS=dev,sweep'
    ) from None

  metric = comparison.metric
  name, sampler, n_trials = _STUDY.value, _SAMPLER.value, _TRIALS.value
  worker_options = (_PRUNE.value, _HEARTBEAT.value, _PATIENCE.value)
  options = optuna_study.StudyOptions(_STORE.value, name, sampler, n_trials, *worker_options)
  study = optuna_study.join_study(options, description, axes, metric.higher_is_better)
  worker_rows: list[ResultRow] = []
  worker_folder = comparison.folder / 'workers' / f'{platform.node()}_{os.getpid()}'
  worker_folder.mkdir(parents=True, exist_ok=True)

  def evaluate(trial: Any, lost: Callable[[], bool]) -> optuna_worker.TrialResult:
    setting = optuna_study.suggest_setting(trial, axes, continuous=sampler != 'grid')
    rows = equal_compute.train_trial(comparison, trial, setting, lambda: stop() or lost())
    if rows is None:
      return optuna_worker.TrialResult(None, {})
    worker_rows.extend(rows)
    results_table.write_tables(worker_folder, worker_rows)  # stays if the store is lost
    kept, value = results_table.seeds_score(metric.sign * row.metric for row in rows)
    value = metric.sign * value if kept else math.nan
    label = search_space.label(setting)
    n_lost = sum(row.status not in ('finished', 'dropped') for row in rows)
    note = f' ({n_lost} of {len(rows)} seeds lost)' if n_lost else ''
    print(f'trial {trial.number}: {label}: {metric.name} {value:.4g}{note}', flush=True)
    attributes = {'rows': json.dumps(json_safe([row.to_columns() for row in rows]))}
    value = value if math.isfinite(value) else -metric.sign * math.inf  # the worst value
    return optuna_worker.TrialResult(value, attributes)

  ended = optuna_worker.run_trials(study, evaluate, stop)
  rows = [row for trial in study.planned_trials() for row in _rows_of(trial, axes, comparison)]
  return rows, ended


def _rows_of(trial: Any, axes: list[Axis], comparison: Comparison) -> list[ResultRow]:
  """Returns the rows of a finished trial; rows marked as failed for one in which workers died."""
  names = [axis.name for axis in axes]
  if 'rows' in trial.user_attrs:
    rows = json.loads(trial.user_attrs['rows'])
    return [results_table.from_columns(columns, names) for columns in rows]
  params = trial.system_attrs.get('fixed_params', {}) | trial.params
  if trial.state.name != 'FAIL' or not params.keys() >= set(names):
    return []
  setting = tuple((name, params[name]) for name in names)
  seeds = range(comparison.base.seed, comparison.base.seed + comparison.seeds)
  return [
    ResultRow(equal_compute.G_UPDATES, setting, seed, 'failed', math.nan, {'run': ''})
    for seed in seeds
  ]


def _write_results(comparison: Comparison, axes: list[Axis], rows: list[ResultRow]) -> None:
  """Writes and prints tables, plots and samples, and deletes checkpoints that are no longer needed."""
  folder, metric = comparison.folder, comparison.metric
  results_table.write_tables(folder, rows)
  title = (
    f'{comparison.base.dataset}: {"; ".join(_SWEEP.value) or "seeds"}, {comparison.seeds} seeds'
  )
  text = results_table.summary_text(rows, metric, title)
  if not axes:
    text += _test_scores(comparison, rows)
  write_atomically(folder / 'summary.md', text.encode())
  print(text)
  for path in plots.plot_sweep(folder, rows, axes, metric):
    print(f'  plot      {path}')
  for basis, basis_rows in results_table.group_by_basis(rows).items():
    for rank, row in results_table.best_median_worst(basis_rows, metric).items():
      if Path(row.values['run']).exists():  # false where another machine trained the run
        samples = folder / 'samples' / f'{basis.split()[0]}_{rank}'
        equal_compute.draw_samples(comparison, row, samples)
        label = f'{search_space.label(row.setting)}, seed {row.seed}: {row.metric:.4g}'
        print(f'  {rank:<9} {samples} ({label})')
  for part in folder.glob('**/waves'):
    halving_scheduler.delete_group_checkpoints(part.parent)
  print(f'  results   {folder / "results.csv"}, {folder / "results.parquet"}')


def _test_scores(comparison: Comparison, rows: list[ResultRow]) -> str:
  """Evaluates all finished seeds on test data; writes summary.json and returns Markdown."""
  lost = [f'seed {row.seed} {row.status}' for row in rows if row.status != 'finished']
  finished = [row for row in rows if row.status == 'finished']
  runs = [run for row in finished if (run := Path(row.values['run'])).exists()]
  scores = results_table.evaluate_seeds(runs, comparison.load_task(comparison.base))
  summary = {'seeds': len(runs), 'flags': dataclasses.asdict(comparison.base), 'values': scores}
  text = (json.dumps(json_safe(summary), indent=2) + '\n').encode()
  write_atomically(comparison.folder / 'summary.json', text)
  title = '; '.join([f'{len(runs)} seeds on test data', *lost])
  return f'\n## {title}\n\n{results_table.scores_table(scores)}'


if __name__ == '__main__':
  command_line.run_script(main)
