"""Raises alarms during training: rules on the training monitors of a run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Record = dict[str, Any]  # of a metrics.jsonl, with the step and all training monitors
N_AGREEING = 2  # last records that a rule must hold for, against alarms by chance
COLLAPSE_PATIENCE = 8  # records, all without variety, after which a generator counts as collapsed


class Alarm(NamedTuple):
  """Holds a fault of a run by its name in `ALARM_RULES`."""

  name: str
  message: str  # one line


def _collapse(records: Sequence[Record]) -> str | None:
  spread = [r['watch_spread'] for r in records]
  # Many generators start without variety: a collapse is a loss of variety, or a lasting lack of it.
  if max(spread[-N_AGREEING:]) > 0.5 or (max(spread) <= 0.5 and len(spread) < COLLAPSE_PATIENCE):
    return None
  return f'the mean distance of two samples is {spread[-1]:.2f} times that of data: G lacks variety'


def _starved(records: Sequence[Record]) -> str | None:
  last = records[-N_AGREEING:]
  if max(r['watch_slope'] for r in last) > 0.02 or min(r['watch_own'] for r in last) < 0.98:
    return None
  return (
    f'D ranks {last[-1]["watch_own"]:.1%} of pairs correctly and the gradient of the generator loss '
    f'has vanished (mean slope {last[-1]["watch_slope"]:.3g})'
  )


def _overfitted(records: Sequence[Record]) -> str | None:
  overfit = [r['watch_overfit'] for r in records[-N_AGREEING:]]
  if min(overfit) < 0.7:
    return None
  return f'D ranks {overfit[-1]:.0%} of training examples above held-out ones: D overfits'


def _diverged(records: Sequence[Record]) -> str | None:
  gaps = [max(r['watch_gap'], 0.0) for r in records]
  best, step = min((gap, r['step']) for gap, r in zip(gaps, records, strict=True))
  # The distance of 512 examples has a standard error of about 0.01.
  if min(gaps[-N_AGREEING:]) < 3 * best + 0.1:
    return None
  return (
    f'the energy distance of samples to the data is {gaps[-1]:.2g}, after {best:.2g} at step {step}'
  )


# Each rule maps records, oldest first, to a message, or to None where the alarm does not hold.
ALARM_RULES: dict[str, Callable[[Sequence[Record]], str | None]] = {
  'collapse': _collapse,
  'starved': _starved,
  'overfitted': _overfitted,
  'diverged': _diverged,
}


def active_alarms(records: Sequence[Record]) -> list[Alarm]:
  """Returns the alarms that hold at the last of the records, oldest first."""
  if len(records) < N_AGREEING:
    return []
  messages = ((name, rule(records)) for name, rule in ALARM_RULES.items())
  return [Alarm(name, message) for name, message in messages if message is not None]


def new_alarms(records: Sequence[Record]) -> list[Alarm]:
  """Returns the alarms that hold at the last of the records and did not hold at the one before."""
  before = {alarm.name for alarm in active_alarms(records[:-1])}
  return [alarm for alarm in active_alarms(records) if alarm.name not in before]
