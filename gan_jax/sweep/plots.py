"""Plots a sweep: the metric against each swept setting, heat maps of two, and several sweeps side by side."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.evaluation.plots import new_figure, save_figure
from gan_jax.sweep import significance
from gan_jax.sweep.results_table import RankingMetric, ResultRow, group_by_basis
from gan_jax.sweep.search_space import Axis

Groups = list[list[ResultRow]]  # the rows at each value of a setting
Sweeps = Mapping[str, tuple[Sequence[ResultRow], RankingMetric]]  # by title


def plot_sweep(
  folder: Path, rows: Sequence[ResultRow], axes: Sequence[Axis], metric: RankingMetric
) -> list[Path]:
  """Writes a plot for each axis and a heat map for each pair of axes; returns their paths."""
  paths, several = [], [axis for axis in axes if len(axis.values) > 1]
  for axis in several:
    paths.append(folder / f'{axis.name}.png')
    plot_axis(paths[-1], rows, axis, metric)
  for pair in itertools.combinations(several, 2):
    paths.append(folder / f'{pair[0].name}_{pair[1].name}.png')
    plot_heat_map(paths[-1], rows, pair, metric)
  return paths


def plot_axis(path: Path, rows: Sequence[ResultRow], axis: Axis, metric: RankingMetric) -> None:
  """Plots every seed's metric, and means with 95 % intervals, against an axis: a panel for each comparison."""
  comparisons = group_by_basis(rows)
  figure = new_figure(1.2 + 3.6 * len(comparisons), 3.6)
  panels = figure.subplots(1, len(comparisons), squeeze=False, sharey=True)[0]
  for panel, (basis, some) in zip(panels, comparisons.items(), strict=True):
    columns = _metrics(_by_value(some, axis.name, axis.values))
    for x, column in enumerate(columns):
      offsets = np.linspace(-0.18, 0.18, len(column)) if len(column) > 1 else np.zeros(len(column))
      panel.plot(x + offsets, column, 'o', color='0.65', markersize=3, zorder=1)
    means = _plot_means(panel, range(len(columns)), columns, color='C0', zorder=2)
    numbers = [i for i, value in enumerate(axis.values) if _is_number(value)]
    panel.plot(numbers, [means[i] for i in numbers], '-', color='C0', zorder=2)
    panel.set_xticks(range(len(columns)), [_short(value) for value in axis.values])
    panel.set_xlabel(axis.name)
    panel.set_title(f'at equal {basis}', fontsize=10)
  _use_log_scale(panels[0], rows)
  panels[0].set_ylabel(f'{metric.name.replace("_", " ")} ({metric.better} is better)')
  save_figure(path, figure)


def plot_heat_map(
  path: Path, rows: Sequence[ResultRow], pair: tuple[Axis, Axis], metric: RankingMetric
) -> None:
  """Plots the median metric over two axes, a panel for each comparison; 'diverged' where no run finished."""
  across, down = pair
  comparisons = group_by_basis(rows)
  width = (1.6 + 0.8 * len(across.values)) * len(comparisons)
  figure = new_figure(width, 1.4 + 0.55 * len(down.values))
  panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
  for panel, (basis, some) in zip(panels, comparisons.items(), strict=True):
    grid = np.full((len(down.values), len(across.values)), np.nan)
    for i, line in enumerate(_by_value(some, down.name, down.values)):
      for j, metrics in enumerate(_metrics(_by_value(line, across.name, across.values))):
        finite = [x for x in metrics if math.isfinite(x)]
        grid[i, j] = np.median(finite) if finite else np.nan
    colours = 'viridis' if metric.higher_is_better else 'viridis_r'
    panel.imshow(grid, cmap=colours, aspect='auto', origin='lower')
    for i, j in np.ndindex(*grid.shape):
      text = f'{grid[i, j]:.3g}' if math.isfinite(grid[i, j]) else 'diverged'
      style = {'fontsize': 8, 'color': '0.1', 'backgroundcolor': '#fffa'}
      panel.text(j, i, text, ha='center', va='center', **style)
    panel.set_xticks(range(len(across.values)), [_short(x) for x in across.values])
    panel.set_yticks(range(len(down.values)), [_short(y) for y in down.values])
    panel.set_xlabel(across.name)
    panel.set_ylabel(down.name)
    panel.set_title(f'median {metric.name.replace("_", " ")}, equal {basis}', fontsize=9)
  save_figure(path, figure)


