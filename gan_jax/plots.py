"""Curves of a run."""

import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from gan_jax.losses import Loss
from gan_jax.runs import write_atomically


def curves(
  path: Path, records: list[dict[str, Any]], loss: Loss, parzen_of_real: float | None
) -> None:
  """Draw losses, beliefs and Parzen figures of `records` (lines of metrics.jsonl) to a PNG.

  The dashed lines are the values at equilibrium. Losses that sit on them do not prove that G is good:
  D may be bad. That is what the third panel is for.
  """
  from matplotlib.figure import Figure  # a second of every start-up, were it at the top

  undecided = jnp.zeros(1)
  equilibrium = tuple(float(fn(undecided, undecided)) for fn in loss)
  figure = Figure(figsize=(9, 8), layout='constrained')
  losses, beliefs, scores = figure.subplots(3, 1, sharex=True)
  trained = [record for record in records if 'd_loss' in record]
  for axes, names, targets in (
    (losses, ('d_loss', 'g_loss'), equilibrium),
    (beliefs, ('d_real', 'd_fake'), (0.5,)),
  ):
    for name, label in zip(names, _LABELS[names], strict=True):
      axes.plot([r['step'] for r in trained], [r[name] for r in trained], label=label, linewidth=1)
    for target in targets:
      axes.axhline(target, color='grey', linestyle='--', linewidth=0.8)
    axes.legend(loc='upper right')
  losses.set_ylabel('loss (nats)')
  beliefs.set_ylabel('mean probability')
  beliefs.set_ylim(0, 1)
  _scores(scores, records, parzen_of_real)
  scores.set_xlabel('generator updates')
  file = io.BytesIO()
  figure.savefig(file, dpi=110)
  write_atomically(path, file.getvalue())


_LABELS = {('d_loss', 'g_loss'): ('D', 'G'), ('d_real', 'd_fake'): ('D(x)', 'D(G(z))')}


def _scores(axes: Any, records: list[dict[str, Any]], parzen_of_real: float | None) -> None:
  measured = [record for record in records if 'validation_parzen_ema' in record]
  steps = [record['step'] for record in measured]
  for name, label in (('raw', 'last weights'), ('ema', 'moving average')):
    values = [record[f'validation_parzen_{name}'] for record in measured]
    axes.plot(steps, values, label=label, marker='o', markersize=3)
  if parzen_of_real is not None:
    axes.axhline(
      parzen_of_real, color='grey', linestyle='--', linewidth=0.8, label='training images'
    )
  if measured:  # the first evaluations lie so low that they would flatten all others
    axes.set_ylim(bottom=max(-300, min(min(r['validation_parzen_ema'] for r in measured) - 20, 0)))
  axes.set_ylabel('Parzen log-likelihood,\nvalidation (nats)')
  axes.legend(loc='lower right')
