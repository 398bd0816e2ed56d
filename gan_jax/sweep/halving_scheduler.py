"""Trains the members of a sweep group by group, and drops settings by successive halving.

Any number of processes that share the directory of a sweep share its groups:
waves/    a directory for each group, with its checkpoints, its metrics, and its scores at each halving
members/  a run directory for each member that ended, which every script can open
"""

import contextlib
import functools
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.run_config import Config
from gan_jax.distributed import device_memory
from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import group_program
from gan_jax.sweep.group_program import GroupProgram, Member
from gan_jax.sweep.group_trainer import GroupTrainer, MemberResult
from gan_jax.sweep.progress_table import SweepCallback
from gan_jax.sweep.results_table import seeds_score
from gan_jax.training import checkpoints, metric_writers, run_directory
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

OUT_OF_MEMORY = 'out of memory'  # a status beside those of `group_trainer`
_POLL_SECONDS = 2.0  # between attempts to lock groups that other processes train


class Schedule(NamedTuple):
  """Holds the members to train, their directory, and the options of training."""

  folder: Path
  members: list[Member]
  settings: dict[str, str]  # the label of each member's setting: halving drops whole settings
  load_task: Callable[[Config], Task]
  devices: Sequence[jax.Device]
  mapping: str  # as in `compile_group_program`
  halving: int  # at each halving one setting in `halving` is kept; 0 keeps all
  programs: dict[Any, GroupProgram]  # by program key, number of members and mapping; filled
  keep_best: bool = False  # as in `GroupTrainer`


def halving_steps(config: Config, halving: int) -> list[int]:
  """Returns the steps, ascending, after which settings are dropped: steps / halving, steps / halving^2, ...

  Each is rounded to a multiple of `eval_every`, as scores are known there only; [] where `halving` is below 2.
  """
  if halving < 2:
    return []
  every, steps, part = config.eval_every, set(), config.steps / halving
  while part >= every / 2:
    step = max(1, round(part / every)) * every
    if step < config.steps:
      steps.add(step)
    part /= halving
  return sorted(steps)


def best_settings(scores: dict[str, float], settings: dict[str, str], halving: int) -> set[str]:
  """Returns the settings that go on: one in `halving`, at least one, the best by `seeds_score`.

  `scores` are those of members by name; `settings` are the members' settings. Members without a finite score
  are lost seeds.
  """
  by_setting: dict[str, list[float]] = {}
  for name, setting in settings.items():
    by_setting.setdefault(setting, []).append(scores.get(name, math.nan))
  ranked = sorted(by_setting, key=lambda x: seeds_score(by_setting[x]), reverse=True)
  return set(ranked[: max(1, math.ceil(len(ranked) / halving))])