def plot_side_by_side(path: Path, sweeps: Sweeps, name: str) -> None:
  """Plots the setting `name` in several sweeps, a column each: the metric, D's mean outputs, and verdicts."""
  colours = _verdict_colours(sweeps)
  n_rows = 3 if colours else 2
  figure = new_figure(3.3 * len(sweeps), 2.7 * n_rows)
  panels = figure.subplots(n_rows, len(sweeps), squeeze=False, sharex='col')
  for column, (title, (rows, metric)) in zip(panels.T, sweeps.items(), strict=True):
    values = list(dict.fromkeys(dict(row.setting)[name] for row in rows))
    comparisons = {b: _by_value(some, name, values) for b, some in group_by_basis(rows).items()}
    first = next(iter(comparisons.values()))
    for i, (basis, groups) in enumerate(comparisons.items()):
      places = np.arange(len(values)) + 0.16 * i - 0.08
      _plot_means(column[0], places, _metrics(groups), color=f'C{i}', label=f'equal {basis}')
    _use_log_scale(column[0], rows)
    text = f'{title}: {metric.name.replace("_", " ")}\n({metric.better} is better)'
    column[0].set_title(text, fontsize=9)
    _plot_d_outputs(column[1], first)
    if colours:
      _plot_verdicts(column[2], first, colours)
    column[-1].set_xticks(range(len(values)), [str(x) for x in values])
    column[-1].set_xlabel(name)
  panels[0, 0].legend(fontsize=8)
  panels[1, 0].legend(fontsize=8)
  panels[1, 0].set_ylabel("D's mean outputs, last steps")
  if colours:
    from matplotlib.patches import Patch  # imported late, as it takes a second

    handles = [Patch(color=colour, label=verdict) for verdict, colour in colours.items()]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, fontsize=8, frameon=False)
  save_figure(path, figure)


def _plot_means(panel: Any, places: Any, columns: Sequence[Sequence[float]], **options: Any) -> Any:
  """Plots the mean and 95 % interval of each column; returns the means."""
  summaries = [significance.summarize_seeds(column) for column in columns]
  means = [x.mean for x in summaries]
  bars = np.nan_to_num([[x.mean - x.low for x in summaries], [x.high - x.mean for x in summaries]])
  panel.errorbar(places, means, bars, fmt='o', capsize=3, **options)
  return means


def _use_log_scale(panel: Any, rows: Sequence[ResultRow]) -> None:
  """Sets a logarithmic scale where the metrics are positive and differ by more than a factor of 8."""
  finite = [row.metric for row in rows if math.isfinite(row.metric)]
  if finite and min(finite) > 0 and max(finite) > 8 * min(finite):
    panel.set_yscale('log')


def _plot_d_outputs(panel: Any, groups: Groups) -> None:
  for column, text in (('d_real', 'D(x)'), ('d_fake', 'D(G(z))')):
    outputs = [np.asarray([row.values.get(column) for row in rows], float) for rows in groups]
    panel.plot(range(len(groups)), [float(np.mean(x)) for x in outputs], 'o-', label=text)
  panel.axhline(0.5, color='0.6', linestyle='--', linewidth=1)
  panel.set_ylim(0, 1)


def _verdict_colours(sweeps: Sweeps) -> dict[str, str]:
  """Returns a colour for each verdict in the sweeps, green for 'converged'."""
  verdicts = {row.values.get('verdict') for rows, _ in sweeps.values() for row in rows} - {None, ''}
  others = sorted(str(verdict) for verdict in verdicts - {'converged'})
  colours = {verdict: f'C{(3, 4, 1, 5, 6, 7, 8, 9, 0)[i]}' for i, verdict in enumerate(others)}
  return colours | ({'converged': 'C2'} if 'converged' in verdicts else {})


def _plot_verdicts(panel: Any, groups: Groups, colours: Mapping[str, str]) -> None:
  """Plots the share of each verdict among the runs of each group that have one."""
  all_verdicts = [[v for r in rows if (v := r.values.get('verdict'))] for rows in groups]
  for x, verdicts in enumerate(all_verdicts):
    bottom = 0.0
    for verdict, colour in colours.items():
      share = verdicts.count(verdict) / max(len(verdicts), 1)
      panel.bar(x, share, bottom=bottom, color=colour, width=0.7)
      bottom += share
    panel.text(x, 1.02, str(len(verdicts) or ''), ha='center', fontsize=7)
  if not any(all_verdicts):
    panel.text(0.5, 0.5, 'no verdicts', ha='center', transform=panel.transAxes, color='0.4')
  panel.set_ylim(0, 1.15)
  panel.set_ylabel('verdicts (number of runs)', fontsize=8)


def _by_value(rows: Sequence[ResultRow], name: str, values: Sequence[Any]) -> Groups:
  return [[row for row in rows if dict(row.setting)[name] == value] for value in values]


def _metrics(groups: Groups) -> list[list[float]]:
  return [[row.metric for row in rows] for rows in groups]


def _is_number(value: Any) -> bool:
  try:
    return math.isfinite(float(value))
  except ValueError:
    return False


def _short(value: Any) -> str:
  return f'{value:.3g}' if isinstance(value, float) else str(value)
