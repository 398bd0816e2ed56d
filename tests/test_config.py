import dataclasses

import pytest

from gan_jax import config as config_lib
from gan_jax.config import Config
from gan_jax.errors import UserError

BASE = Config()


def test_a_config_survives_json():
  assert config_lib.from_json(dataclasses.asdict(BASE)) == BASE


@pytest.mark.parametrize('changed', [{'k': 3}, {'g_lr': 0.1}, {'seed': 1}, {'loss': 'saturating'}])
def test_differences_name_the_flag_and_both_values(changed):
  ((name, value),) = changed.items()
  (line,) = config_lib.differences(dataclasses.asdict(BASE), dataclasses.replace(BASE, **changed))
  assert line == f'--{name} is {getattr(BASE, name)}, now {value}'


@pytest.mark.parametrize('changed', [{'data_dir': '/elsewhere'}, {'keep': 9}, {'steps': 5}])
def test_a_run_may_go_on_with_other_settings_that_no_update_depends_on(changed):
  new = dataclasses.replace(BASE, **changed)
  assert config_lib.differences(dataclasses.asdict(BASE), new) == []


def test_steps_matter_where_a_learning_rate_falls_towards_them():
  old = dataclasses.replace(BASE, g_schedule='linear')
  new = dataclasses.replace(old, steps=5)
  assert len(config_lib.differences(dataclasses.asdict(old), new)) == 1


def test_a_config_of_another_version_is_refused():
  with pytest.raises(UserError, match='momentum_of_yore'):
    config_lib.from_json(dataclasses.asdict(BASE) | {'momentum_of_yore': 1})


@pytest.mark.parametrize(
  'changed',
  [
    {'k': 0},
    {'k': 2, 'update': 'simultaneous'},
    {'g_lr': -1.0},
    {'d_lr': float('nan')},
    {'ema_decay': 1.0},
    {'d_b1': -0.1},
    {'r1': -1.0},
    {'loss': 'hopeful'},
    {'g_schedule': '2014'},
    {'batch_size': 0},
    {'seed': -1},
    {'steps': 2**31},
  ],
  ids=str,
)
def test_what_cannot_be_run_is_refused_by_name(changed):
  with pytest.raises(UserError, match=f'--{next(iter(changed))}='):
    dataclasses.replace(BASE, **changed)
