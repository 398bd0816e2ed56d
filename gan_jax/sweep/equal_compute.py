"""Opens the folder of a sweep and compares its settings at equal updates of G, and again at an equal budget."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.config import dynamic_hyperparameters, resume_compatibility
from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import (
  compute_budget,
  group_program,
  halving_scheduler,
  search_space,
  setting_checks,
)
from gan_jax.sweep.compute_budget import RunCost, UpdateFlops
from gan_jax.sweep.group_program import GroupProgram, Member
from gan_jax.sweep.progress_table import ProgressTable, PruningCallback
from gan_jax.sweep.results_table import RankingMetric, ResultRow
from gan_jax.sweep.search_space import Setting
from gan_jax.training import (
  load_run,
  metric_writers,
  run_description,
  run_directory,
  train_spec,
)
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

G_UPDATES = 'updates of G'  # the basis of the first comparison
Runs = dict[tuple[Setting, int], Member]  # the member of each setting and seed


class Comparison(NamedTuple):
  """Holds the settings that are compared, their seeds, and the options of training."""

  base: Config
  settings: list[Setting]
  seeds: int  # number of seeds of each setting, from that of `base` on
  unit: str  # one of COST_UNITS for a second comparison at an equal budget, or 'none'
  halving: int  # as in `halving_scheduler.Schedule`
  folder: Path
  load_task: Callable[[Config], Task]
  devices: list[Any]
  mapping: str  # as in `compile_group_program`
  programs: dict[Any, GroupProgram]  # as in `halving_scheduler.Schedule`
  update_flops: dict[Any, UpdateFlops]  # by program key, filled when needed
  verdict_fn: Callable[[Path], str] | None = None  # maps a finished run's directory to its verdict

  @property
  def metric(self) -> RankingMetric:
    """Returns the metric by which runs are ranked."""
    return RankingMetric(*self.load_task(self.base).selection_metric)


def check_comparison(comparison: Comparison) -> None:
  """Raises UserError where a sweep's options contradict each other, or a setting cannot be trained."""
  if comparison.seeds < 1:
    raise UserError(f'--seeds={comparison.seeds}: give a number of at least 1')
  if comparison.halving < 0 or comparison.halving == 1:
    raise UserError(f'--halving={comparison.halving}: give 2 or more, or 0 to keep all settings')
  base = comparison.base
  if base.stop_on:
    raise UserError(
      f'--stop_on={base.stop_on}: a sweep computes no alarms; leave it out, or use --halving to drop '
      'the worst settings'
    )
  if base.seed + comparison.seeds > 2**31:
    raise UserError(f'--seed={base.seed}: {comparison.seeds} seeds from it on pass 2**31; lower it')
  if comparison.unit != 'none' and base.k == 'auto':
    raise UserError(
      '--k=auto: an equal budget is computed from the k of the preset; give a number, or --compute=none'
    )
  for setting in comparison.settings:
    search_space.apply_setting(base, setting)
  setting_checks.check_settings(base, comparison.settings, comparison.load_task)


def describe_sweep(base: Config, data: str, **options: Any) -> dict[str, Any]:
  """Returns what two processes of one sweep share: options, flags of the base run, SHA-256 of the data."""
  flags = dataclasses.asdict(base)
  del flags['data_dir']  # may differ between hosts
  return {**options, 'flags': flags, 'data': data}


def open_sweep(folder: Path, description: dict[str, Any]) -> None:
  """Makes the directory of a sweep and writes sweep.json; raises UserError where it holds something else."""
  path = folder / 'sweep.json'
  run_description.refuse_bucket(folder)
  if path.exists():
    changed = changed_names(read_sweep(folder), description)
    if changed:
      raise UserError(
        f'--run={folder}: this folder holds another sweep (other {changed}); '
        'give the same command to go on, or another --run'
      )
    return
  if folder.exists() and not all(map(run_directory.is_bystander, folder.iterdir())):
    raise UserError(f'--run={folder}: this folder is not empty and holds no sweep; choose another')
  run_directory.create_run_directory(folder)
  write_atomically(path, (json.dumps(description, indent=2) + '\n').encode())


