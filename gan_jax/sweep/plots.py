"""Pictures of a sweep: a metric against each setting, and heat maps of two."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.evaluation.plots import blank, save
from gan_jax.sweep import significance
from gan_jax.sweep.results_table import Ranked, Row, ways
from gan_jax.sweep.search_space import Axis


def against(path: Path, rows: Sequence[Row], axis: Axis, ranked: Ranked) -> None:
  """The metric against the values of an axis, a panel for each way of comparing: every seed, and 95 %."""
  compared = ways(rows)
  canvas = blank(1.2 + 3.6 * len(compared), 3.6)
  panels = canvas.subplots(1, len(compared), squeeze=False, sharey=True)[0]
  for panel, (way, some) in zip(panels, compared.items(), strict=True):
    values = [_values(some, axis.name, value) for value in axis.values]
    places = list(range(len(values)))
    for place, column in zip(places, values, strict=True):
      offsets = np.linspace(-0.18, 0.18, len(column)) if len(column) > 1 else np.zeros(len(column))
      panel.plot(place + offsets, column, 'o', color='0.65', markersize=3, zorder=1)
    found = [significance.summarize(column) for column in values]
    means = [each.mean for each in found]
    bars = [[each.mean - each.low for each in found], [each.high - each.mean for each in found]]
    panel.errorbar(places, means, np.nan_to_num(bars), fmt='o', color='C0', capsize=3, zorder=2)
    numbers = [i for i, value in enumerate(axis.values) if _is_number(value)]
    panel.plot(numbers, [means[i] for i in numbers], '-', color='C0', zorder=2)
    panel.set_xticks(places, [_short(value) for value in axis.values])
    panel.set_xlabel(axis.name)
    panel.set_title(f'at equal {way}', fontsize=10)
  finite = [row.metric for row in rows if math.isfinite(row.metric)]
  if finite and min(finite) > 0 and max(finite) > 8 * min(finite):
    panels[0].set_yscale('log')
  better = 'higher' if ranked.higher_is_better else 'lower'
  panels[0].set_ylabel(f'{ranked.name.replace("_", " ")} ({better} is better)')
  save(path, canvas)


def heat_map(path: Path, rows: Sequence[Row], pair: tuple[Axis, Axis], ranked: Ranked) -> None:
  """The median metric over two axes, a panel for each way of comparing; empty where every run broke."""
  across, down = pair
  compared = ways(rows)
  width = 1.6 + 0.8 * len(across.values)
  canvas = blank(width * len(compared), 1.4 + 0.55 * len(down.values))
  panels = canvas.subplots(1, len(compared), squeeze=False)[0]
  for panel, (way, some) in zip(panels, compared.items(), strict=True):
    grid = np.full((len(down.values), len(across.values)), np.nan)
    for (i, y), (j, x) in itertools.product(enumerate(down.values), enumerate(across.values)):
      here = [r for r in some if dict(r.setting)[down.name] == y]
      finite = [v for v in _values(here, across.name, x) if math.isfinite(v)]
      grid[i, j] = np.median(finite) if finite else np.nan
    colours = 'viridis' if ranked.higher_is_better else 'viridis_r'
    panel.imshow(grid, cmap=colours, aspect='auto', origin='lower')
    for i, j in np.ndindex(*grid.shape):
      text = f'{grid[i, j]:.3g}' if math.isfinite(grid[i, j]) else 'broke'
      panel.text(
        j, i, text, ha='center', va='center', fontsize=8, color='0.1', backgroundcolor='#fffa'
      )
    panel.set_xticks(range(len(across.values)), [_short(x) for x in across.values])
    panel.set_yticks(range(len(down.values)), [_short(y) for y in down.values])
    panel.set_xlabel(across.name)
    panel.set_ylabel(down.name)
    panel.set_title(f'median {ranked.name.replace("_", " ")}, equal {way}', fontsize=9)
  save(path, canvas)


def side_by_side(path: Path, sweeps: Mapping[str, tuple[Sequence[Row], Ranked]], name: str) -> None:
  """What the setting `name` does in each sweep, a column for each: the metric, D's beliefs, and verdicts."""
  told = {
    row.values['verdict']
    for rows, _ in sweeps.values()
    for row in rows
    if row.values.get('verdict')
  }
  n_rows = 3 if told else 2
  canvas = blank(3.3 * len(sweeps), 2.7 * n_rows)
  panels = canvas.subplots(n_rows, len(sweeps), squeeze=False, sharex='col')
  others = sorted(told - {'converged'})
  colours = {verdict: f'C{(3, 4, 1, 5, 6, 7, 8, 9, 0)[i]}' for i, verdict in enumerate(others)}
  colours |= {'converged': 'C2'} if 'converged' in told else {}
  for column, (title, (rows, ranked)) in zip(panels.T, sweeps.items(), strict=True):
    values = list(dict.fromkeys(dict(row.setting)[name] for row in rows))
    places = np.arange(len(values))
    for i, (way, some) in enumerate(ways(rows).items()):
      found = [significance.summarize(_values(some, name, value)) for value in values]
      bars = np.nan_to_num([[x.mean - x.low for x in found], [x.high - x.mean for x in found]])
      where, means = places + 0.16 * i - 0.08, [x.mean for x in found]
      column[0].errorbar(
        where, means, bars, fmt='o', color=f'C{i}', capsize=3, label=f'equal {way}'
      )
    some = next(iter(ways(rows).values()))
    for belief, text in (('d_real', 'D(x)'), ('d_fake', 'D(G(z))')):
      here = [
        [row.values.get(belief) for row in some if dict(row.setting)[name] == x] for x in values
      ]
      means = [float(np.mean(np.asarray(each, float))) for each in here]
      column[1].plot(places, means, 'o-', label=text)
    column[1].axhline(0.5, color='0.6', linestyle='--', linewidth=1)
    column[1].set_ylim(0, 1)
    if told:
      _verdicts(column[2], some, name, values, colours)
    better = 'higher' if ranked.higher_is_better else 'lower'
    finite = [row.metric for row in rows if math.isfinite(row.metric)]
    if finite and min(finite) > 0 and max(finite) > 8 * min(finite):
      column[0].set_yscale('log')
    column[0].set_title(
      f'{title}: {ranked.name.replace("_", " ")}\n({better} is better)', fontsize=9
    )
    column[-1].set_xticks(places, [str(x) for x in values])
    column[-1].set_xlabel(name)
  panels[0, 0].legend(fontsize=8)
  panels[1, 0].legend(fontsize=8)
  if told:
    from matplotlib.patches import Patch  # a second of every start-up, were it at the top

    handles = [Patch(color=colour, label=verdict) for verdict, colour in colours.items()]
    canvas.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=8, frameon=False)
  panels[1, 0].set_ylabel("D's beliefs, last steps")
  save(path, canvas)


