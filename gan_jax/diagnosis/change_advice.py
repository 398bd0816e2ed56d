"""Predicts what each change of a run's settings would do to its distance from the data, and ranks the changes.

The predictions are linear in the features of a run. Their weights were fitted to forks of real runs: each
went on with one change, beside forks that went on unchanged (`experiments.bench_referee`).
"""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics
from gan_jax.diagnosis.run_features import (
  RunFeatures,
  distance_from_usual,
  number_of_updates,
  run_features,
)

WEIGHTS_FILE = Path(__file__).with_name('advice_weights.json')
UNCHANGED, AVERAGED = 'unchanged', 'averaged_weights'
MIN_EFFECT = math.log(1.1)  # of a change that helps


class RankedChange(NamedTuple):
  """Holds a change with what it is predicted to do."""

  name: str  # a key of `CHANGES`
  flags: str  # to give on the command line, with a word of why
  log_ratio: (
    float  # of the distance after the change over that after going on unchanged; below 0 is better
  )
  chance: float  # that it helps, by more than a tenth


def _penalty_up(c: Config) -> str:
  if not c.r1:
    return '--r1=1: a penalty damps D and keeps its gradients useful'
  return f'--r1={10 * c.r1:g}: a stronger penalty'


def _larger(flag: str, width: int, network: str) -> str:
  size = f'={2 * width}' if width else ''
  return f'--{flag}{size}: a larger {network}, which starts anew'


# {name: the flags that make the change, of a run's settings; '' where it does not apply}
CHANGES: dict[str, Callable[[Config], str]] = {
  UNCHANGED: lambda c: f'--steps={2 * c.steps}: it still gets better by itself',
  AVERAGED: lambda c: '--weights=ema: use the averaged weights, which are nearer to the data',
  'more_d_updates': lambda c: (
    f'--k={3 * number_of_updates(c.k):g}: more updates of D for each of G'
    if c.update == 'alternating' and number_of_updates(c.k) < 8
    else ''
  ),
  'd_lr_up': lambda c: f'--d_lr={4 * c.d_lr:.3g}: D learns faster',
  'd_lr_down': lambda c: f'--d_lr={c.d_lr / 4:.3g}: D learns more steadily',
  'g_lr_up': lambda c: f'--g_lr={4 * c.g_lr:.3g}: G learns faster',
  'lower_rates': lambda c: (
    f'--g_lr={c.g_lr / 4:.3g} --d_lr={c.d_lr / 4:.3g}: smaller steps of both, to settle'
  ),
  'penalty_up': _penalty_up,
  'penalty_down': lambda c: f'--r1={c.r1 / 10:g}: D resolves finer differences' if c.r1 else '',
  'no_momentum': lambda c: (
    '--g_b1=0 --d_b1=0: momentum makes two players circle' if max(c.g_b1, c.d_b1) > 0 else ''
  ),
  'other_loss': lambda c: (
    '--loss=relativistic: D compares samples with data in pairs'
    if c.loss != 'relativistic'
    else '--loss=non_saturating: the other usual loss'
  ),
  'larger_d': lambda c: _larger('d_width', c.d_width, 'D'),
  'larger_g': lambda c: _larger('g_width', c.g_width, 'G'),
  'larger_batch': lambda c: f'--batch_size={4 * c.batch_size}: less noise in both gradients',
  'diffaugment': lambda c: (
    '--augment=diffaugment: D never sees the same image twice' if c.augment == 'none' else ''
  ),
}
_OF_IMAGES = ('diffaugment',)
_OF_RATES = ('lower_rates', UNCHANGED)  # which change nothing where schedules have ended at 0


def design_row(features: RunFeatures, usual: float) -> np.ndarray:
  """Returns the inputs of a prediction [k]: a constant, the features, and the setting's distance from usual."""
  return np.asarray([1.0, *features, usual])


def rank_changes(statistics: DiagnosticStatistics, is_images: bool) -> list[RankedChange]:
  """Returns all changes that apply to the run of `statistics`, the most promising first; [] without a run."""
  config = statistics.config
  if config is None:
    return []
  weights, features = fitted_weights(), run_features(statistics)
  ranked = []
  for name, flags_of in CHANGES.items():
    flags = flags_of(config)
    if not flags or name not in weights['changes'] or (name in _OF_IMAGES and not is_images):
      continue
    settled = statistics.rates_are_zero
    if name == AVERAGED and features.averaged > (-MIN_EFFECT if settled else MIN_EFFECT):
      continue  # measured, and not nearer
    if name in _OF_RATES and settled:
      continue
    row = design_row(features, distance_from_usual(config, name))
    log_ratio = float(row @ np.asarray(weights['changes'][name]))
    slope, offset = weights['calibration']
    chance = 1 / (1 + math.exp(-float(np.clip(offset + slope * log_ratio, -30, 30))))
    ranked.append(RankedChange(name, flags, log_ratio, chance))
  return sorted(ranked, key=lambda change: change.log_ratio)


@functools.cache
def fitted_weights() -> dict[str, Any]:
  """Returns the weights of each change by name, and slope and offset of the calibration."""
  values: dict[str, Any] = json.loads(WEIGHTS_FILE.read_text())
  return values
