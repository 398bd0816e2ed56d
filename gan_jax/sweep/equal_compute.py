"""Settings against one another: at equal updates of G, then at an equal budget of something else."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import compute_cost, group_program, progress_table, scheduler, search_space
from gan_jax.sweep.group_program import Member, Program
from gan_jax.sweep.group_trainer import Result
from gan_jax.sweep.results_table import Ranked, Row
from gan_jax.sweep.search_space import Setting
from gan_jax.training import load_run, metric_writers, session
from gan_jax.utils.errors import UserError

UPDATES = 'updates of G'


class Contest(NamedTuple):
  """What is compared, where, and how."""

  base: Config
  settings: list[Setting]
  seeds: int  # of each setting, from the base's on
  unit: str  # of compute.UNITS, or 'none' to compare at equal updates only
  halving: int  # as in campaign.Plan
  folder: Path
  open_task: Callable[[Config], Task]
  devices: list[Any]
  how: str  # as in sweep.open_program
  programs: dict[Any, Program]  # as in campaign.Plan
  prices: dict[
    Any, compute_cost.Arithmetic
  ]  # what updates of each program cost, as far as it was counted
  verdict: Callable[[Path], str] | None = None  # of a finished run's folder

  @property
  def ranked(self) -> Ranked:
    """By what runs are compared."""
    return Ranked(*self.open_task(self.base).ranked_by)

  @property
  def sign(self) -> int:
    """Of a score, which is better where it is higher, in the metric."""
    return 1 if self.ranked.higher_is_better else -1


Entry = tuple[Setting, int]  # a setting and a seed


def check(contest: Contest) -> None:
  """Raise UserError for what cannot be run or compared."""
  if contest.seeds < 1:
    raise UserError(f'--seeds={contest.seeds}: give a number of at least 1')
  if contest.halving < 0 or contest.halving == 1:
    raise UserError(f'--halving={contest.halving}: give 2 or more, or 0 to keep all settings')
  base = contest.base
  if base.stop_on:
    raise UserError(
      f'--stop_on={base.stop_on}: no member of a sweep is watched for alarms; use --halving to drop '
      'the worst, or leave it out'
    )
  if base.seed + contest.seeds > 2**31:
    raise UserError(f'--seed={base.seed}: there are no {contest.seeds} seeds from it on; lower it')
  if contest.unit != 'none' and base.k == 'auto':
    raise UserError(
      '--k=auto: an equal budget is reckoned from the preset, which needs a number; give one, or '
      '--compute=none'
    )
  for setting in contest.settings:
    search_space.configure(base, setting)


def run(contest: Contest, say: Callable[[str], None], stop: Callable[[], bool]) -> list[Row]:
  """Train everything, and say what came of it; as far as it came where `stop` says so."""
  rows: list[Row] = []
  for way in (UPDATES, *(() if contest.unit == 'none' else (contest.unit,))):
    steps = _steps(contest, way, rows)
    members = entries(contest, steps, way)
    plan = plan_of(contest, members, contest.folder / way.split()[0])
    total = sum(m.config.steps * group_program.updates_per_step(m.config) for m in plan.members)
    shown = progress_table.Leaders(plan.settings, total, contest.ranked.name, contest.sign)
    say(f'at equal {way}: {len(members)} runs on {len(contest.devices)} devices')
    if members and not scheduler.run(plan, shown, stop):
      break
    results = {r.member.name: r for r in scheduler.results(plan.folder, plan.members)}
    # A setting whose budget buys what it had at equal updates was not trained again.
    found = [r._replace(compared=way) for r in rows if (r.setting, r.seed) not in members]
    for entry, member in members.items():
      found.append(row(contest, way, entry, results[member.name], plan.folder))
    rows += found
  return rows


def plan_of(contest: Contest, members: dict[Entry, Member], folder: Path) -> scheduler.Plan:
  """The campaign that trains these members in a folder."""
  return scheduler.Plan(
    folder,
    list(members.values()),
    {member.name: search_space.label(setting) for (setting, _), member in members.items()},
    contest.open_task,
    contest.devices,
    contest.how,
    contest.halving,
    contest.programs,
  )


def entries(contest: Contest, steps: dict[Setting, int], way: str) -> dict[Entry, Member]:
  """The runs of one way of comparing that have not been made already."""
  members = {}
  for setting, n in steps.items():
    if way != UPDATES and n == search_space.configure(contest.base, setting).steps:
      continue
    for seed in range(contest.base.seed, contest.base.seed + contest.seeds):
      config = search_space.configure(contest.base, setting, seed=seed, steps=n)
      members[setting, seed] = Member(f'{search_space.slug(setting)}-seed_{seed}', config)
  return members


def _steps(contest: Contest, way: str, rows: list[Row]) -> dict[Setting, int]:
  """Those of each setting: what the preset costs with its own k, where `way` is a budget.

  A controlled k is what it was at the same steps of `rows`, the runs at equal updates.
  """
  base, settings = contest.base, contest.settings
  configs = {setting: search_space.configure(base, setting) for setting in settings}
  if way == UPDATES:
    return {setting: config.steps for setting, config in configs.items()}
  own = compute_cost.spent(base, _price(contest, base), base.steps, base.steps * float(base.k))
  found = {}
  for setting, config in configs.items():
    count = _d_updates(config, [r for r in rows if r.setting == setting])
    price = _price(contest, config)
    found[setting] = compute_cost.affordable_steps(config, price, getattr(own, way), way, count)
  return found


def _d_updates(config: Config, rows: list[Row]) -> Callable[[float], float]:
  """How often D moves in the first n steps of a setting: in the mean over its finished runs, or k each."""
  if config.k != 'auto':
    return lambda n: n * float(config.k)
  folders = [Path(row.values['run']) for row in rows if row.status == 'finished']
  counts = [
    compute_cost.d_updates_of(metric_writers.read_metrics(each / 'metrics.jsonl'))
    for each in folders
  ]
  if not counts:
    return lambda n: n * 2.0  # all diverged: there is nothing to compare
  return lambda n: sum(count(n) for count in counts) / len(counts)


def _price(contest: Contest, config: Config) -> compute_cost.Arithmetic:
  key = dynamic_hyperparameters.program(config)  # numbers do not change what an update costs
  if key not in contest.prices:
    task = contest.open_task(config)
    gan = session.recipe_of(config, task).gan
    contest.prices[key] = compute_cost.arithmetic(config, gan, task.shape)
  return contest.prices[key]


def row(contest: Contest, way: str, entry: Entry, result: Result, folder: Path) -> Row:
  """What became of one run."""
  config = result.member.config
  spent = compute_cost.spent(config, _price(contest, config), result.step, result.d_updates)
  run = folder / 'members' / result.member.name
  finished = result.status == 'finished'
  values = {
    **result.values,
    'g_updates': result.step,
    'd_updates': result.d_updates,
    'd_per_g': result.d_updates / max(result.step, 1),
    **spent._asdict(),
    'seconds': result.seconds,
    'run': str(run),
    'verdict': contest.verdict(run) if contest.verdict and finished else '',
  }
  metric = contest.sign * result.score if finished else math.nan
  return Row(way, *entry, result.status, metric, values)


def paint(contest: Contest, row: Row, folder: Path) -> None:
  """Samples of a run."""
  trained = load_run.open_run(Path(row.values['run']), 'last')
  task = contest.open_task(trained.config)
  task.paint(folder, trained.step, trained.gan, trained.state, row.seed)


def once(opened: Callable[[Config], Task]) -> Callable[[Config], Task]:
  """`opened`, which reads each data set only once."""
  tasks: dict[Any, Task] = {}

  def open_task(config: Config) -> Task:
    key = (config.dataset, config.image_size, config.strict, config.contrast)
    if key not in tasks:
      tasks[key] = opened(config)
    return tasks[key]

  return open_task
