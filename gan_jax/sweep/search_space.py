"""Parses the axes of a sweep, such as k=0.5,1,auto or g_lr=log(1e-4,1e-2,5), and returns their product."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gan_jax.config.run_config import Config
from gan_jax.utils.errors import UserError

_RANGE = re.compile(r'(log|lin)\(([^,()]+),([^,()]+),([^,()]+)\)')
# Flags that make runs incomparable, or do not change them, and the reason.
_NOT_SWEPT = {
  'seed': 'give --seeds=N instead',
  'stop_on': 'a sweep computes no alarms; --halving drops the worst settings',
  **dict.fromkeys(
    ('dataset', 'labels', 'split_fractions', 'background', 'layout', 'kind'),
    'scores on different data cannot be compared; give each its own sweep',
  ),
  **dict.fromkeys(
    ('data_dir', 'log_every', 'eval_every', 'checkpoint_every', 'keep', 'strict', 'referee_every'),
    'no result depends on it',
  ),
}


class Axis(NamedTuple):
  """Holds a swept flag and its values."""

  name: str
  values: tuple[Any, ...]
  kind: str = 'list'  # or the range that they were given as: 'log' or 'lin'


Setting = tuple[tuple[str, Any], ...]  # the swept flags and one value of each, in the order of axes


def parse_axis(text: str) -> Axis:
  """Parses FLAG=VALUE,VALUE,... or FLAG=log(LOW,HIGH,N) or FLAG=lin(LOW,HIGH,N); raises UserError."""
  name, equals, listed = text.partition('=')
  flag = f'--sweep={text}'
  fields = {field.name: field for field in dataclasses.fields(Config)}
  if not equals:
    raise UserError(f'{flag}: write a flag and its values, such as --sweep=k=0.5,1,2')
  if name not in fields:
    raise UserError(f'{flag}: there is no flag --{name}; flags of experiments.train can be swept')
  if name in _NOT_SWEPT:
    raise UserError(f'{flag}: --{name} cannot be swept: {_NOT_SWEPT[name]}')
  if not listed.strip():
    raise UserError(f'{flag}: the range is empty; give values with commas between, log() or lin()')
  kind: Any = fields[name].type
  ranged = re.match(r'\w+\(', listed)
  words = _range_values(flag, listed, kind) if ranged else [x.strip() for x in listed.split(',')]
  if not words or not all(words):
    raise UserError(f'{flag}: there is a value missing; write values with commas between')
  values = tuple(_parse_value(flag, word, kind) for word in words)
  twice = [value for value in values if values.count(value) > 1]
  if twice:
    raise UserError(f'{flag}: {twice[0]} comes twice; give each value once')
  return Axis(name, values, listed[:3] if ranged else 'list')


def _range_values(flag: str, text: str, kind: type) -> list[str]:
  """Returns the values of log(low,high,n) or lin(low,high,n) as text."""
  match = _RANGE.fullmatch(text.replace(' ', ''))
  if not match:
    raise UserError(f'{flag}: write a range as log(low,high,n) or lin(low,high,n)')
  if kind not in (int, float) and not flag.startswith('--sweep=k='):
    raise UserError(f'{flag}: only numbers have ranges; list the values with commas between')
  try:
    low, high, n = float(match[2]), float(match[3]), int(match[4])
  except ValueError:
    raise UserError(f'{flag}: a range needs two numbers and a number of values') from None
  if n < 2 or not math.isfinite(low + high):
    raise UserError(f'{flag}: the range is empty; give two finite ends and at least 2 values')
  if match[1] == 'log':
    if low <= 0 or high <= 0:
      raise UserError(f'{flag}: a log range cannot reach 0 or below; give ends above 0, or lin()')
    values = [low * (high / low) ** (i / (n - 1)) for i in range(n)]
  else:
    values = [low + (high - low) * i / (n - 1) for i in range(n)]
  return [str(round(x)) if kind is int else f'{x:.6g}' for x in values]


def _parse_value(flag: str, word: str, kind: type) -> Any:
  if kind is bool:
    known = {'true': True, '1': True, 'false': False, '0': False}
    if word.lower() not in known:
      raise UserError(f'{flag}: {word} is neither true nor false')
    return known[word.lower()]
  try:
    return kind(word)
  except ValueError:
    wanted = 'a whole number' if kind is int else 'a number'
    raise UserError(f'{flag}: {word} is not {wanted}') from None


def parse_axes(texts: Sequence[str]) -> list[Axis]:
  """Parses all axes of a sweep; raises UserError."""
  axes = [parse_axis(text) for text in texts]
  names = [axis.name for axis in axes]
  for name in names:
    if names.count(name) > 1:
      raise UserError(f'--sweep={name}=...: given twice; put all its values into one')
  return axes


def setting_product(axes: Sequence[Axis]) -> list[Setting]:
  """Returns all combinations of the axes' values, the last axis changing fastest; [()] without axes."""
  settings = itertools.product(*(axis.values for axis in axes))
  return [tuple(zip((axis.name for axis in axes), x, strict=True)) for x in settings]


def apply_setting(base: Config, setting: Setting, **changes: Any) -> Config:
  """Returns `base` with a setting and other changes; raises UserError, which names the setting."""
  try:
    return dataclasses.replace(base, **{**dict(setting), **changes})
  except UserError as error:
    raise UserError(f'{label(setting)}: {error}') from None


def label(setting: Setting) -> str:
  """Returns a setting as text to print, such as 'k=2, g_lr=0.001'."""
  return ', '.join(f'{name}={value}' for name, value in setting) or 'the preset'


def path_name(setting: Setting) -> str:
  """Returns a setting as part of a path, such as 'k_2-g_lr_0.001'."""
  text = '-'.join(f'{name}_{value}' for name, value in setting) or 'preset'
  return re.sub(r'[^\w.\-+]', '_', text)