def _verdicts(
  panel: Any, rows: Sequence[Row], name: str, values: Sequence[Any], colours: Mapping[str, str]
) -> None:
  """How the referee's verdicts divide at each value, in shares of the runs that were judged."""
  for place, value in enumerate(values):
    here = [r.values.get('verdict') for r in rows if dict(r.setting)[name] == value]
    judged, bottom = [verdict for verdict in here if verdict], 0.0
    for verdict, colour in colours.items():
      share = judged.count(verdict) / max(len(judged), 1)
      panel.bar(place, share, bottom=bottom, color=colour, width=0.7)
      bottom += share
    panel.text(place, 1.02, str(len(judged) or ''), ha='center', fontsize=7)
  if not any(row.values.get('verdict') for row in rows):
    panel.text(0.5, 0.5, 'not judged', ha='center', transform=panel.transAxes, color='0.4')
  panel.set_ylim(0, 1.15)
  panel.set_ylabel('verdicts (of so many)', fontsize=8)


def draw(folder: Path, rows: Sequence[Row], axes: Sequence[Axis], ranked: Ranked) -> list[Path]:
  """All pictures of a sweep; their paths."""
  paths = []
  for axis in axes:
    if len(axis.values) > 1:
      paths.append(folder / f'{axis.name}.png')
      against(paths[-1], rows, axis, ranked)
  for pair in itertools.combinations([axis for axis in axes if len(axis.values) > 1], 2):
    paths.append(folder / f'{pair[0].name}_{pair[1].name}.png')
    heat_map(paths[-1], rows, pair, ranked)
  return paths


def _values(rows: Sequence[Row], name: str, value: Any) -> list[float]:
  return [row.metric for row in rows if dict(row.setting)[name] == value]


def _is_number(value: Any) -> bool:
  try:
    return math.isfinite(float(value))
  except ValueError:
    return False


def _short(value: Any) -> str:
  return f'{value:.3g}' if isinstance(value, float) else str(value)
