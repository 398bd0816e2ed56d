"""The settings of a run that are numbers in its program, and no part of the program itself.

Runs that differ in these only, and in their seed, are one compiled program: it receives them as
arguments. So a new learning rate compiles nothing, and a run alone computes what it computes as a
member of a population, bit for bit.
"""

import dataclasses
from typing import Any

import numpy as np

from gan_jax.config.settings import Settings
from gan_jax.gan import update_ratio
from gan_jax.gan.train_step import Hyperparameters

# Where a setting has this value, the program does not have the part that it weighs.
OFF: dict[str, float] = {
  **dict.fromkeys(('r1', 'r2', 'gradient_penalty', 'dragan', 'consensus', 'label_smoothing'), 0.0),
  **dict.fromkeys(('d_clip', 'max_norm', 'instance_noise', 'ada_target'), 0.0),
  **dict.fromkeys(('penalty_decay', 'd_loss_weight'), 1.0),
}
_ALWAYS = ('g_lr', 'd_lr', 'g_b1', 'd_b1', 'g_b2', 'd_b2', 'ema_decay', 'k_target', 'augment_p')
_DERIVED = {'seed', 'k', 'steps', 'noise_share'}  # in the program in another form
SCALARS = frozenset({*OFF, *_ALWAYS, *_DERIVED})  # settings in which runs of one program may differ


def k_kind(config: Settings) -> str:
  """How the program counts updates of D: '1' is written out, 'fixed' and 'auto' are loops."""
  if config.k == 'auto':
    return 'auto'
  return '1' if float(config.k) == 1 else 'fixed'


def of(config: Settings, n: int | None) -> dict[str, float | int]:
  """The numbers of a run on n training examples, None for endlessly many."""
  values: dict[str, float | int] = {name: getattr(config, name) for name in _ALWAYS}
  values |= {
    name: getattr(config, name) for name, off in OFF.items() if getattr(config, name) != off
  }
  values['steps'] = config.steps
  if config.instance_noise:
    values['noise_steps'] = max(1, round(config.noise_share * config.steps))
  kind = k_kind(config)
  if kind == 'fixed':
    ratio = update_ratio.ratio_from_float(float(config.k))
    values |= {'k_numerator': int(ratio.numerator), 'k_denominator': int(ratio.denominator)}
  # An epoch is n examples, seen by D.
  k = 1.0 if kind == 'auto' else float(config.k)
  for player, updates in (('g', 1.0), ('d', k)):
    if getattr(config, f'{player}_optimizer') == 'sgd_2014':
      epoch = round((n or 1) * updates / (config.batch_size * k))
      values[f'{player}_epoch'] = max(1, epoch)
  return values


def arrays(values: Hyperparameters) -> dict[str, np.ndarray]:
  """The same as arrays without axes, float32 and int32: what a compiled program receives."""
  return {
    name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
    for name, value in values.items()
  }


def program(config: Settings) -> tuple[tuple[str, Any], ...]:
  """What two runs must share to be one program: every other setting, and which parts are there."""
  fields = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name not in SCALARS
  }
  parts = {name: getattr(config, name) != off for name, off in OFF.items()}
  return tuple(sorted({**fields, **parts, 'k': k_kind(config)}.items()))
