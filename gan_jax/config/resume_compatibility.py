"""Compares a run's recorded settings with new ones, and reads them back from JSON."""

import dataclasses
import re
from typing import Any

from gan_jax.config.run_config import Config
from gan_jax.gan import learning_rate_schedules
from gan_jax.utils.errors import UserError

# Settings that a run may change when it goes on: no update depends on them but for rounding.
_CHANGEABLE = {
  *('accumulate', 'data_dir', 'log_every', 'eval_every'),
  *('referee_every', 'stop_on', 'checkpoint_every', 'keep'),
  # How files are read: the fingerprint decides whether the data are the same.
  *('labels', 'split_fractions', 'background', 'layout', 'kind'),
}
_REGISTERED_NAME = re.compile(r'\w+(/[\w.-]+)?')  # of a data set; every other name is a path


def blocking_differences(old: dict[str, Any], new: Config) -> list[str]:
  """Returns the settings whose difference forbids a run with flags `old` to go on with `new`, as texts.

  Flags that `old` lacks had their defaults. A data set at another path may be the same: its fingerprint
  decides, and not this function.
  """
  old = settings_with_defaults(old)
  changeable = set(_CHANGEABLE)
  falling = {new.g_schedule, new.d_schedule} & learning_rate_schedules.SCHEDULES_OF_RUN_LENGTH
  if not (falling or new.instance_noise or new.penalty_decay != 1):
    changeable.add('steps')
  if may_be_same_data(str(old['dataset']), new.dataset):
    changeable.add('dataset')
  return [
    f'--{name} is {old[name]}, now {value}'
    for name, value in dataclasses.asdict(new).items()
    if name not in changeable and old[name] != value and not (name == 'k' and _same_k(old, new))
  ]


def may_be_same_data(old: str, new: str) -> bool:
  """Returns whether two values of --dataset can mean the same data: the same name, or a path among them."""
  return old == new or not all(map(_REGISTERED_NAME.fullmatch, (old, new)))


def _same_k(old: dict[str, Any], new: Config) -> bool:
  """Returns whether both k are the same number, as in 1 and 1.0."""
  return 'auto' not in (old['k'], new.k) and float(old['k']) == float(new.k)


def missing_settings(values: dict[str, Any]) -> list[str]:
  """Returns the settings that a config.json of an older version lacks."""
  return [field.name for field in dataclasses.fields(Config) if field.name not in values]


def settings_with_defaults(values: dict[str, Any]) -> dict[str, Any]:
  """Returns `values` with the defaults of the settings that they lack."""
  return {field.name: values.get(field.name, field.default) for field in dataclasses.fields(Config)}


def config_from_json(values: dict[str, Any]) -> Config:
  """Returns the Config that `dataclasses.asdict` wrote, with defaults for settings of later versions.

  A setting that is added later has as its default what earlier versions did. Raises UserError for a setting
  that this version does not know, and for a value of another type.
  """
  kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}
  unknown = sorted(set(values) - set(kinds))
  if unknown:
    raise UserError(f'it has {_enumerate(unknown)}, which this version of gan_jax does not know')
  return Config(**{name: _typed(name, value, kinds[name]) for name, value in values.items()})


def _typed(name: str, value: Any, kind: type) -> Any:
  """Returns a value of JSON as the type of its setting; raises UserError where it is another."""
  if kind is float and type(value) is int and abs(value) < 2**53:
    return float(value)
  if type(value) is not kind:  # a bool is an int, too
    raise UserError(f'--{name} is no {kind.__name__} there')
  return value


def _enumerate(names: list[str]) -> str:
  """Returns at most five names as flags, cut where they are long."""
  shown = [f'--{name[:40]}' for name in names[:5]]
  return ', '.join([*shown, *['...'] * (len(names) > len(shown))])
