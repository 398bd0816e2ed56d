"""Charts as geometry: numbers become paths, ticks and boxes, which the page's template draws as SVG.

No colour and no markup is made here. A series has a `style`, a word that the page's style sheet knows.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

WIDTH, HEIGHT = 360.0, 220.0  # of every chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46.0, 350.0, 10.0, 186.0  # of the area where the numbers are
_MOST = 400  # points of a line, beyond which a stretch is drawn by its lowest and highest
_LABELS = 12  # names that fit under the bars

Number = float | None


class Series(NamedTuple):
  """A line, or the steps of a histogram where `x` has one number more than `y`."""

  name: str
  style: str
  x: Sequence[Number]
  y: Sequence[Number]
  low: Sequence[Number] = ()  # of an interval around y
  high: Sequence[Number] = ()
  dots: bool = False


class Rule(NamedTuple):
  """A straight line across: a level, or an event where `x` is given instead of `y`."""

  name: str
  style: str
  y: Number = None
  x: Number = None


@dataclasses.dataclass(frozen=True)
class Chart:
  """What the template draws; all positions are in the chart's own units, y downwards."""

  title: str
  x_label: str
  x_ticks: list[tuple[float, str]]
  y_ticks: list[tuple[float, str]]
  paths: list[tuple[str, str]]  # (style, path); of a band, a filled histogram, a line
  rules: list[tuple[str, float, float, float, float, str]]  # style, x1, y1, x2, y2, name
  dots: list[tuple[str, float, float, str]]  # style, x, y, what it says
  boxes: list[tuple[str, float, float, float, float, str]]  # style, x, y, width, height, says
  legend: list[tuple[str, str]]  # (style, name)
  note: str = ''


def known(value: Any) -> TypeGuard[float]:
  """Whether this is a number that can be drawn."""
  return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def say(value: Any) -> str:
  """A number for a person: three digits, thousands with commas, a dash where there is none."""
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if not isinstance(value, (int, float)):
    return '–' if value is None else str(value)
  if not math.isfinite(value):
    return '–'
  if value == int(value) and abs(value) < 1e15:
    return f'{int(value):,}'.replace('-', '−')
  text = f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'
  return text.replace('-', '−')


