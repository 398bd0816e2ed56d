"""When to say, while a run trains, that something goes wrong: rules on what `signals` watches."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Record = dict[str, Any]
N_AGREEING = 2  # in a row that must agree: one alone may be chance
COLLAPSE_PATIENCE = 8  # looks until a G that never had any variety should have some


class Alarm(NamedTuple):
  """Something that went wrong, by its name in ALARMS."""

  name: str
  says: str  # one line


def _collapse(course: Sequence[Record]) -> str | None:
  spread = [r['watch_spread'] for r in course]
  # Many a G begins with one thing; it collapses if it once had more, or stays like that.
  if max(spread[-N_AGREEING:]) > 0.5 or (max(spread) <= 0.5 and len(spread) < COLLAPSE_PATIENCE):
    return None
  return f'samples lie {spread[-1]:.2f} times as far apart as the data: G makes few things only'


def _starved(course: Sequence[Record]) -> str | None:
  last = course[-N_AGREEING:]
  if max(r['watch_slope'] for r in last) > 0.02 or min(r['watch_own'] for r in last) < 0.98:
    return None
  return (
    f"D is right about {last[-1]['watch_own']:.1%} of pairs and G's loss has lost its slope "
    f'({last[-1]["watch_slope"]:.3g}): G is starved'
  )


def _overfitted(course: Sequence[Record]) -> str | None:
  overfit = [r['watch_overfit'] for r in course[-N_AGREEING:]]
  if min(overfit) < 0.7:
    return None
  return (
    f'D ranks {overfit[-1]:.0%} of training examples above held-out ones: it knows them by heart'
  )


def _diverged(course: Sequence[Record]) -> str | None:
  gaps = [max(r['watch_gap'], 0.0) for r in course]
  best, at = min((gap, r['step']) for gap, r in zip(gaps, course, strict=True))
  # Of 512 examples the distance is known to about .01 of the data's.
  if min(gaps[-N_AGREEING:]) < 3 * best + 0.1:
    return None
  return f'samples are {gaps[-1]:.2g} from the data, after {best:.2g} at step {at}: the best is long past'


ALARM_RULES: dict[str, Callable[[Sequence[Record]], str | None]] = {
  'collapse': _collapse,
  'starved': _starved,
  'overfitted': _overfitted,
  'diverged': _diverged,
}


def active_alarms(course: Sequence[Record]) -> list[Alarm]:
  """The alarms that hold at the last of the records, which are those with watch_*, oldest first."""
  if len(course) < N_AGREEING:
    return []
  found = ((name, rule(course)) for name, rule in ALARM_RULES.items())
  return [Alarm(name, says) for name, says in found if says is not None]


def new_alarms(course: Sequence[Record]) -> list[Alarm]:
  """Those of them that did not hold one look before: an alarm is told once, until it ends."""
  before = {alarm.name for alarm in active_alarms(course[:-1])}
  return [alarm for alarm in active_alarms(course) if alarm.name not in before]
