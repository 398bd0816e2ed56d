"""Follows a sweep in training: its events, a progress table, and the pruning of trials of an Optuna study."""

import math
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from gan_jax.sweep.results_table import RankingMetric, seeds_score

_LOG_SECONDS, _TERMINAL_SECONDS = 15.0, 1.0  # between two tables
_N_SETTINGS = 8  # lines of a table


class SweepCallback:
  """Receives the events of group trainers; the base class ignores all of them."""

  def on_updates(self, updates: float) -> None:
    """Receives the number of updates, of either player, that were made since the last call."""

  def on_other_updates(self, updates: float) -> None:
    """Receives the number of updates that were made by another process, or before this one began."""

  def on_evaluation(self, name: str, step: int, score: float) -> None:
    """Receives the score of the member called `name` at `step`; higher is better."""

  def on_early_end(self, name: str, status: str, step: int) -> None:
    """Receives the status, 'diverged' or 'dropped', of a member that ended before its last step."""


class ProgressTable(SweepCallback):
  """Prints settings in the order of their mean last scores; on a terminal a table replaces the last one."""

  def __init__(
    self,
    settings: Mapping[str, str],
    updates: float,
    metric: RankingMetric,
    stream: TextIO | None = None,
  ):
    """Starts a table of members by the labels of their settings; `updates` are those of all members."""
    self._settings, self._metric = settings, metric
    self._stream = stream or sys.stderr
    self._terminal = self._stream.isatty()
    self._latest: dict[str, tuple[int, float]] = {}
    self._ended: dict[str, str] = {}
    self._done, self._updates = 0.0, updates
    # Time and updates at the first call, which includes compilation and is left out of the pace.
    self._first: tuple[float, float] | None = None
    self._printed_at, self._n_lines = -math.inf, 0

  def on_updates(self, updates: float) -> None:
    """Counts updates, and prints the table when it is due."""
    self._done += updates
    now = time.monotonic()
    if self._first is None:
      self._first = (now, self._done)
      return
    early = self._n_lines == 0 and now - self._first[0] > 2  # a first estimate after seconds
    if early or now - self._printed_at > (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
      self.print_table()

  def on_other_updates(self, updates: float) -> None:
    """Subtracts updates that do not count for the pace of this process."""
    self._updates -= updates

  def on_evaluation(self, name: str, step: int, score: float) -> None:
    """Stores the last score of a member."""
    if name in self._settings:
      self._latest[name] = (step, score)

  def on_early_end(self, name: str, status: str, step: int) -> None:
    """Stores how a member ended, and leaves it out of the means."""
    self._ended[name] = f'{status} at step {step}'

  def seconds_left(self) -> float | None:
    """Returns the seconds to the end at the pace since the first call; None before it is known."""
    if self._first is None or self._done <= self._first[1]:
      return None
    pace = (self._done - self._first[1]) / (time.monotonic() - self._first[0])
    return max(0.0, self._updates - self._done) / pace

  def lines(self) -> list[str]:
    """Returns the lines of the table."""
    left = self.seconds_left()
    about = '' if left is None else f', about {tqdm.format_interval(left)} left'
    share = min(1.0, self._done / max(self._updates, 1))
    lines = [f'{100 * share:3.0f} % of {len(self._settings)} runs{about}']
    by_setting: dict[str, list[tuple[int, float]]] = {}
    for name, latest in self._latest.items():
      if name not in self._ended:
        by_setting.setdefault(self._settings[name], []).append(latest)
    lost = [self._settings[x] for x, how in self._ended.items() if not how.startswith('dropped')]
    score_of = lambda x: seeds_score([*(y for _, y in by_setting[x]), *[math.nan] * lost.count(x)])
    order = sorted(by_setting, key=score_of, reverse=True)
    for rank, setting in enumerate(order[:_N_SETTINGS], 1):
      values = [self._metric.sign * score for _, score in by_setting[setting]]
      step = max(step for step, _ in by_setting[setting])
      spread = f' +- {statistics.stdev(values):.2g}' if len(values) > 1 else ''
      lines.append(
        f'{rank:>3}. {setting:<40} {self._metric.name} {statistics.mean(values):.4g}{spread} '
        f'({len(values)} seeds, step {step})'
      )
    if self._ended:
      name, how = next(reversed(self._ended.items()))
      lines.append(f'     {len(self._ended)} ended early, the last {name}: {how}')
    return lines

  def print_table(self) -> None:
    """Prints the table, on a terminal over the one before."""
    lines = self.lines()
    up = f'\x1b[{self._n_lines}F\x1b[J' if self._terminal and self._n_lines else ''
    print(up + '\n'.join(lines), file=self._stream, flush=True)
    self._printed_at, self._n_lines = time.monotonic(), len(lines)


class PruningCallback(SweepCallback):
  """Reports the mean metric of a trial's members at each evaluated step, and asks the pruner."""

  def __init__(self, trial: Any, n_members: int, sign: int):
    """Starts without scores; `sign` turns a score into the metric."""
    self._trial, self._n_members, self._sign = trial, n_members, sign
    self._scores: dict[int, dict[str, float]] = {}
    self._ended: set[str] = set()
    self.should_prune = False

  def on_evaluation(self, name: str, step: int, score: float) -> None:
    """Reports the mean of a step once all members that still train were evaluated at it."""
    scores = self._scores.setdefault(step, {})
    scores[name] = score
    _, mean = seeds_score([*scores.values(), *[math.nan] * len(self._ended)])
    if len(scores) + len(self._ended) == self._n_members and math.isfinite(mean):
      self._trial.report(self._sign * mean, step)
      self.should_prune = self._trial.should_prune()

  def on_early_end(self, name: str, status: str, step: int) -> None:
    """Leaves a member out of the steps to come."""
    self._ended.add(name)
