"""Curves and points of a run."""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.gan.losses import Loss
from gan_jax.utils.files import write_atomically

Records = list[dict[str, Any]]  # lines of metrics.jsonl


def new_figure(width: float, height: float) -> Any:
  """A figure of so many inches, to be drawn on."""
  from matplotlib.figure import Figure  # a second of every start-up, were it at the top

  return Figure(figsize=(width, height), layout='constrained')


def save_figure(path: Path, figure: Any) -> None:
  """Write a figure as a PNG, whole or not at all."""
  file = io.BytesIO()
  figure.savefig(file, dpi=110)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, file.getvalue())


def plot_training_curves(
  path: Path, records: Records, loss: Loss, plot_scores: Callable[[Any, Records], None]
) -> None:
  """Draw losses, beliefs, k and scores of `records` to a PNG.

  The dashed lines are the values at equilibrium. Losses that sit on them do not prove that G is good:
  D may be bad. That is what the last panel is for.
  """
  undecided = jnp.full(1, loss.equilibrium_output)
  equilibrium = tuple(
    float(fn(undecided, undecided)) for fn in (loss.discriminator, loss.generator)
  )
  trained = [record for record in records if 'd_loss' in record]
  controlled = [record for record in trained if 'gain' in record]
  figure = new_figure(9, 8 + (2 if controlled else 0))
  losses, beliefs, *balance, scores = figure.subplots(4 if controlled else 3, 1, sharex=True)
  for axes, names, targets in (
    (losses, ('d_loss', 'g_loss'), equilibrium),
    (beliefs, ('d_real', 'd_fake'), (0.5,)),
    *((axes, ('k', 'gain', 'undone'), ()) for axes in balance),
  ):
    for name in names:
      axes.plot(
        [r['step'] for r in trained], [r[name] for r in trained], label=_LABELS[name], linewidth=1
      )
    for target in targets:
      axes.axhline(target, color='grey', linestyle='--', linewidth=0.8)
    axes.legend(loc='upper right')
  losses.set_ylabel('loss')
  beliefs.set_ylabel('mean probability')
  beliefs.set_ylim(0, 1)
  plot_scores(scores, records)
  scores.set_xlabel('generator updates')
  save_figure(path, figure)


_LABELS = {
  'd_loss': 'D',
  'g_loss': 'G',
  'd_real': 'D(x)',
  'd_fake': 'D(G(z))',
  'k': 'k',
  'gain': 'held-out nats that an update of D gains',
  'undone': 'that an update of G undoes',
}


def plot_score_history(
  axes: Any, records: Records, name: str, references: dict[str, float], label: str = ''
) -> None:
  """The values `name`_raw and `name`_ema of `records`, and dashed lines at `references`."""
  measured = [record for record in records if f'{name}_ema' in record]
  steps = [record['step'] for record in measured]
  for which, weights in (('raw', 'last weights'), ('ema', 'moving average')):
    values = [record[f'{name}_{which}'] for record in measured]
    axes.plot(steps, values, label=weights, marker='o', markersize=3)
  for reference, value in references.items():
    axes.axhline(value, color='grey', linestyle='--', linewidth=0.8, label=reference)
  axes.set_ylabel(label or name.replace('_', ' '))
  axes.legend(loc='best')


def plot_samples(
  path: Path, real: np.ndarray, fake: np.ndarray, extent: tuple[float, ...] | None = None
) -> None:
  """Draw samples [n, d] of the truth and of a generator to a PNG: a scatter, histograms or lines."""
  figure = new_figure(5, 5)
  axes = figure.subplots()
  if real.shape[1] == 2:
    for data, label in ((real, 'data'), (fake, 'samples')):
      axes.scatter(data[:, 0], data[:, 1], s=4, alpha=0.5, label=label, linewidths=0)
    axes.set_aspect('equal')
    if extent is not None:
      axes.set_xlim(extent[0], extent[1])
      axes.set_ylim(extent[2], extent[3])
  elif real.shape[1] == 1:
    # Not wider than the data ask for: one sample far away would squeeze all others into one bar.
    low, high = extent if extent is not None else (real.min() - 1, real.max() + 1)
    bins = np.linspace(low, high, 61)
    for data, label in ((real, 'data'), (fake, 'samples')):
      axes.hist(np.clip(data[:, 0], low, high), bins, density=True, alpha=0.5, label=label)
  else:
    for data, colour, label in ((real, 'C0', 'data'), (fake, 'C1', 'samples')):
      lines = axes.plot(data[:40].T, color=colour, alpha=0.4, linewidth=0.8)
      lines[0].set_label(label)
  axes.legend(loc='upper right')
  save_figure(path, figure)


def plot_figure_1(path: Path, steps: Sequence[int], panels: Sequence[dict[str, Any]]) -> None:
  """Draw a strip like Figure 1 of Goodfellow et al. (2014) to a PNG, a panel for each of `steps`.

  A panel has over cells 'x': densities 'p' of the data and 'q' of the samples, 'd' and the 'best' D*;
  and latents 'z' with the points 'g' where G sends them.
  """
  figure = new_figure(3 * len(panels), 3.6)
  for i, (axes, step, panel) in enumerate(
    zip(figure.subplots(1, len(panels), sharey=True), steps, panels, strict=True)
  ):
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
    if i == 0:
      axes.legend(loc='upper left', fontsize=7)
  save_figure(path, figure)


def plot_pod_scaling(path: Path, rows: list[dict[str, float]], generation: str) -> None:
  """Predicted examples per second against chips, beside perfect scaling, to a PNG; lines mark new pods."""
  figure = new_figure(9, 3.6)
  speed, efficiency = figure.subplots(1, 2)
  n = [row['chips'] for row in rows]
  first = rows[0]['images_per_second']
  speed.loglog(n, [first * x for x in n], color='0.7', label='perfect')
  speed.loglog(n, [row['images_per_second'] for row in rows], marker='o', label='predicted')
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
