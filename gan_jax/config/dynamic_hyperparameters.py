"""Separates the settings that are arguments of the compiled program from those that shape the program.

Runs that differ only in dynamic hyperparameters and in their seed share one compiled program. So a new
learning rate compiles nothing, and a run equals the same member of a population bit for bit.
"""

import dataclasses
from typing import Any

import numpy as np

from gan_jax.config.setting_definitions import Settings

# Values at which the program leaves out the part that a setting weighs.
NEUTRAL_VALUES: dict[str, float] = {
  **dict.fromkeys(('r1', 'r2', 'gradient_penalty', 'dragan', 'consensus', 'label_smoothing'), 0.0),
  **dict.fromkeys(('d_clip', 'max_norm', 'instance_noise', 'ada_target'), 0.0),
  **dict.fromkeys(('penalty_decay', 'd_loss_weight'), 1.0),
}
_ALWAYS = ('g_lr', 'd_lr', 'g_b1', 'd_b1', 'g_b2', 'd_b2', 'ema_decay', 'k_target', 'augment_p')
_DERIVED = {'seed', 'k', 'steps', 'noise_share'}  # in the program as derived numbers
# In which runs of one program may differ.
DYNAMIC_SETTINGS = frozenset({*NEUTRAL_VALUES, *_ALWAYS, *_DERIVED})


def k_mode(config: Settings) -> str:
  """Returns how the program repeats D's updates: '1' without a loop, 'fixed' or 'auto' with one."""
  if config.k == 'auto':
    return 'auto'
  return '1' if float(config.k) == 1 else 'fixed'


def hyperparameter_values(config: Settings, n: int | None) -> dict[str, float | int]:
  """Returns the hyperparameters of a run on n training examples, None for a synthetic distribution, by name."""
  weighed = [name for name, off in NEUTRAL_VALUES.items() if getattr(config, name) != off]
  values: dict[str, float | int] = {
    name: getattr(config, name) for name in (*_ALWAYS, *weighed, 'steps')
  }
  if config.instance_noise:
    values['noise_steps'] = max(1, round(config.noise_share * config.steps))
  ratio = config.ratio
  if ratio is not None and k_mode(config) == 'fixed':
    values |= {'k_numerator': int(ratio.numerator), 'k_denominator': int(ratio.denominator)}
  k = 1.0 if ratio is None else float(config.k)  # an epoch is n examples in D's updates
  for player, updates in (('g', 1.0), ('d', k)):
    if getattr(config, f'{player}_optimizer') == 'sgd_2014':
      values[f'{player}_epoch'] = max(1, round((n or 1) * updates / (config.batch_size * k)))
  return values


def hyperparameter_arrays(config: Settings, n: int | None) -> dict[str, np.ndarray]:
  """Returns `hyperparameter_values` as the scalars that a compiled program takes, float32 or int32."""
  array = lambda x: np.asarray(x, np.int32 if isinstance(x, int) else np.float32)
  return {name: array(value) for name, value in hyperparameter_values(config, n).items()}


def program_key(config: Settings) -> tuple[tuple[str, Any], ...]:
  """Returns a hashable key: runs with equal keys share a program, and differ in dynamic settings only."""
  settings = dataclasses.asdict(config).items()
  fields = {name: value for name, value in settings if name not in DYNAMIC_SETTINGS}
  parts = {name: getattr(config, name) != off for name, off in NEUTRAL_VALUES.items()}
  return tuple(sorted({**fields, **parts, 'k': k_mode(config)}.items()))
