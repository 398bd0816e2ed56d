"""Describes a run by a few numbers, from which the effect of changing its settings is predicted."""

import math
from typing import NamedTuple

import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics
from gan_jax.diagnosis.divergence_parts import MODE_PARTS

# What most healthy runs use; a setting far from it is a reason to try the change towards it.
USUAL = {'g_lr': 5e-4, 'd_lr': 5e-4, 'r1': 0.3, 'batch_size': 64, 'width': 64}


class RunFeatures(NamedTuple):
  """Holds the state of a run at its checkpoint, each number of order 1, and 0 where it is not known."""

  divergence: float  # bound of fresh probes over log 2
  proven: float  # share of it that the run's own D proves
  ranked: float  # how far the own D has lately ranked data above samples: 0 not at all, 1 always
  overfit: float  # how far it ranks training data above held-out data, 0 to 1
  flatness: float  # -log10 of the slope of the generator's loss, 0 to 3
  improved: float  # log of the ratio by which the distance to data fell over the last half
  unsteady: float  # deviation of the log distance over the last third
  moving: float  # distance of samples to those of averaged weights, in mean distances between data
  modes: float  # share of the divergence that lies in missing or misweighed modes
  averaged: float  # log of the distance of averaged weights' samples over that of the last weights'
  few_data: float  # 1 for 100 training examples, 0 for 30,000 and more


def run_features(s: DiagnosticStatistics) -> RunFeatures:
  """Computes the features of a run from its statistics."""
  bound = max(s.separation.bound.value, 1e-3)
  by_modes = sum(part.nats for part in s.parts if part.name in MODE_PARTS)
  n_train = s.set_sizes['train']
  values = {
    'divergence': bound / math.log(2),
    'modes': by_modes / bound,
    'averaged': _log_ratio_of_distances(s),
    'few_data': float(np.clip((4.5 - math.log10(max(n_train, 1))) / 2.5, 0, 1)) if n_train else 0.0,
    **dict.fromkeys(('proven', 'ranked', 'overfit', 'flatness'), 0.0),
    **dict.fromkeys(('improved', 'unsteady', 'moving'), 0.0),
  }
  if s.discriminator is not None:
    d = s.discriminator
    values['proven'] = float(np.clip(d.held_out_bound.value / bound, 0, 1.2))
    values['overfit'] = float(np.clip(2 * d.train_above_held_out - 1, 0, 1))
    values['flatness'] = float(np.clip(-math.log10(max(d.generator_loss_slope, 1e-3)), 0, 3))
  if s.history is not None and len(s.history.gap) >= 4:
    h = s.history
    values['ranked'] = float(np.clip(2 * np.median(h.own[-6:]) - 1, -1, 1))
    logs = np.log(np.maximum(h.gap, 0.003))
    half, third = logs[len(logs) // 2 :], logs[-max(len(logs) // 3, 3) :]
    size = max(len(half) // 3, 1)
    values['improved'] = float(np.clip(half[:size].mean() - half[-size:].mean(), -2, 2))
    values['unsteady'] = float(np.clip(np.std(np.diff(third)), 0, 2))
    drifts = [x for x in h.drift[-max(len(logs) // 2, 1) :] if math.isfinite(x)]
    values['moving'] = float(np.clip(np.median(drifts), 0, 1)) if drifts else 0.0
  # Of a run that broke down, what is not a number is not known.
  return RunFeatures(**{name: float(np.nan_to_num(x)) for name, x in values.items()})


def _log_ratio_of_distances(s: DiagnosticStatistics) -> float:
  if s.distances is None:
    return 0.0
  fake, other = (max(x, 0.0) + _NOISE for x in s.distances)
  return float(np.clip(math.log(other / fake), -2, 2))


_NOISE = 1e-4  # of an energy distance of 4,000 examples


def distance_from_usual(config: Config, change: str) -> float:
  """Returns how far a setting is from the usual one on the side that `change` mends: log-ratio, -2 to 2."""
  c = config
  logs = {
    'more_d_updates': -math.log(max(number_of_updates(c.k), 0.1)),
    'd_lr_up': math.log(USUAL['d_lr'] / max(c.d_lr, 1e-7)),
    'd_lr_down': math.log(max(c.d_lr, 1e-7) / USUAL['d_lr']),
    'g_lr_up': math.log(USUAL['g_lr'] / max(c.g_lr, 1e-7)),
    'lower_rates': math.log(max(c.g_lr, c.d_lr, 1e-7) / USUAL['g_lr']),
    'penalty_up': math.log(USUAL['r1'] / max(c.r1, 0.01)),
    'penalty_down': math.log(max(c.r1, 0.01) / USUAL['r1']),
    'no_momentum': 2 * max(c.g_b1, c.d_b1),
    'other_loss': 2.0 * (c.loss == 'saturating'),
    'larger_d': math.log(USUAL['width'] / max(c.d_width, 1)) if c.d_width else 0.0,
    'larger_g': math.log(USUAL['width'] / max(c.g_width, 1)) if c.g_width else 0.0,
    'larger_batch': math.log(USUAL['batch_size'] / c.batch_size),
  }
  return float(np.clip(logs.get(change, 0.0), -2, 2))


def number_of_updates(k: str) -> float:
  """Returns the number of D's updates per update of G that --k names; 1 for settings that adapt it."""
  try:
    return float(k)
  except ValueError:
    return 1.0
