"""Tests that a sweep builds all of its settings before it trains the first one."""

import pytest

from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.sweep import search_space, setting_checks
from gan_jax.utils.errors import UserError
from tests.helpers.noise_datasets import noise_dataset

TASK = ImageTask(noise_dataset(40, 20, (8, 8, 1)))


def check(*axes, **changes):
  base = Config(**{'batch_size': 8, 'g_width': 8, 'd_width': 8} | changes)
  settings = search_space.setting_product(search_space.parse_axes(axes))
  setting_checks.check_settings(base, settings, lambda config: TASK)


def test_settings_that_can_be_trained_pass():
  check('g_width=8,16', 'g_lr=1e-4,1e-3', 'loss=hinge,non_saturating')
  check('g_width=16,32', network='r3gan', d_width=16)


@pytest.mark.parametrize(
  ('axes', 'changes', 'start'),
  [
    (('g_width=16,12',), {'network': 'r3gan', 'd_width': 16}, 'g_width=12: --g_width=12: r3gan'),
    (('g_lr=1e-3', 'batch_size=8,41'), {}, 'g_lr=0.001, batch_size=41: --batch_size=41: '),
    (('network=mlp,dirac',), {}, 'network=dirac: --network=dirac'),
    (('conditional=false,true',), {}, 'conditional=True: --conditional: noise has no labels'),
    (('accumulate=1,3',), {}, 'accumulate=3: --batch_size=8: 1 device times --accumulate=3'),
    ((), {'network': 'dirac'}, '--network=dirac'),
  ],
)
def test_a_setting_that_cannot_be_trained_is_named(axes, changes, start):
  with pytest.raises(UserError) as error:
    check(*axes, **{'dataset': 'noise', **changes})
  assert str(error.value).startswith(start)
