"""What a person sees while a sweep runs: how far it is, how long it will take, and who leads."""

import math
import statistics
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

from gan_jax.sweep.group_trainer import Listener

_EVERY = 15.0  # seconds between tables where there is no terminal, and one second where there is
_N_SHOWN = 8


class Leaders(Listener):
  """A table of settings by the mean of their last scores, drawn again and again in one place.

  `settings` names the setting of each member; `updates` are those of either player that are to come.
  """

  def __init__(
    self,
    settings: Mapping[str, str],
    updates: float,
    metric: str,
    sign: int,
    stream: TextIO | None = None,
  ):
    self._settings, self._metric, self._sign = settings, metric, sign
    self._stream = stream or sys.stderr
    self._terminal = self._stream.isatty()
    self._latest: dict[str, tuple[int, float]] = {}
    self._lost: dict[str, str] = {}
    self._done, self._updates = 0.0, updates
    self._first: tuple[float, float] | None = (
      None  # when the first ones had been made, compiled by then
    )
    self._shown_at, self._lines = -math.inf, 0

  def trained(self, updates: float) -> None:
    """Count, and show the table where it is time."""
    self._done += updates
    now = time.monotonic()
    if self._first is None:
      self._first = (now, self._done)
      return
    early = self._lines == 0 and now - self._first[0] > 2  # the first estimate, after seconds
    if early or now - self._shown_at > (1.0 if self._terminal else _EVERY):
      self.show()

  def skipped(self, updates: float) -> None:
    """What others did is done, and says nothing of the pace."""
    self._updates -= updates

  def scored(self, name: str, step: int, score: float) -> None:
    """Remember the latest."""
    if name in self._settings:
      self._latest[name] = (step, score)

  def ended(self, name: str, status: str, step: int) -> None:
    """Remember why."""
    self._lost[name] = f'{status} at step {step}'

  def left(self) -> float | None:
    """Seconds to the end at the pace since the first updates; None before there is one."""
    if self._first is None or self._done <= self._first[1]:
      return None
    pace = (self._done - self._first[1]) / (time.monotonic() - self._first[0])
    return max(0.0, self._updates - self._done) / pace

  def table(self) -> list[str]:
    """Lines: the state of the whole, then the leaders."""
    left = self.left()
    about = '' if left is None else f', about {tqdm.format_interval(left)} left'
    share = min(1.0, self._done / max(self._updates, 1))
    lines = [f'{100 * share:3.0f} % of {len(self._settings)} runs{about}']
    named: dict[str, list[tuple[int, float]]] = {}
    for name, latest in self._latest.items():
      if name not in self._lost:
        named.setdefault(self._settings[name], []).append(latest)
    order = sorted(named, key=lambda each: -statistics.mean(x for _, x in named[each]))
    for place, each in enumerate(order[:_N_SHOWN], 1):
      values = [self._sign * x for _, x in named[each]]
      step = max(step for step, _ in named[each])
      spread = f' +- {statistics.stdev(values):.2g}' if len(values) > 1 else ''
      lines.append(
        f'{place:>3}. {each:<40} {self._metric} {statistics.mean(values):.4g}{spread} '
        f'({len(values)} seeds, step {step})'
      )
    if self._lost:
      name, why = next(reversed(self._lost.items()))
      lines.append(f'     {len(self._lost)} ended early, the last {name}: {why}')
    return lines

  def show(self) -> None:
    """Draw the table, on a terminal over the one before."""
    lines = self.table()
    up = f'\x1b[{self._lines}F\x1b[J' if self._terminal and self._lines else ''
    print(up + '\n'.join(lines), file=self._stream, flush=True)
    self._shown_at, self._lines = time.monotonic(), len(lines)