def read_sweep(folder: Path) -> dict[str, Any]:
  """Reads sweep.json, the description of a sweep; raises UserError where it is damaged or not there."""
  try:
    description = json.loads((folder / 'sweep.json').read_bytes())
  except OSError as error:
    reason = f'cannot be read ({error.strerror})'
  except (ValueError, RecursionError):
    reason = 'is damaged'
  else:
    if isinstance(description, dict) and isinstance(description.get('flags'), dict):
      return description
    reason = 'is damaged'
  raise UserError(f'{folder / "sweep.json"} {reason}; name the folder of a sweep, or begin another')


def changed_names(old: dict[str, Any], new: dict[str, Any]) -> str:
  """Returns the names, with commas between, whose values differ in two descriptions of sweeps.

  Flags that an older version did not have had their defaults. Data at another path are the same where their
  fingerprints are.
  """
  old, new = (dict(each) for each in (old, new))
  if None in (old.get('data'), new.get('data')):  # an older version did not record them
    old['data'] = new['data'] = None
  flags = [each.pop('flags', {}) for each in (old, new)]
  filled = [resume_compatibility.settings_with_defaults(each) | each for each in flags]
  for each in filled:
    each.pop('data_dir')
  data_sets = [str(each['dataset']) for each in filled]
  if new['data'] is not None and resume_compatibility.may_be_same_data(*data_sets):
    filled[0]['dataset'] = filled[1]['dataset']
  differ = lambda a, b: {k for k in {*a, *b} if a.get(k) != b.get(k)}
  return ', '.join(sorted(differ(old, new) | {f'--{name}' for name in differ(*filled)}))


def run_comparison(
  comparison: Comparison, log: Callable[[str], None], stop: Callable[[], bool]
) -> list[ResultRow]:
  """Trains all runs and returns a row for each; where `stop` returns True, those of finished comparisons."""
  rows: list[ResultRow] = []
  unit = comparison.unit
  for basis in (G_UPDATES, *(() if unit == 'none' else (unit,))):
    runs = _runs_to_train(comparison, _setting_steps(comparison, basis, rows), basis)
    schedule = _make_schedule(comparison, runs, comparison.folder / basis.split()[0])
    updates = sum(m.config.steps * group_program.updates_per_step(m.config) for m in runs.values())
    table = ProgressTable(schedule.settings, updates, comparison.metric)
    log(f'at equal {basis}: {len(runs)} runs on {len(comparison.devices)} devices')
    if runs and not halving_scheduler.train_members(schedule, table, stop):
      break
    # A setting that has the same number of steps at the equal budget is not trained again.
    same = [r._replace(compared=basis) for r in rows if (r.setting, r.seed) not in runs]
    rows += [*same, *_result_rows(comparison, basis, runs, schedule)]
  return rows


def train_trial(
  comparison: Comparison, trial: Any, setting: Setting, stop: Callable[[], bool]
) -> list[ResultRow] | None:
  """Trains all seeds of a trial's setting in trials/NUMBER of the sweep's directory.

  Returns a row for each seed; [] for an invalid setting; None where the trial was stopped or pruned.
  """
  one = comparison._replace(settings=[setting], halving=0)
  try:
    steps = {setting: search_space.apply_setting(one.base, setting).steps}
    setting_checks.check_settings(one.base, [setting], one.load_task)
    runs = _runs_to_train(one, steps, G_UPDATES)
  except UserError:  # Optuna drew values that do not go together
    return []
  schedule = _make_schedule(one, runs, comparison.folder / 'trials' / f'{trial.number:05d}')
  callback = PruningCallback(trial, len(runs), one.metric.sign)
  interrupted = lambda: stop() or callback.should_prune
  if not halving_scheduler.train_members(schedule, callback, interrupted):
    return None
  return _result_rows(comparison, G_UPDATES, runs, schedule)


def _make_schedule(comparison: Comparison, runs: Runs, folder: Path) -> halving_scheduler.Schedule:
  """Returns the schedule that trains runs in a folder; without swept settings it keeps best checkpoints."""
  return halving_scheduler.Schedule(
    folder,
    list(runs.values()),
    {member.name: search_space.label(setting) for (setting, _), member in runs.items()},
    comparison.load_task,
    comparison.devices,
    comparison.mapping,
    comparison.halving,
    comparison.programs,
    keep_best=comparison.settings == [()],
  )


