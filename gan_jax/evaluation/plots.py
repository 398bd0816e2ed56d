"""Plots training curves, samples and predicted scaling as PNG files."""

import io
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.gan.losses import Loss
from gan_jax.utils.files import write_atomically

Records = list[dict[str, Any]]  # lines of metrics.jsonl


def new_figure(width: float, height: float) -> Any:
  """Returns an empty matplotlib figure of `width` by `height` inches."""
  from matplotlib.figure import Figure  # imported late: it would add a second to each start

  return Figure(figsize=(width, height), layout='constrained')


def save_figure(path: Path, figure: Any) -> None:
  """Writes a matplotlib figure as a PNG file."""
  file = io.BytesIO()
  figure.savefig(file, dpi=110)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, file.getvalue())


_LABELS = dict(d_loss='D', g_loss='G', d_real='D(x)', d_fake='D(G(z))', k='k')
_LABELS['gain'] = 'held-out nats that an update of D gains'
_LABELS['undone'] = 'that an update of G undoes'


def plot_training_curves(
  path: Path, records: Records, loss: Loss, plot_scores: Callable[[Any, Records], None]
) -> None:
  """Plots losses, D's mean probabilities, k where it is controlled, and scores of `records` to a PNG file.

  Dashed lines are the values at the equilibrium. `plot_scores(axes, records)` draws the last panel.
  """
  output = jnp.full(1, loss.equilibrium_output)
  equilibrium = tuple(float(fn(output, output)) for fn in (loss.discriminator, loss.generator))
  trained = [record for record in records if 'd_loss' in record]
  n_panels = 4 if any('gain' in record for record in trained) else 3
  figure = new_figure(9, 2 + 2 * n_panels)
  losses, probabilities, *ratio, scores = figure.subplots(n_panels, 1, sharex=True)
  for axes, names, targets in (
    (losses, ('d_loss', 'g_loss'), equilibrium),
    (probabilities, ('d_real', 'd_fake'), (0.5,)),
    *((axes, ('k', 'gain', 'undone'), ()) for axes in ratio),
  ):
    for name in names:
      steps, values = ([record.get(key, math.nan) for record in trained] for key in ('step', name))
      axes.plot(steps, values, label=_LABELS[name], linewidth=1)
    for target in targets:
      axes.axhline(target, color='grey', linestyle='--', linewidth=0.8)
    axes.legend(loc='upper right')
  losses.set_ylabel('loss')
  probabilities.set_ylabel('mean probability')
  probabilities.set_ylim(0, 1)
  plot_scores(scores, records)
  scores.set_xlabel('generator updates')
  save_figure(path, figure)


def plot_score_history(
  axes: Any, records: Records, name: str, references: dict[str, float], label: str = ''
) -> None:
  """Plots `name`_raw and `name`_ema of `records` against the step, and dashed lines at `references`."""
  measured = [record for record in records if f'{name}_ema' in record]
  for which, weights in (('raw', 'last weights'), ('ema', 'moving average')):
    keys = ('step', f'{name}_{which}')
    steps, values = ([record.get(key, math.nan) for record in measured] for key in keys)
    axes.plot(steps, values, label=weights, marker='o', markersize=3)
  for reference, value in references.items():
    axes.axhline(value, color='grey', linestyle='--', linewidth=0.8, label=reference)
  axes.set_ylabel(label or name.replace('_', ' '))
  axes.legend(loc='best')


def plot_samples(
  path: Path, real: np.ndarray, fake: np.ndarray, extent: tuple[float, ...] | None = None
) -> None:
  """Plots real and generated points [n, d] to a PNG file: histograms, a scatter plot, or lines for d > 2.

  `extent` holds (low, high) of each axis in a row.
  """
  figure, dims = new_figure(5, 5), real.shape[1]
  axes = figure.subplots()
  for data, colour, label in ((real, 'C0', 'data'), (fake, 'C1', 'samples')):
    if dims == 2:
      axes.scatter(*data.T, s=4, alpha=0.5, label=label, linewidths=0)
    elif dims == 1:
      # Samples outside are clipped: one far away would squeeze all others into one bar.
      low, high = extent or (real.min() - 1, real.max() + 1)
      bins = np.linspace(low, high, 61)
      axes.hist(np.clip(data[:, 0], low, high), bins, density=True, alpha=0.5, label=label)
    else:
      axes.plot(data[:40].T, color=colour, alpha=0.4, linewidth=0.8)[0].set_label(label)
  if dims == 2:
    axes.set_aspect('equal')
    axes.axis(extent)
  axes.legend(loc='upper right')
  save_figure(path, figure)


def plot_figure_1(path: Path, steps: Sequence[int], panels: Sequence[dict[str, Any]]) -> None:
  """Plots Figure 1 of Goodfellow et al. (2014) to a PNG file, a panel for each of `steps`.

  A panel holds, over the points 'x', the densities 'p' of data and 'q' of samples, 'd' = D(x) and the
  optimal 'best' = D*(x); and latents 'z' with 'g' = G(z).
  """
  figure = new_figure(3 * len(panels), 3.6)
  all_axes = figure.subplots(1, len(panels), sharey=True)
  for axes, step, panel in zip(all_axes, steps, panels, strict=True):
    x, low, high = panel['x'], panel['x'][0], panel['x'][-1]
    axes.plot(x, panel['p'], 'k:', label='data p')
    axes.plot(x, panel['q'], 'g-', label='samples q', linewidth=1)
    axes.plot(x, panel['d'], 'b--', label='D', linewidth=1.2)
    axes.plot(x, panel['best'], 'b-', label='D* = p / (p + q)', linewidth=0.5)
    z = low + (panel['z'] - panel['z'][0]) / np.ptp(panel['z']) * (high - low)
    for start, end in zip(z, np.clip(panel['g'], low, high), strict=True):
      axes.plot([start, end], [-0.6, -0.2], color='grey', linewidth=0.6)
    axes.text(low, -0.55, 'z', ha='right')
    axes.text(low, -0.25, 'x', ha='right')
    axes.set_title(f'{step} updates')
    axes.set_xticks([])
  all_axes[0].legend(loc='upper left', fontsize=7)
  save_figure(path, figure)


def plot_pod_scaling(path: Path, rows: list[dict[str, float]], generation: str) -> None:
  """Plots predicted examples per second, and efficiency in %, against chips to a PNG file.

  `rows` hold 'chips', 'images_per_second', 'efficiency' and 'pods'; dotted lines mark further pods.
  """
  figure = new_figure(9, 3.6)
  speed, efficiency = figure.subplots(1, 2)
  n, speeds = ([row[key] for row in rows] for key in ('chips', 'images_per_second'))
  speed.loglog(n, [speeds[0] * x for x in n], color='0.7', label='perfect')
  speed.loglog(n, speeds, marker='o', label='predicted')
  speed.set_ylabel('examples per second')
  speed.legend()
  efficiency.semilogx(n, [100 * row['efficiency'] for row in rows], marker='o')
  efficiency.set_ylabel('efficiency, %')
  efficiency.set_ylim(0, 105)
  for axes in (speed, efficiency):
    axes.set_xlabel(f'{generation} chips, each with as many examples')
    axes.set_xticks([1, 8, 64, 512, 4096], ['1', '8', '64', '512', '4,096'])
    for before, row in itertools.pairwise(rows):
      if row['pods'] > max(1, before['pods']) == 1:
        axes.axvline(row['chips'] / 2**0.5, color='0.6', linestyle=':')
  save_figure(path, figure)
