"""A sweep in its folder: waves that any number of processes take from one another, rung by rung.

waves/   a folder for each wave, with its checkpoint, its metrics, and what it found at each rung
members/ a run's folder for each member that ended, which every other script can open
"""

import dataclasses
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from gan_jax.config import dynamic_hyperparameters
from gan_jax.config.config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.sweep import group_program
from gan_jax.sweep.group_program import Member, Program
from gan_jax.sweep.group_trainer import Listener, Result, Wave
from gan_jax.training import run_directory
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

_POLL = 2.0  # seconds between looks at waves that other processes train


class Plan(NamedTuple):
  """What is to be trained, where, and how."""

  folder: Path
  members: list[Member]
  settings: dict[str, str]  # of each member's name: halving keeps or drops the whole of a setting
  open_task: Callable[[Config], Task]
  devices: Sequence[jax.Device]
  how: str  # as in sweep.open_program
  halving: int  # at each rung one setting in so many goes on; 0 for all
  programs: dict[
    Any, Program
  ]  # those that were compiled, by what they are and for how many members


def rungs(config: Config, halving: int) -> list[int]:
  """Evaluated steps at which settings are dropped: steps / halving, steps / halving^2, ..., ascending."""
  if halving < 2:
    return []
  every, found = config.eval_every, set()
  part = config.steps / halving
  while part >= every / 2:
    step = max(1, round(part / every)) * every
    if step < config.steps:
      found.add(step)
    part /= halving
  return sorted(found)


def survivors(scores: dict[str, float], settings: dict[str, str], halving: int) -> set[str]:
  """The settings that go on: the best by the mean of their members, one in `halving`, at least one.

  One whose member diverged counts by the others, and falls behind all where none is left.
  """
  named: dict[str, list[float]] = {}
  for name, setting in settings.items():
    named.setdefault(setting, [])
    if math.isfinite(scores.get(name, math.nan)):
      named[setting].append(scores[name])
  mean = {each: statistics.mean(x) if x else -math.inf for each, x in named.items()}
  ranked = sorted(mean, key=lambda each: -mean[each])
  return set(ranked[: max(1, math.ceil(len(ranked) / halving))])


class _Group:
  """The members of one program, compiled when a wave of theirs is to be trained."""

  def __init__(self, plan: Plan, index: int, members: list[Member]):
    self._plan, self._index, self.members = plan, index, members
    self._program: Program | None = None
    self.known: dict[Path, float] = {}  # updates of each wave that the listener has heard of

  def program(self) -> Program:
    """Compiled at the first call."""
    if self._program is None:
      plan, size = self._plan, self._size()
      how = json.loads(self._path.read_text())['how'] if size else plan.how
      task = plan.open_task(self.members[0].config)
      some = self.members[: size or len(self.members)]
      key = (dynamic_hyperparameters.program(some[0].config), len(some), how)
      if key not in plan.programs:
        plan.programs[key] = group_program.open_program(some, task, plan.devices, how)
      self._program = plan.programs[key]
      if size and self._program.size < size:
        raise UserError(
          f'{self._path}: its waves have {size} members, and only {self._program.size} fit here; '
          'go on with a machine like the first'
        )
      if not size:
        facts = {'size': self._program.size, 'how': self._program.how}
        write_atomically(self._path, (json.dumps(facts) + '\n').encode())
    return self._program

  @property
  def _path(self) -> Path:
    return self._plan.folder / 'waves' / f'{self._index}.json'

  def _size(self) -> int:
    return int(json.loads(self._path.read_text())['size']) if self._path.exists() else 0

  def waves(self) -> list[tuple[Path, list[Member]]]:
    """Folders and members; their size was found by the process that came first."""
    size = self._size() or self.program().size
    parts = [self.members[i : i + size] for i in range(0, len(self.members), size)]
    return [
      (self._plan.folder / 'waves' / f'{self._index}_{j}', part) for j, part in enumerate(parts)
    ]


