"""Checks the settings of a run, each by itself and together; every mistake is one line."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from gan_jax.config.setting_definitions import ALARMS, Settings
from gan_jax.gan.losses import SMOOTHABLE_LOSSES
from gan_jax.gan.update_rules import RULES_WITH_K
from gan_jax.utils.errors import UserError

_PENALTIES = ('r1', 'r2', 'gradient_penalty', 'dragan')
# Whether a value is allowed, and the allowed values as text.
_ABOVE_ZERO = (lambda x: x > 0, 'a number above 0')
_NOT_NEGATIVE = (lambda x: x >= 0, '0, or a number above it')
_FRACTION = (lambda x: 0 <= x < 1, 'a number of at least 0 and below 1')
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
  **dict.fromkeys(('k_target', 'g_lr', 'd_lr', 'd_loss_weight'), _ABOVE_ZERO),
  **dict.fromkeys(('penalty_decay', 'scale'), _ABOVE_ZERO),
  **dict.fromkeys((*_PENALTIES, 'consensus', 'd_clip', 'max_norm'), _NOT_NEGATIVE),
  **dict.fromkeys(('instance_noise', 'contrast'), _NOT_NEGATIVE),
  **dict.fromkeys(('g_b1', 'd_b1', 'g_b2', 'd_b2', 'ema_decay', 'ada_target'), _FRACTION),
  'noise_share': (lambda x: 0 < x <= 1, 'a share of the run, above 0 and at most 1'),
  'augment_p': (lambda x: 0 <= x <= 1, 'a probability, from 0 to 1'),
  'label_smoothing': (lambda x: 0 <= x <= 0.5, 'a number from 0 to 0.5'),
}
_FROM_ZERO = {'seed', 'image_size', 'g_width', 'd_width', 'g_depth', 'd_depth', 'referee_every'}
_MAX_K = 1000
UNBOUNDED = frozenset({'mlp_cifar_2014', 'conv_2014', 'r3gan'})  # G's output may leave [-1, 1]


def check_setting(field: dataclasses.Field[Any], value: Any) -> None:
  """Raises UserError where the value of one setting is out of range."""
  name, flag, choices = field.name, f'--{field.name}={value}', field.metadata['choices']
  if choices is not None and value not in choices:
    raise UserError(f'{flag}: choose one of {", ".join(each or "(empty)" for each in choices)}')
  if field.type is float and not math.isfinite(value):
    raise UserError(f'{flag}: give a finite number')
  if name in _RANGES and not _RANGES[name][0](value):
    raise UserError(f'{flag}: give {_RANGES[name][1]}')
  if name == 'k' and value != 'auto':
    _check_k(flag, value)
  if field.type is int:
    least = 0 if name in _FROM_ZERO else 1
    if not least <= value < 2**31:
      raise UserError(f'{flag}: give a whole number from {least} to {2**31 - 1}')


def _check_k(flag: str, value: str) -> None:
  try:
    k = float(value)
  except ValueError:
    k = math.nan
  if not 1 / 64 <= k <= _MAX_K:
    raise UserError(f'{flag}: give a number from 1/64 = 0.015625 to {_MAX_K}, or auto')


def check_together(config: Settings) -> None:
  """Raises UserError where settings contradict one another, naming them and the reason."""
  _check_unused(config)
  _check_update(config)
  _check_loss(config)
  _check_optimizers(config)
  _check_stops(config)
  if config.ada_target and config.augment == 'none':
    raise UserError(
      f'--ada_target={config.ada_target}: there is no augmentation to adapt; '
      'use --augment=ada, or --ada_target=0'
    )
  if config.contrast and config.dataset == 'stacked_mnist':
    raise UserError('--contrast: stacked_mnist has no natural images; use --contrast=0')
  if config.contrast and config.network not in UNBOUNDED:
    raise UserError(
      f'--contrast={config.contrast}: normalised pixels leave [-1, 1], where --network={config.network} '
      f'ends; use --network={" or ".join(sorted(UNBOUNDED))}'
    )


def check_batch(config: Settings, n_devices: int) -> None:
  """Raises UserError where devices cannot share the batch evenly, naming the nearest sizes that they can."""
  parts = n_devices * config.accumulate
  if config.batch_size % parts:
    by = f'{n_devices} device{"s" * (n_devices > 1)}'
    by += f' times --accumulate={config.accumulate}' if config.accumulate > 1 else ''
    below = config.batch_size // parts * parts
    above = below + parts
    raise UserError(
      f'--batch_size={config.batch_size}: {by} cannot share it evenly; '
      f'use --batch_size={f"{below} or " if below else ""}{above}'
    )


def check_batch_size(config: Settings, n_train: int | None) -> None:
  """Raises UserError where a minibatch is larger than the training set of `n_train` examples."""
  if n_train is not None and config.batch_size > n_train:
    name = config.dataset
    raise UserError(f'--batch_size={config.batch_size}: {name} has only {n_train} training images')


def _check_unused(config: Settings) -> None:
  """Raises UserError where a setting differs from its default and has no effect in this run."""
  value = lambda name: getattr(config, name)
  acts = {
    'k_target': (config.k == 'auto', '--k=auto'),
    'unroll': (config.update == 'unrolled', '--update=unrolled'),
    'augment_p': (config.augment != 'none' and not config.ada_target, 'a fixed --augment'),
    'noise_share': (config.instance_noise, '--instance_noise'),
    'penalty_decay': (any(map(value, _PENALTIES)), 'a penalty such as --r1'),
    **{f'{name}_every': (value(name), f'--{name}') for name in _PENALTIES},
    **{f'{x}_b2': (value(f'{x}_optimizer') != 'sgd', 'adam or sgd_2014') for x in 'gd'},
  }
  defaults = {field.name: field.default for field in dataclasses.fields(config)}
  for name, (used, by) in acts.items():
    if value(name) != defaults[name] and not used:
      raise UserError(f'--{name}={value(name)}: it acts with {by} only; leave it out, or add that')


def _check_update(config: Settings) -> None:
  rule = f'--update={config.update}'
  if config.update not in RULES_WITH_K and config.k not in ('1', '1.0'):
    raise UserError(
      f'--k={config.k}: {rule} moves both players once per step; use --k=1, or --update=alternating'
    )
  if config.consensus and config.update in RULES_WITH_K:
    raise UserError(
      f'--consensus={config.consensus}: it is made of both gradients at one point, and {rule} takes them '
      'at two; use --update=simultaneous, extragradient, optimistic or rk4'
    )
  if config.update == 'rk4':
    for player in 'gd':
      name, b1 = getattr(config, f'{player}_optimizer'), getattr(config, f'{player}_b1')
      if name != 'sgd' or b1 != 0:
        raise UserError(
          f'--{player}_optimizer={name} with --{player}_b1={b1}: {rule} follows the gradient itself, and a '
          f'memory makes another equation of it; use --{player}_optimizer=sgd --{player}_b1=0'
        )
  for name, used in (
    ('--update=unrolled', config.update == 'unrolled'),
    (f'--consensus={config.consensus}', config.consensus),
    (f'--dragan={config.dragan}', config.dragan),
  ):
    if config.accumulate > 1 and used:
      raise UserError(
        f'--accumulate={config.accumulate}: {name} needs the whole batch at once; use --accumulate=1'
      )
  if config.update == 'unrolled' and config.unroll > 100:
    raise UserError(f'--unroll={config.unroll}: every update ahead is kept; give at most 100')


def _check_loss(config: Settings) -> None:
  if config.label_smoothing and config.loss not in SMOOTHABLE_LOSSES:
    raise UserError(
      f'--label_smoothing={config.label_smoothing}: --loss={config.loss} has no target on data to lower; '
      f'use --label_smoothing=0, or --loss={", ".join(sorted(SMOOTHABLE_LOSSES))}'
    )
  bounded = config.gradient_penalty or config.d_clip or config.dragan or config.d_norm == 'spectral'
  bounded = bounded or (config.network == 'sngan' and config.d_norm in ('', 'spectral'))
  if config.loss == 'wasserstein' and not (bounded or config.r1):
    raise UserError(
      "--loss=wasserstein: nothing bounds D's slope; add --gradient_penalty=10, --d_clip=0.01, "
      '--d_norm=spectral or --r1=1'
    )
  for name in ('gradient_penalty', 'dragan'):
    zero = [each for each in ('r1', 'r2') if getattr(config, each)]
    if getattr(config, name) and zero:
      raise UserError(
        f"--{name}={getattr(config, name)}: it pulls D's slopes to 1, and --{zero[0]} to 0; "
        f'use {" ".join(f"--{each}=0" for each in zero)}, or --{name}=0'
      )
  if config.d_norm == 'spectral' and (config.d_clip or config.max_norm):
    raise UserError(
      '--d_norm=spectral: it divides weights by their norm, and so undoes --d_clip and --max_norm; '
      'give one of them'
    )
  if config.d_clip and config.max_norm and config.d_clip > config.max_norm:
    raise UserError(
      f'--d_clip={config.d_clip}: --max_norm={config.max_norm} is tighter already; give one of them'
    )


def _check_stops(config: Settings) -> None:
  unknown = [name for name in config.stops if name not in ALARMS]
  if unknown:
    raise UserError(
      f'--stop_on={config.stop_on}: {unknown[0]} is no alarm; choose from {", ".join(ALARMS)}'
    )
  if config.stops and not config.referee_every:
    raise UserError(
      f'--stop_on={config.stop_on}: nobody watches with --referee_every=0; give a number of steps'
    )


def _check_optimizers(config: Settings) -> None:
  for player in 'gd':
    name = getattr(config, f'{player}_optimizer')
    b2, schedule = getattr(config, f'{player}_b2'), getattr(config, f'{player}_schedule')
    if name == 'sgd_2014' and b2 > 0.99:
      raise UserError(
        f'--{player}_b2={b2}: with --{player}_optimizer=sgd_2014 this is the last momentum; '
        f'2014 had --{player}_b2=0.7'
      )
    if name == 'adam' and schedule == '2014':
      raise UserError(
        f'--{player}_schedule=2014: this decay belongs to --{player}_optimizer=sgd_2014, '
        'not adam; choose constant, linear or cosine'
      )