class _ProgramGroups:
  """Divides the members of one program into groups that fit into memory, and compiles the program."""

  def __init__(self, schedule: Schedule, callback: SweepCallback, i: int, members: list[Member]):
    self._schedule, self._callback, self._members = schedule, callback, members
    self._prefix = schedule.folder / 'waves' / f'{i}'
    self._path = self._prefix.with_suffix('.json')  # size and mapping that the first process chose
    self._known_updates: dict[Path, float] = {}  # of each group, as the callback knows them

  @functools.cached_property
  def program(self) -> GroupProgram:
    """Compiles the program; raises UserError where a stored group does not fit."""
    schedule, stored = self._schedule, _read(self._path) if self._path.exists() else {}
    mapping = stored.get('how', schedule.mapping)
    some = self._members[: stored.get('size')]
    config, programs = some[0].config, schedule.programs
    key = (dynamic_hyperparameters.program_key(config), len(some), mapping)
    if key not in programs:
      task, devices = schedule.load_task(config), schedule.devices
      programs[key] = group_program.compile_group_program(some, task, devices, mapping)
    program = programs[key]
    if stored and program.capacity < stored['size']:
      raise UserError(
        f'{self._path}: its groups have {stored["size"]} members, and only {program.capacity} fit into memory; '
        'use a machine like the one that began the sweep'
      )
    if not stored:
      facts = {'size': program.capacity, 'how': program.mapping}
      write_atomically(self._path, (json.dumps(facts) + '\n').encode())
    return program

  def groups(self) -> list[tuple[Path, list[Member]]]:
    """Returns the directory and members of each group, whose size the first process has stored."""
    size = _read(self._path)['size'] if self._path.exists() else self.program.capacity
    parts = [self._members[i : i + size] for i in range(0, len(self._members), size)]
    return [(Path(f'{self._prefix}_{j}'), part) for j, part in enumerate(parts)]

  def train(self, step: int, dropped: set[str], stop: Callable[[], bool]) -> bool:
    """Trains the groups that no other process trains; returns whether all of them are at `step`."""
    if stop():
      return False
    schedule, callback, done = self._schedule, self._callback, True
    for folder, members in self._groups_or_lost(step):
      if _report_path(folder, step).exists():
        continue
      if _ran_out_of_memory(folder):
        _write_lost(folder, step, members)
        continue
      try:
        with GroupTrainer(folder, members, self.program, callback, schedule.keep_best) as trainer:
          callback.on_other_updates(trainer.updates - self._known_updates.get(folder, 0.0))
          trainer.drop(dropped)
          trainer.train(step, stop)
          self._known_updates[folder] = trainer.updates
          if stop():
            return False
          _write_report(schedule, trainer, step)
      except run_directory.RunLockedError:
        done = False
      except Exception as error:
        if not device_memory.is_out_of_memory(error):
          raise
        _mark_lost(folder, step, members, callback)
    return done

  def _groups_or_lost(self, step: int) -> list[tuple[Path, list[Member]]]:
    """Returns `groups`; where not even one member fits into memory, all are one group, marked as lost."""
    try:
      return self.groups()
    except Exception as error:
      if not device_memory.is_out_of_memory(error):
        raise
    facts = {'size': len(self._members), 'how': self._schedule.mapping}
    write_atomically(self._path, (json.dumps(facts) + '\n').encode())
    ((folder, members),) = self.groups()
    folder.mkdir(exist_ok=True)
    _mark_lost(folder, step, members, self._callback)
    return [(folder, members)]


def train_members(
  schedule: Schedule, callback: SweepCallback, stop: Callable[[], bool] = lambda: False
) -> bool:
  """Trains all members to their last steps; returns False where `stop` returned True before."""
  (schedule.folder / 'waves').mkdir(parents=True, exist_ok=True)
  by_program = group_program.group_by_program(schedule.members, schedule.mapping)
  programs = [_ProgramGroups(schedule, callback, *each) for each in enumerate(by_program)]
  longest = max((m.config for m in schedule.members), key=lambda config: config.steps)
  dropped: set[str] = set()
  for step in [*halving_steps(longest, schedule.halving), longest.steps]:
    while not all([each.train(step, dropped, stop) for each in programs]):
      if stop():
        return False
      time.sleep(_POLL_SECONDS)
    if schedule.halving and step < longest.steps:
      reports = [_report_path(folder, step) for each in programs for folder, _ in each.groups()]
      scores = {name: x for path in reports for name, x in _read(path)['scores'].items()}
      left = {name: x for name, x in schedule.settings.items() if name not in dropped}
      kept = best_settings(scores, left, schedule.halving)
      dropped |= {name for name, setting in left.items() if setting not in kept}
  return True


def _report_path(folder: Path, step: int) -> Path:
  return folder / f'rung_{step}.json'


def _mark_lost(folder: Path, step: int, members: Sequence[Member], callback: SweepCallback) -> None:
  """Marks the members of a group that ran out of memory; the other groups of the sweep go on."""
  _write_lost(folder, step, members)
  for member in members:
    callback.on_early_end(member.name, OUT_OF_MEMORY, 0)


