"""Draws lines, bars and histograms with matplotlib, and saves them as SVG in the colours of page.css."""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from gan_jax.training.report.number_format import format_value, is_number

# Variables of page.css at their light values. The SVG refers to the variables, whose values follow dark mode.
COLORS = dict(
  **dict(data='#2563eb', held='#0d9488', fake='#e0620d', critic='#7c3aed', null='#8b93a3'),
  **dict(alarm='#dc2626', best='#15803d', soft='#5b6270', grid='#e8ebf0', card='#ffffff'),
)
_MAX_POINTS, _MAX_DOTS, _MAX_NAMES = 400, 60, 12  # of a line, of a line, below an axis
_MAX_LETTERS = 42  # of the name of a row

Numbers = Sequence[float | None]  # entries that are no finite numbers are not drawn


class Interval(NamedTuple):
  """Holds a named estimate with its interval, and how large it seems by chance where it is 0."""

  name: str
  note: str
  value: float
  low: float | None = None
  high: float | None = None
  chance: float | None = None


class Chart:
  """Holds a matplotlib figure of one pair of axes, with its title and a note for the reader."""

  def __init__(self, title: str, y_label: str, x_label: str = 'generator updates', note: str = ''):
    from matplotlib.figure import Figure  # takes a second, so not at the start of each program
    from matplotlib.ticker import MaxNLocator

    self.title, self.note, self.is_empty = title, note, True
    with _style():
      self.figure = Figure()
      self.axes = self.figure.subplots()
    self.axes.set(xlabel=x_label, ylabel=y_label[:30])
    for axis, integer in ((self.axes.xaxis, True), (self.axes.yaxis, False)):
      axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=integer))
      axis.set_major_formatter(_format_tick)

  def line(self, x: Numbers, y: Numbers, color: str, label: str = '', dots: bool = False) -> None:
    """Draws a line, whose color is a key of COLORS, through finite points.

    Values outside fixed limits of y are moved onto the limits. `dots` marks each point, with its value as
    the tooltip.
    """
    finite = [i for i, point in enumerate(zip(x, y, strict=False)) if all(map(is_number, point))]
    if not finite:
      return
    self.is_empty = False
    xs, values = (np.array([axis[i] for i in finite], float) for axis in (x, y))
    ys = self._clip(values)
    kept, marker = _thin(ys), 'o' if dots and len(xs) <= _MAX_DOTS else ''
    style: dict[str, Any] = {'color': COLORS[color], 'markerfacecolor': COLORS['card']}
    style |= {'markersize': 5, 'clip_on': False}  # dots on a limit stay whole
    self.axes.plot(xs[kept], ys[kept], label=label, marker=marker, **style)
    for i in range(len(xs) if marker else 0):
      tooltip = f'{label}: {format_value(values[i])}'.removeprefix(': ')
      self.axes.plot(xs[i], ys[i], gid=f'tooltip {tooltip}', marker=marker, **style)

  def band(self, x: Numbers, low: Numbers, high: Numbers, color: str, label: str = '') -> None:
    """Shades the interval from `low` to `high` at each x, unless an end is not finite."""
    if all(map(is_number, (*low, *high))):
      xs, lower, upper = (np.array(values, float) for values in (x, low, high))
      ends = (self._clip(lower), self._clip(upper))
      self.axes.fill_between(xs, *ends, color=COLORS[color], alpha=0.2, linewidth=0, label=label)

  def _clip(self, y: np.ndarray) -> np.ndarray:
    return y if self.axes.get_autoscaley_on() else np.clip(y, *self.axes.get_ylim())

  def level(self, y: float, color: str, label: str) -> None:
    """Draws a dashed horizontal line."""
    self.axes.axhline(y, color=COLORS[color], linestyle='--', linewidth=1.2, label=label)

  def event(self, x: float, color: str, label: str, tooltip: str) -> None:
    """Draws a vertical line."""
    line = self.axes.axvline(x, color=COLORS[color], label=label, linewidth=1.4, zorder=1.5)
    line.set(alpha=0.75, gid=f'tooltip {tooltip}')

  def bars(self, names: Sequence[str], shares: Mapping[tuple[str, str], Numbers]) -> None:
    """Draws the shares of groups called `names` as bars side by side, {(label, color): shares [n]}."""
    shares = {key: values for key, values in shares.items() if any(map(is_number, values))}
    n, width = max(map(len, shares.values()), default=0), 0.8 / max(len(shares), 1)
    names = [*names, *map(str, range(len(names), n))][:n]
    for j, ((label, color), values) in enumerate(shares.items()):
      self.is_empty, x = False, np.arange(len(values)) + (j + 0.5) * width - 0.4
      bars = self.axes.bar(x, _finite_or_zero(values), width, color=COLORS[color], label=label)
      for bar, name in zip(bars, names, strict=False):
        bar.set_gid(f'tooltip {name}: {label} {100 * bar.get_height():.1f} %')
    self.name_x_ticks(names)
    self.axes.yaxis.set_major_formatter(_format_percent)

  def histogram(self, edges: Sequence[float], counts: Numbers, color: str, label: str) -> None:
    """Draws counts [n] between `edges` [n + 1] as shares of their sum; nothing where the two do not fit."""
    total, valid = sum(_finite_or_zero(counts)), all(map(is_number, edges))
    if total > 0 and len(counts) + 1 == len(edges) and valid and edges[-1] > edges[0]:
      self.is_empty, shares = False, _finite_or_zero(counts) / total
      self.axes.stairs(shares, edges, fill=True, color=COLORS[color], alpha=0.16)
      self.axes.stairs(shares, edges, color=COLORS[color], label=label, linewidth=1.6)
      self.axes.yaxis.set_major_formatter(_format_percent)

  def intervals(self, rows: Sequence[Interval], color: str, label: str, chance: str) -> None:
    """Draws a dot and a line for each of `rows`, the first on top, under its name and note.

    A grey bar labelled `chance` reaches from 0 to the row's. Values below 0 are moved onto 0.
    """
    self.is_empty = self.is_empty and not rows
    self.figure.set_figheight(max(self.figure.get_figheight(), 0.5 * len(rows) + 0.7))
    style: dict[str, Any] = {'color': COLORS[color], 'clip_on': False}
    above: dict[str, Any] = {'color': COLORS['soft'], 'va': 'center'}
    above |= {'transform': self.axes.get_yaxis_transform(), 'in_layout': False}
    for y, row in enumerate(rows):
      if is_number(row.chance) and row.chance > 0:
        grey: dict[str, Any] = {'color': COLORS['null'], 'alpha': 0.4, 'label': chance}
        self.axes.barh(y, row.chance, 0.32, zorder=1, **grey)
      if is_number(row.low) and is_number(row.high):
        ends = [max(end, 0.0) for end in (row.low, row.high)]
        self.axes.plot(ends, [y, y], linewidth=2.4, solid_capstyle='butt', **style)
      tooltip = f'tooltip {row.name}: {format_value(row.value)}'
      self.axes.plot(max(row.value, 0.0), y, 'o', markersize=6, label=label, gid=tooltip, **style)
      name = row.name if len(row.name) <= _MAX_LETTERS else f'{row.name[: _MAX_LETTERS - 1]}…'
      with _style():
        self.axes.text(0, y - 0.42, name, **above)
        self.axes.text(1, y - 0.42, row.note, ha='right', **above)
    self.axes.set(yticks=[], ylim=(len(rows) - 0.6, -0.75))
    self.axes.set_xlim(left=0)
    self.axes.grid(axis='x')

  def name_x_ticks(self, names: Sequence[str]) -> None:
    """Labels x = 0, 1, ... with `names`, of many only some."""
    places = range(0, len(names), math.ceil(len(names) / _MAX_NAMES) or 1)
    with _style():
      self.axes.set_xticks(places, [names[i][:12] for i in places])

  def use_log_scale(self) -> None:
    """Makes y logarithmic where all values are positive."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = self.axes.dataLim.intervaly
    if low > 0:
      digits = (1, 2, 5) if high < 100 * low else (1,)
      self.axes.set_yscale('log')
      self.axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=6))
      self.axes.yaxis.set_minor_locator(NullLocator())
      self.axes.yaxis.set_major_formatter(_format_tick)

  def svg(self) -> Markup:
    """Returns the figure with a legend as an SVG element; the same data give the same bytes."""
    file, no_metadata = io.StringIO(), dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    handles, labels = self.axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    with _style():
      if unique and not self.figure.legends:
        self.figure.legend(unique.values(), unique.keys(), loc='outside upper left', ncols=2)
      self.figure.savefig(file, format='svg', metadata=no_metadata)
    svg = re.sub(r'<defs>\s*<style.*?</defs>', '', file.getvalue(), count=1, flags=re.DOTALL)
    # An artist whose gid is 'tooltip TEXT' gets TEXT as the tooltip of its group.
    svg = re.sub(r'<g id=(["\'])tooltip (.*?)\1>', r'<g><title>\2</title>', svg, flags=re.DOTALL)
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if f'#{m[1]}' in svg else '', svg)
    variables = {color: f'var(--{name})' for name, color in COLORS.items()}
    svg = re.sub(r'(?<=: )#[0-9a-f]{6}\b', lambda m: variables.get(m[0], m[0]), svg)
    axes = ' against '.join(filter(None, (self.axes.get_ylabel(), self.axes.get_xlabel())))
    label = html.escape(f'{self.title}: {axes}')
    return Markup(f'<svg role="img" aria-label="{label}"' + svg[svg.index('<svg') + 4 :])


def _style() -> AbstractContextManager[None]:
  """Sets matplotlib's parameters within a `with`, whatever the user's own matplotlibrc says."""
  import matplotlib.style

  return matplotlib.style.context(Path(__file__).with_name('chart.mplstyle'), after_reset=True)


def _thin(y: np.ndarray) -> np.ndarray:
  """Returns indices of y [n]: all of a short one, else the lowest and highest of equal stretches."""
  if len(y) <= _MAX_POINTS:
    return np.arange(len(y))
  stretches = np.array_split(np.arange(len(y)), _MAX_POINTS // 2)
  return np.unique([[part[y[part].argmin()], part[y[part].argmax()]] for part in stretches])


def _finite_or_zero(values: Numbers) -> np.ndarray:
  return np.array([value if is_number(value) else 0.0 for value in values])


def _format_tick(value: float, _: float = 0) -> str:
  return f'{value:,.7g}'.replace('-', '−')


def _format_percent(share: float, _: float = 0) -> str:
  return f'{100 * share:.4g} %'