def _runs_to_train(comparison: Comparison, steps: dict[Setting, int], basis: str) -> Runs:
  """Returns the runs of a comparison but those that equal a run of the comparison at equal updates of G."""
  base, runs = comparison.base, {}
  for setting, n in steps.items():
    if basis != G_UPDATES and n == search_space.apply_setting(base, setting).steps:
      continue
    for seed in range(base.seed, base.seed + comparison.seeds):
      config = search_space.apply_setting(base, setting, seed=seed, steps=n)
      runs[setting, seed] = Member(f'{search_space.path_name(setting)}-seed_{seed}', config)
  return runs


def _setting_steps(comparison: Comparison, basis: str, rows: list[ResultRow]) -> dict[Setting, int]:
  """Returns the training steps of each setting; at an equal budget, those that cost as much as the base run.

  A controlled k is that of the same step of `rows`, the runs at equal updates of G.
  """
  base = comparison.base
  configs = {setting: search_space.apply_setting(base, setting) for setting in comparison.settings}
  if basis == G_UPDATES:
    return {setting: config.steps for setting, config in configs.items()}

  def steps_of(setting: Setting, config: Config) -> int:
    d_updates = _d_updates_fn(config, [r for r in rows if r.setting == setting])
    cost = lambda n: float(getattr(_run_cost(comparison, config, n, d_updates(n)), basis))
    return compute_budget.affordable_steps(cost, budget)

  budget = getattr(_run_cost(comparison, base, base.steps, base.steps * float(base.k)), basis)
  return {setting: steps_of(setting, config) for setting, config in configs.items()}


def _d_updates_fn(config: Config, rows: list[ResultRow]) -> Callable[[float], float]:
  """Returns a function from steps to updates of D; where k is 'auto', the mean over the finished runs."""
  if config.k != 'auto':
    return lambda n: n * float(config.k)
  finished = [Path(row.values['run']) for row in rows if row.status == 'finished']
  records = [metric_writers.read_metrics(folder / 'metrics.jsonl') for folder in finished]
  counts = [compute_budget.d_updates_from_metrics(each) for each in records]
  if not counts:
    return lambda n: n * 2.0  # all runs diverged: any number of steps will do
  return lambda n: sum(count(n) for count in counts) / len(counts)


def _run_cost(comparison: Comparison, config: Config, steps: float, d_updates: float) -> RunCost:
  # The FLOPs of an update do not depend on dynamic hyperparameters.
  key = dynamic_hyperparameters.program_key(config)
  if key not in comparison.update_flops:
    task = comparison.load_task(config)
    gan = train_spec.build_train_spec(config, task).gan
    comparison.update_flops[key] = compute_budget.count_update_flops(config, gan, task.shape)
  return compute_budget.run_cost(config, comparison.update_flops[key], steps, d_updates)


def _result_rows(
  comparison: Comparison, basis: str, runs: Runs, schedule: halving_scheduler.Schedule
) -> list[ResultRow]:
  """Returns a row for each run of a schedule that was trained to its end."""
  results = halving_scheduler.read_results(schedule.folder, schedule.members)
  by_name = {result.member.name: result for result in results}
  rows = []
  for (setting, seed), (name, config) in runs.items():
    result, run = by_name[name], schedule.folder / 'members' / name
    step, d_updates, finished = result.step, result.d_updates, result.status == 'finished'
    values = {
      **result.values,
      'g_updates': step,
      'd_updates': d_updates,
      'd_per_g': d_updates / max(step, 1),
      **_run_cost(comparison, config, step, d_updates)._asdict(),
      'seconds': result.seconds,
      'run': str(run),
      'verdict': comparison.verdict_fn(run) if comparison.verdict_fn and finished else '',
    }
    metric = comparison.metric.sign * result.score if finished else math.nan
    rows.append(ResultRow(basis, setting, seed, result.status, metric, values))
  return rows


def draw_samples(comparison: Comparison, row: ResultRow, folder: Path) -> None:
  """Draws samples of the last checkpoint of a run as pictures in `folder`."""
  trained = load_run.load_run(Path(row.values['run']), 'last')
  task = comparison.load_task(trained.config)
  task.save_sample_figures(folder, trained.step, trained.gan, trained.state, row.seed)


def cache_tasks(load_task: Callable[[Config], Task]) -> Callable[[Config], Task]:
  """Returns `load_task` as a function that opens each data set only once."""
  tasks: dict[Any, Task] = {}

  def cached(config: Config) -> Task:
    key = (config.dataset, config.image_size, config.strict, config.contrast)
    if key not in tasks:
      tasks[key] = load_task(config)
    return tasks[key]

  return cached