def _write_lost(folder: Path, step: int, members: Sequence[Member]) -> None:
  results = [MemberResult(m, OUT_OF_MEMORY, 0, 0, math.nan, {}, 0.0) for m in members]
  records = [r._asdict() | {'member': r.member.name} for r in results]
  report = json_safe({'scores': {}, 'results': records})
  write_atomically(_report_path(folder, step), (json.dumps(report, indent=2) + '\n').encode())


def _ran_out_of_memory(folder: Path) -> bool:
  """Returns whether a group was marked as lost at an earlier halving."""
  reports = (_read(path) for path in _report_paths(folder))
  return any(r['status'] == OUT_OF_MEMORY for report in reports for r in report.get('results', ()))


def _write_report(schedule: Schedule, trainer: GroupTrainer, step: int) -> None:
  """Writes the scores of a group at a step, and the results and run directories of a finished group."""
  report: dict[str, Any] = {'scores': trainer.scores(step)}
  if trainer.finished:
    for i, member in enumerate(trainer.members):
      export_member(trainer, i, schedule.folder / 'members' / member.name)
    results = [r._asdict() | {'member': r.member.name} for r in trainer.results()]
    report['results'] = json_safe(results)
  path = _report_path(trainer.folder, step)
  write_atomically(path, (json.dumps(report, indent=2) + '\n').encode())


def export_member(trainer: GroupTrainer, i: int, folder: Path) -> None:
  """Writes member `i` as a run directory: metrics, last state, and best state where one was kept."""
  member, program = trainer.members[i], trainer.program
  run_directory.create_run_directory(folder)
  run_directory.delete_files_of_run(folder)  # of a process that was killed, perhaps incomplete
  with contextlib.closing(metric_writers.MetricWriter(folder, 0)) as metrics:
    for step, values in trainer.metrics.of_member(member.name):
      metrics.write(step, values)
  state, best = trainer.state(i), trainer.best_state(i)
  scores = metric_writers.read_scores(folder / 'metrics.jsonl')
  with checkpoints.open_checkpoints(folder / 'checkpoints', 1, scores) as saved:
    if best is not None and best[0] < state.step:
      saved.save(*best)
    saved.save(int(state.step), state)
  devices = f'{len(program.devices)} x {program.devices[0].device_kind}'
  where = f'a population of {len(trainer.members)} ({program.mapping}) on {devices}'
  run_directory.write_description(folder, member.config, program.task, where)


def _report_paths(folder: Path) -> list[Path]:
  """Returns the reports of a group, without the copies that a sync tool may have left beside them."""
  return sorted(x for x in folder.glob('rung_*.json') if x.stem.removeprefix('rung_').isdecimal())


def _all_report_paths(folder: Path) -> list[Path]:
  """Returns the reports of all groups of a sweep."""
  return [path for group in sorted((folder / 'waves').glob('*/')) for path in _report_paths(group)]


def _read(path: Path) -> dict[str, Any]:
  return json.loads(path.read_text())


def read_results(folder: Path, members: Sequence[Member]) -> list[MemberResult]:
  """Returns the results of the members whose groups in `folder` are finished, in the order of `members`."""
  results: dict[str, Any] = {}
  for path in _all_report_paths(folder):
    results |= {result['member']: result for result in _read(path).get('results', ())}
  ended = [(member, results[member.name]) for member in members if member.name in results]
  score = lambda result: math.nan if result['score'] is None else result['score']
  return [MemberResult(**(r | {'member': member, 'score': score(r)})) for member, r in ended]


def delete_group_checkpoints(folder: Path) -> None:
  """Deletes the checkpoints of finished groups, whose members have run directories."""
  for path in _all_report_paths(folder):
    if 'results' in _read(path):
      for name in ('checkpoints', 'best/checkpoints'):
        for checkpoint in (path.parent / name).glob('[0-9]*'):
          shutil.rmtree(checkpoint, ignore_errors=True)
