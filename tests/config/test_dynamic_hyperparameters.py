import dataclasses

import jax
import numpy as np
import pytest

from gan_jax.config import dynamic_hyperparameters, gan_factory
from gan_jax.config.run_config import Config

SAME = (
  {'g_lr': 1e-2},
  {'d_b1': 0.9},
  {'seed': 7},
  {'r1': 5.0},
  {'steps': 17},
  {'ema_decay': 0.5},
)
OTHER = (
  {'r1': 0.0},
  {'k': '3'},
  {'k': 'auto'},
  {'loss': 'hinge'},
  {'g_width': 9},
  {'g_b1': 0.1, 'label_smoothing': 0.1},
)


@pytest.mark.parametrize('changes', SAME)
def test_numbers_do_not_make_another_program(changes):
  assert dynamic_hyperparameters.program_key(
    Config(**changes)
  ) == dynamic_hyperparameters.program_key(Config())


@pytest.mark.parametrize('changes', OTHER)
def test_adding_or_removing_a_part_makes_another_program(changes):
  assert dynamic_hyperparameters.program_key(
    Config(**changes)
  ) != dynamic_hyperparameters.program_key(Config())


def test_all_fixed_k_except_1_share_a_program():
  keys = {dynamic_hyperparameters.program_key(Config(k=k)) for k in ('0.5', '2', '5', '2.5')}
  assert len(keys) == 1


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'k': '2.5', 'label_smoothing': 0.1, 'penalty_decay': 0.5, 'g_schedule': 'cosine'},
    {'k': 'auto', 'instance_noise': 0.1, 'noise_share': 0.5, 'd_schedule': 'linear', 'd_clip': 0.1},
    {
      'd_optimizer': 'sgd_2014',
      'd_b2': 0.7,
      'd_schedule': '2014',
      'd_loss_weight': 0.5,
      'max_norm': 1.0,
      'r1': 0.0,
    },
    {'augment': 'ada', 'ada_target': 0.6, 'r1': 0.0, 'dragan': 1.0},
    {'update': 'simultaneous', 'consensus': 0.1},
  ],
)
def test_a_program_can_be_traced_with_abstract_hyperparameters(changes):
  config = Config(network='mlp', g_width=8, d_width=4, **changes)

  def rates(numbers):
    gan = gan_factory.build_gan(config, (8, 8, 1), 100, hyperparameters=numbers)
    return gan.g_rate(3), gan.d_rate(3), gan.ema_decay

  values = dynamic_hyperparameters.hyperparameter_values(config, 100)
  traced = jax.jit(rates)(dynamic_hyperparameters.hyperparameter_arrays(config, 100))
  np.testing.assert_allclose(traced, rates(values), rtol=1e-6)


def test_integers_stay_integers():
  arrays = dynamic_hyperparameters.hyperparameter_arrays(Config(k='2.5'), 100)
  assert arrays['k_numerator'].dtype == arrays['steps'].dtype == np.int32
  assert arrays['g_lr'].dtype == np.float32


def test_dynamic_settings_are_fields_of_config():
  assert {
    field.name for field in dataclasses.fields(Config)
  } >= dynamic_hyperparameters.DYNAMIC_SETTINGS