def run(plan: Plan, listener: Listener, stop: Callable[[], bool] = lambda: False) -> bool:
  """Train all members to their ends, or until `stop` says so; whether it came to the end."""
  (plan.folder / 'waves').mkdir(parents=True, exist_ok=True)
  groups = [
    _Group(plan, i, members)
    for i, members in enumerate(group_program.by_program(plan.members, plan.how))
  ]
  longest = max((m.config for m in plan.members), key=lambda config: config.steps)
  dropped: set[str] = set()
  for rung in [*rungs(longest, plan.halving), longest.steps]:
    if not _climb(plan, groups, rung, dropped, listener, stop):
      return False
    if plan.halving and rung < longest.steps:
      scores = {k: x for path in _reports(groups, rung) for k, x in _read(path)['scores'].items()}
      there = {k: x for k, x in plan.settings.items() if k not in dropped}
      kept = survivors(scores, there, plan.halving)
      dropped |= {name for name, setting in there.items() if setting not in kept}
  return True


def _reports(groups: list[_Group], rung: int) -> list[Path]:
  return [folder / f'rung_{rung}.json' for group in groups for folder, _ in group.waves()]


def _climb(
  plan: Plan,
  groups: list[_Group],
  rung: int,
  dropped: set[str],
  listener: Listener,
  stop: Callable[[], bool],
) -> bool:
  """Bring every wave to a rung, those that other processes hold by waiting for them; False if stopped."""
  while not stop():
    waiting = False
    for group in groups:
      for folder, members in group.waves():
        if (folder / f'rung_{rung}.json').exists():
          continue
        try:
          with Wave(folder, members, group.program(), listener) as wave:
            listener.skipped(wave.updates - group.known.get(folder, 0.0))
            wave.drop(dropped)
            wave.run(rung, stop)
            group.known[folder] = wave.updates
            if stop():
              return False
            _report(plan, wave, rung)
        except run_directory.HeldError:
          waiting = True
    if not waiting:
      return True
    time.sleep(_POLL)
  return False


def _report(plan: Plan, wave: Wave, rung: int) -> None:
  """Say what a wave found at a rung; at the last one hand its members over."""
  found: dict[str, Any] = {'scores': wave.scores(rung)}
  if wave.finished:
    for i, member in enumerate(wave.members):
      wave.export(i, plan.folder / 'members' / member.name)
    results = [r._asdict() | {'member': r.member.name} for r in wave.results()]
    found['results'] = json_safe(results)
  write_atomically(wave.folder / f'rung_{rung}.json', (json.dumps(found, indent=2) + '\n').encode())


def _read(path: Path) -> dict[str, Any]:
  found: dict[str, Any] = json.loads(path.read_text())
  return found


def results(folder: Path, members: Sequence[Member]) -> list[Result]:
  """How the members ended, as far as waves in `folder` have: in the order of `members`."""
  found: dict[str, Any] = {}
  for path in sorted((folder / 'waves').glob('*/rung_*.json')):
    for result in _read(path).get('results', ()):
      found[result['member']] = result
  named = {member.name: member for member in members}
  return [
    Result(**{**found[name], 'member': member, 'score': _number(found[name]['score'])})
    for name, member in named.items()
    if name in found
  ]


def _number(x: float | None) -> float:
  return math.nan if x is None else x


def tidy(folder: Path) -> None:
  """Remove the checkpoints of waves whose members all have folders of their own."""
  for path in sorted((folder / 'waves').glob('*/rung_*.json')):
    if 'results' in _read(path):
      shutil.rmtree(path.parent / 'checkpoints', ignore_errors=True)


def describe(folder: Path, facts: dict[str, Any]) -> None:
  """Write sweep.json; raises UserError where the folder holds another sweep."""
  path = folder / 'sweep.json'
  text = json.dumps(facts, indent=2) + '\n'
  if path.exists():
    if path.read_text() != text:
      old = json.loads(path.read_text())
      changed = sorted(k for k in {*old, *facts} if old.get(k) != facts.get(k))
      raise UserError(
        f'--run={folder}: this folder holds another sweep (other {", ".join(changed)}); '
        'give the same command to go on, or another --run'
      )
    return
  if folder.exists() and any(child.name[0] != '.' for child in folder.iterdir()):
    raise UserError(f'--run={folder}: this folder is not empty and holds no sweep; choose another')
  run_directory.make(folder)
  write_atomically(path, text.encode())


def facts_of(base: Config, **others: Any) -> dict[str, Any]:
  """What makes one sweep another: the preset's flags, and `others`."""
  flags = dataclasses.asdict(base)
  del flags['data_dir']  # a matter of the host
  return {**others, 'flags': flags}
