"""Which settings a sweep tries: axes such as k=0.5,1,auto or g_lr=log(1e-4,1e-2,5), and their product."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gan_jax.config.config import Config
from gan_jax.utils.errors import UserError

_RANGE = re.compile(r'(log|lin)\(([^,()]+),([^,()]+),([^,()]+)\)')
# What makes runs incomparable, or does not change them.
_FIXED = {
  'seed': 'give --seeds=N instead',
  'stop_on': 'no member of a sweep is watched for alarms; --halving drops the worst',
  'dataset': 'scores on different data cannot be compared; sweep each by itself',
  **dict.fromkeys(
    ('data_dir', 'log_every', 'eval_every', 'checkpoint_every', 'keep', 'strict', 'referee_every'),
    'no result depends on it',
  ),
}


class Axis(NamedTuple):
  """A setting and the values that it takes."""

  name: str
  values: tuple[Any, ...]
  kind: str = 'list'  # or the range that they are from: 'log', 'lin'


Setting = tuple[tuple[str, Any], ...]  # names and values, in the order of the axes


def axis(text: str) -> Axis:
  """The axis that `text` describes; raises UserError."""
  name, equals, listed = text.partition('=')
  flag = f'--sweep={text}'
  fields = {field.name: field for field in dataclasses.fields(Config)}
  if not equals:
    raise UserError(f'{flag}: write a flag and its values, such as --sweep=k=0.5,1,2')
  if name not in fields:
    raise UserError(f'{flag}: there is no flag --{name}; those of experiments.train can be swept')
  if name in _FIXED:
    raise UserError(f'{flag}: --{name} cannot be swept: {_FIXED[name]}')
  if not listed.strip():
    raise UserError(f'{flag}: the range is empty; give values with commas between, log() or lin()')
  kind: Any = fields[name].type
  ranged = re.match(r'\w+\(', listed)
  words = _range(flag, listed, kind) if ranged else [word.strip() for word in listed.split(',')]
  if not words or not all(words):
    raise UserError(f'{flag}: there is a value missing; write values with commas between')
  values = tuple(_value(flag, word, kind) for word in words)
  twice = [value for value in values if values.count(value) > 1]
  if twice:
    raise UserError(f'{flag}: {twice[0]} comes twice; give each value once')
  return Axis(name, values, listed[:3] if ranged else 'list')


def _range(flag: str, text: str, kind: type) -> list[str]:
  """The values of log(low,high,n) or lin(low,high,n), as text."""
  match = _RANGE.fullmatch(text.replace(' ', ''))
  if not match:
    raise UserError(f'{flag}: write a range as log(low,high,n) or lin(low,high,n)')
  if kind not in (int, float) and not flag.startswith('--sweep=k='):
    raise UserError(f'{flag}: only numbers have ranges; list the values with commas between')
  try:
    low, high, n = float(match[2]), float(match[3]), int(match[4])
  except ValueError:
    raise UserError(f'{flag}: a range needs two numbers and how many values') from None
  if n < 2 or not math.isfinite(low + high):
    raise UserError(f'{flag}: the range is empty; give two finite ends and at least 2 values')
  if match[1] == 'log':
    if low <= 0 or high <= 0:
      raise UserError(
        f'{flag}: a log range cannot reach 0 or below; give two ends above 0, or lin()'
      )
    values = [low * (high / low) ** (i / (n - 1)) for i in range(n)]
  else:
    values = [low + (high - low) * i / (n - 1) for i in range(n)]
  return [str(round(x)) if kind is int else f'{x:.6g}' for x in values]


def _value(flag: str, word: str, kind: type) -> Any:
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


def axes(texts: Sequence[str]) -> list[Axis]:
  """All axes of a sweep; raises UserError."""
  found = [axis(text) for text in texts]
  names = [each.name for each in found]
  for name in names:
    if names.count(name) > 1:
      raise UserError(f'--sweep={name}=...: given twice; put all its values into one')
  return found


def settings(swept: Sequence[Axis]) -> list[Setting]:
  """Every combination of the axes' values, the last axis changing fastest; one empty setting without axes."""
  names = [each.name for each in swept]
  return [
    tuple(zip(names, values, strict=True))
    for values in itertools.product(*(each.values for each in swept))
  ]


def configure(base: Config, setting: Setting, **changes: Any) -> Config:
  """The run of a setting; raises UserError where it cannot be run, naming the setting."""
  try:
    return dataclasses.replace(base, **{**dict(setting), **changes})
  except UserError as error:
    raise UserError(f'{label(setting)}: {error}') from None


def label(setting: Setting) -> str:
  """For a person: k=2, g_lr=0.001."""
  return ', '.join(f'{name}={value}' for name, value in setting) or 'the preset'


def slug(setting: Setting) -> str:
  """For a path: k_2-g_lr_0.001."""
  text = '-'.join(f'{name}_{value}' for name, value in setting) or 'preset'
  return re.sub(r'[^\w.\-+]', '_', text)
