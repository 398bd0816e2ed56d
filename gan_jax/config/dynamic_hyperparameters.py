"""Separates the settings that are arguments of the compiled program from those that shape the program.

Runs that differ only in dynamic hyperparameters and in their seed share one compiled program. So a new
learning rate compiles nothing, and a run equals the same member of a population bit for bit.
"""

import dataclasses
from typing import Any

import numpy as np

from gan_jax.config.settings import Settings
from gan_jax.gan import update_ratio
from gan_jax.gan.train_step import Hyperparameters

# Values at which the program leaves out the part that a setting weighs.
NEUTRAL_VALUES: dict[str, float] = {
  **dict.fromkeys(('r1', 'r2', 'gradient_penalty', 'dragan', 'consensus', 'label_smoothing'), 0.0),
  **dict.fromkeys(('d_clip', 'max_norm', 'instance_noise', 'ada_target'), 0.0),
  **dict.fromkeys(('penalty_decay', 'd_loss_weight'), 1.0),
}
_ALWAYS = ('g_lr', 'd_lr', 'g_b1', 'd_b1', 'g_b2', 'd_b2', 'ema_decay', 'k_target', 'augment_p')
_DERIVED = {'seed', 'k', 'steps', 'noise_share'}  # in the program as derived numbers
DYNAMIC_SETTINGS = frozenset(
  {*NEUTRAL_VALUES, *_ALWAYS, *_DERIVED}
)  # runs of one program may differ in them


def k_mode(config: Settings) -> str:
  """Returns how the program repeats D's updates: '1' without a loop, 'fixed' or 'auto' with one."""
  if config.k == 'auto':
    return 'auto'
  return '1' if float(config.k) == 1 else 'fixed'


def hyperparameter_values(config: Settings, n: int | None) -> dict[str, float | int]:
  """Returns the hyperparameters of a run on n training examples, None for a synthetic distribution, by name."""
  values: dict[str, float | int] = {name: getattr(config, name) for name in _ALWAYS}
  values |= {
    name: getattr(config, name)
    for name, off in NEUTRAL_VALUES.items()
    if getattr(config, name) != off
  }
  values['steps'] = config.steps
  if config.instance_noise:
    values['noise_steps'] = max(1, round(config.noise_share * config.steps))
  kind = k_mode(config)
  if kind == 'fixed':
    ratio = update_ratio.ratio_from_float(float(config.k))
    values |= {'k_numerator': int(ratio.numerator), 'k_denominator': int(ratio.denominator)}
  # An epoch is n examples in D's updates.
  k = 1.0 if kind == 'auto' else float(config.k)
  for player, updates in (('g', 1.0), ('d', k)):
    if getattr(config, f'{player}_optimizer') == 'sgd_2014':
      epoch = round((n or 1) * updates / (config.batch_size * k))
      values[f'{player}_epoch'] = max(1, epoch)
  return values


def as_arrays(values: Hyperparameters) -> dict[str, np.ndarray]:
  """Returns hyperparameters as scalar arrays, float32 or int32, as compiled programs take them."""
  return {
    name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
    for name, value in values.items()
  }


def program_key(config: Settings) -> tuple[tuple[str, Any], ...]:
  """Returns a hashable key: runs with equal keys share a program, and differ in dynamic settings only."""
  fields = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name not in DYNAMIC_SETTINGS
  }
  parts = {name: getattr(config, name) != off for name, off in NEUTRAL_VALUES.items()}
  return tuple(sorted({**fields, **parts, 'k': k_mode(config)}.items()))