def ticks(low: float, high: float, n: int = 5) -> list[float]:
  """Round numbers within [low, high], about n of them: 1, 2 or 5 times a power of ten apart."""
  rough = (high - low) / n
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
  first = math.ceil(low / step - 1e-9)
  return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
  """Powers of ten within [low, high], and where these are few their doubles and fives too."""
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  factors = (1,) if len(powers) > 3 else (1, 2, 5)
  found = [factor * 10.0**power for power in powers for factor in factors]
  found = [x for x in found if low * 0.999 <= x <= high * 1.001]
  return found[:: max(1, len(found) // 6)]


class _Axis(NamedTuple):
  """Maps numbers to positions between two ends."""

  low: float
  high: float
  start: float
  end: float
  log: bool = False

  def __call__(self, value: float) -> float:
    value = min(max(value, self.low), self.high)
    if self.log:
      share = math.log(value / self.low) / math.log(self.high / self.low)
    else:
      share = (value - self.low) / (self.high - self.low)
    return round(self.start + share * (self.end - self.start), 1)

  def marks(self) -> list[tuple[float, str]]:
    """The ticks and what they say."""
    at = decades(self.low, self.high) if self.log else ticks(self.low, self.high)
    return [(self(x), say(x)) for x in at]


def _axis(
  values: list[float], start: float, end: float, log: bool = False, room: float = 0.0
) -> _Axis:
  """An axis over all values, with some room at both ends."""
  low, high = min(values), max(values)
  if log:
    return _Axis(low / 1.2, high * 1.2, start, end, log=True)
  room = room * (high - low)
  if high <= low:
    room = abs(high) / 2 or 1.0
  return _Axis(low - room, high + room, start, end)


def _path(points: Sequence[tuple[float, float]]) -> str:
  return 'M' + 'L'.join(f'{x:g} {y:g}' for x, y in points)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """Fewer points of the same outline: of each stretch the lowest and the highest."""
  if len(points) <= _MOST:
    return points
  size = math.ceil(2 * len(points) / _MOST)
  kept = []
  for start in range(0, len(points), size):
    stretch = points[start : start + size]
    ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
    kept += sorted(ends)
  return kept


def lines(
  title: str,
  series: Sequence[Series],
  *,
  x_label: str = 'generator updates',
  rules: Sequence[Rule] = (),
  within: tuple[float, float] | None = None,
  log: bool = False,
  x_names: Sequence[str] = (),
  note: str = '',
) -> Chart | None:
  """Lines over a common x; None where no number is known.

  `within` are limits of y, `x_names` stand under x = 0, 1, ...; what is not finite is left out.
  """
  drawn = [(s, points) for s in series if (points := _known_points(s))]
  if not drawn:
    return None
  ys = [y for _, points in drawn for _, *all_y in points for y in all_y]
  ys += [rule.y for rule in rules if rule.y is not None and known(rule.y)]
  x_axis = _axis([x for _, points in drawn for x, *_ in points], LEFT + 6, RIGHT - 6)
  log = log and min(ys) > 0
  y_axis = _Axis(*within, BOTTOM, TOP) if within else _axis(ys, BOTTOM, TOP, log, room=0.06)
  paths, dots = [], []
  for s, points in drawn:
    middle = [(x_axis(x), y_axis(y)) for x, y, *_ in points]
    if s.low:
      lower, upper = ([(x_axis(p[0]), y_axis(p[i])) for p in points] for i in (2, 3))
      paths.append((f'band {s.style}', _path(lower + upper[::-1]) + 'Z'))
    paths.append((f'line {s.style}', _path(_thin(middle))))
    if s.dots:
      says = (': '.join(filter(None, (s.name, say(y)))) for _, y, *_ in points)
      dots += [(s.style, *place, text) for place, text in zip(middle, says, strict=True)]
  x_ticks = [(x_axis(i), name) for i, name in enumerate(x_names)] or x_axis.marks()
  placed = [rule for rule in rules if known(rule.x) or known(rule.y)]
  legend = [(s.style, s.name) for s, _ in drawn if s.name]
  # Events may be many and of many names: one word for all of a style.
  legend += dict.fromkeys((f'{r.style} dash', r.name if r.x is None else r.style) for r in placed)
  crossed = [_placed(rule, x_axis, y_axis) for rule in placed]
  return Chart(title, x_label, x_ticks, y_axis.marks(), paths, crossed, dots, [], legend, note)


def _known_points(s: Series) -> list[tuple[float, ...]]:
  columns = [s.x, s.y] + ([s.low, s.high] if s.low else [])
  return [point for point in zip(*columns, strict=False) if all(map(known, point))]


def _placed(
  rule: Rule, x_axis: _Axis, y_axis: _Axis
) -> tuple[str, float, float, float, float, str]:
  if rule.x is not None:
    x = x_axis(rule.x)
    return rule.style, x, TOP, x, BOTTOM, rule.name
  y = y_axis(rule.y or 0.0)
  return rule.style, LEFT, y, RIGHT, y, rule.name


def histogram(
  title: str,
  edges: Sequence[float],
  series: dict[tuple[str, str], Sequence[Number]],
  *,
  x_label: str,
  note: str,
) -> Chart | None:
  """Counts between common `edges` as shares of each series, {(style, name): counts}; None without any."""
  fit = {
    key: [count if known(count) else 0.0 for count in counts]
    for key, counts in series.items()
    if counts and len(counts) + 1 == len(edges)
  }
  shares = {
    key: [c / sum(counts) for c in counts] for key, counts in fit.items() if sum(counts) > 0
  }
  if not shares or not all(map(known, edges)) or edges[-1] <= edges[0]:
    return None
  x_axis = _Axis(edges[0], edges[-1], LEFT, RIGHT)
  top = max(max(x) for x in shares.values())
  y_axis = _Axis(0.0, top * 1.06, BOTTOM, TOP)
  paths = []
  for (style, _), heights in shares.items():
    outline = [(x_axis(edges[0]), BOTTOM)]
    for i, height in enumerate(heights):
      y = y_axis(height)
      outline += [(x_axis(edges[i]), y), (x_axis(edges[i + 1]), y)]
    outline.append((x_axis(edges[-1]), BOTTOM))
    paths += [(f'area {style}', _path(outline) + 'Z'), (f'line {style}', _path(outline))]
  y_ticks = [(y_axis(y), f'{100 * y:g} %') for y in ticks(0.0, top)]
  return Chart(title, x_label, x_axis.marks(), y_ticks, paths, [], [], [], list(shares), note)


def bars(
  title: str,
  names: Sequence[str],
  series: dict[tuple[str, str], Sequence[Number]],
  *,
  x_label: str,
  note: str = '',
) -> Chart | None:
  """Shares side by side for each of `names`, series {(style, name): shares}; None without any."""
  series = {key: list(shares) for key, shares in series.items() if any(map(known, shares or ()))}
  if not series:
    return None
  n = max(map(len, series.values()))
  names = [*names, *(str(i) for i in range(len(names), n))][:n]
  top = max(x for shares in series.values() for x in shares if x is not None and known(x)) or 1.0
  y_axis = _Axis(0.0, top * 1.06, BOTTOM, TOP)
  room = (RIGHT - LEFT) / n
  width = room * (0.8 if n <= 40 else 1.0) / len(series)
  boxes = []
  for j, ((style, name), shares) in enumerate(series.items()):
    for i, share in enumerate(shares):
      height = BOTTOM - y_axis(share) if share is not None and known(share) else 0.0
      x = LEFT + (i + 0.5) * room + (j - len(series) / 2) * width
      says = f'{names[i]}: {name} {100 * (share or 0):.1f} %'
      boxes.append(
        (style, round(x, 2), round(BOTTOM - height, 1), round(width, 2), round(height, 1), says)
      )
  every = math.ceil(n / _LABELS)
  x_ticks = [(round(LEFT + (i + 0.5) * room, 1), names[i][:12]) for i in range(0, n, every)]
  y_ticks = [(y_axis(y), f'{100 * y:g} %') for y in ticks(0.0, top)]
  return Chart(title, x_label, x_ticks, y_ticks, [], [], [], boxes, list(series), note)
