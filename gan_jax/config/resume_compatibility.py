"""Compares a run's recorded settings with new ones, and reads them back from JSON."""

import dataclasses
from typing import Any

from gan_jax.config.run_config import Config
from gan_jax.gan import learning_rate_schedules
from gan_jax.utils.errors import UserError

# Settings that a run may change when it goes on: no update depends on them but for rounding.
_CHANGEABLE = {
  *('accumulate', 'data_dir', 'log_every', 'eval_every'),
  *('referee_every', 'stop_on', 'checkpoint_every', 'keep'),
}


def blocking_differences(old: dict[str, Any], new: Config) -> list[str]:
  """Returns the settings whose difference forbids a run with flags `old` to go on with `new`, as texts."""
  changeable = set(_CHANGEABLE)
  falling = {new.g_schedule, new.d_schedule} & learning_rate_schedules.SCHEDULES_OF_RUN_LENGTH
  if not (falling or new.instance_noise or new.penalty_decay != 1):
    changeable.add('steps')
  return [
    f'--{name} is {old.get(name)}, now {value}'
    for name, value in dataclasses.asdict(new).items()
    if name not in changeable and old.get(name) != value and not (name == 'k' and _same_k(old, new))
  ]


def _same_k(old: dict[str, Any], new: Config) -> bool:
  """Returns whether both k are the same number, as in 1 and 1.0."""
  return 'auto' not in (old['k'], new.k) and float(old['k']) == float(new.k)


def config_from_json(values: dict[str, Any]) -> Config:
  """Returns the Config that `dataclasses.asdict` wrote; raises UserError for fields of another version."""
  known = {field.name for field in dataclasses.fields(Config)}
  if set(values) != known:
    odd = ', '.join(sorted(set(values) ^ known))
    raise UserError(f'config.json: its settings do not fit this version of gan_jax ({odd})')
  return Config(**values)
