import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import gan_factory, resume_compatibility
from gan_jax.config.run_config import Config
from gan_jax.gan.penalties import PENALTIES
from gan_jax.gan.update_ratio import UpdateRatio
from gan_jax.utils.errors import UserError

BASE = Config()
NAN, INF = float('nan'), float('inf')
RK4 = {'update': 'rk4', 'g_optimizer': 'sgd', 'd_optimizer': 'sgd', 'g_b1': 0.0, 'd_b1': 0.0}


def test_a_config_equals_its_json_round_trip():
  changed = dataclasses.replace(BASE, k='1.5', conditional=True, data_dir='/x', ada_target=0.0)
  for config in (BASE, changed):
    assert (
      resume_compatibility.config_from_json(json.loads(json.dumps(dataclasses.asdict(config))))
      == config
    )


@pytest.mark.parametrize(
  'changed', [{'k': '3'}, {'g_lr': 0.1}, {'seed': 1}, {'loss': 'saturating'}, {'image_size': 32}]
)
def test_differences_name_the_flag_and_both_values(changed):
  ((name, value),) = changed.items()
  (line,) = resume_compatibility.blocking_differences(
    dataclasses.asdict(BASE), dataclasses.replace(BASE, **changed)
  )
  assert line == f'--{name} is {getattr(BASE, name)}, now {value}'


@pytest.mark.parametrize('changed', [{'data_dir': '/elsewhere'}, {'keep': 9}, {'steps': 5}])
def test_a_run_may_resume_with_other_settings_that_no_update_depends_on(changed):
  new = dataclasses.replace(BASE, **changed)
  assert resume_compatibility.blocking_differences(dataclasses.asdict(BASE), new) == []


@pytest.mark.parametrize(
  'bound', [{'g_schedule': 'linear'}, {'d_schedule': 'cosine'}, {'instance_noise': 0.1}]
)
def test_a_run_with_a_schedule_does_not_resume_with_other_steps(bound):
  old = dataclasses.replace(BASE, **bound)
  new = dataclasses.replace(old, steps=5)
  assert len(resume_compatibility.blocking_differences(dataclasses.asdict(old), new)) == 1


def test_a_config_of_a_newer_version_is_refused_by_the_name_of_its_setting():
  with pytest.raises(UserError, match='--momentum_of_tomorrow, which this version'):
    resume_compatibility.config_from_json(dataclasses.asdict(BASE) | {'momentum_of_tomorrow': 1})


def test_a_config_of_an_older_version_gets_defaults_for_what_it_lacks():
  values = dataclasses.asdict(dataclasses.replace(BASE, g_lr=0.1))
  del values['r1'], values['keep']
  assert resume_compatibility.missing_settings(values) == ['r1', 'keep']
  assert resume_compatibility.config_from_json(values) == dataclasses.replace(BASE, g_lr=0.1)
  assert (
    resume_compatibility.blocking_differences(values, dataclasses.replace(BASE, g_lr=0.1)) == []
  )
  (line,) = resume_compatibility.blocking_differences(
    values, dataclasses.replace(BASE, g_lr=0.1, r1=2.0)
  )
  assert line == '--r1 is 1.0, now 2.0'


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('g_width', 'wide'),
    ('g_width', 3.0),
    ('g_width', True),
    ('g_width', None),
    ('g_lr', '0.1'),
    ('g_lr', [0.1]),
    ('g_lr', 10**400),
    ('dataset', 3),
    ('conditional', 1),
    ('k', 2),
  ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
  with pytest.raises(UserError, match=f'--{name} is no '):
    resume_compatibility.config_from_json(dataclasses.asdict(BASE) | {name: value})


def test_a_whole_number_is_a_float_setting_too():
  config = resume_compatibility.config_from_json(dataclasses.asdict(BASE) | {'r1': 2})
  assert (config.r1, type(config.r1)) == (2.0, float)


@pytest.mark.parametrize(
  ('old', 'new', 'may_be_same'),
  [
    ('mnist', 'mnist', True),
    ('mnist', 'fashion_mnist', False),
    ('ring', 'grid', False),
    ('huggan/cats', 'huggan/dogs', False),
    ('folder:flat', 'folder:flat/', True),
    ('folder:/old/place', 'folder:/new/name', True),
    ('/old/place', '~/place', True),
    ('folder:pictures', 'pictures.zip', True),
    ('folder:digits', 'mnist', True),
  ],
)
def test_only_data_sets_by_path_may_have_moved(old, new, may_be_same):
  assert resume_compatibility.may_be_same_data(old, new) == may_be_same
  values = dataclasses.asdict(dataclasses.replace(BASE, dataset=old))
  lines = resume_compatibility.blocking_differences(values, dataclasses.replace(BASE, dataset=new))
  assert lines == ([] if may_be_same else [f'--dataset is {old}, now {new}'])


# Refused by an error that names the first setting and its value.
REFUSED = [
  {'k': '0'},
  {'k': '-1'},
  {'k': 'x'},
  {'k': ''},
  {'k': 'nan'},
  {'k': 'inf'},
  {'k': '0.015'},
  {'k': '1001'},
  {'g_lr': -1.0},
  {'g_lr': 0.0},
  {'d_lr': NAN},
  {'d_lr': INF},
  {'d_loss_weight': 0.0},
  {'ema_decay': 1.0},
  {'g_b1': 1.5},
  {'d_b1': -0.1},
  {'d_b2': NAN},
  {'r1': -1.0},
  {'r2': -1.0},
  {'gradient_penalty': INF},
  {'dragan': -0.1},
  {'r1_every': 0},
  {'dragan_every': 2**31},
  {'consensus': -0.1, 'update': 'simultaneous'},
  {'d_clip': -1.0},
  {'max_norm': -1.0},
  {'instance_noise': -0.1},
  {'contrast': -55.0},
  {'augment_p': 1.1},
  {'augment_p': -0.1},
  {'ada_target': 1.0, 'augment': 'ada'},
  {'k_target': 0.0},
  {'label_smoothing': 0.6},
  {'label_smoothing': -0.1},
  {'loss': 'hopeful'},
  {'network': 'transformer'},
  {'augment': 'mixup'},
  {'update': 'sequential'},
  {'latent': 'cauchy'},
  {'g_norm': 'layer'},
  {'init': 'he'},
  {'dtype': 'float16'},
  {'batch_size': 0},
  {'latent_size': 0},
  {'image_size': -1},
  {'g_width': -1},
  {'d_depth': -1},
  {'unroll': 0},
  {'seed': -1},
  {'steps': 0},
  {'steps': 2**31},
  {'log_every': 0},
  {'keep': 0},
  # Combinations
  {'k_target': 0.3},
  {'unroll': 3},
  {'augment_p': 0.5},
  {'augment_p': 0.5, 'augment': 'ada', 'ada_target': 0.6},
  {'noise_share': 0.5},
  {'noise_share': 0.0, 'instance_noise': 0.1},
  {'penalty_decay': 0.1, 'r1': 0.0},
  {'r1_every': 4, 'r1': 0.0},
  {'g_b2': 0.9, 'g_optimizer': 'sgd'},
  {'gradient_penalty': 10.0, 'r1': 1.0},
  {'dragan': 1.0, 'r2': 1.0, 'r1': 0.0},
  {'d_norm': 'spectral', 'd_clip': 0.1},
  {'contrast': 55.0, 'dataset': 'cifar10', 'network': 'dcgan'},
  {'k': '2', 'update': 'simultaneous'},
  {'k': 'auto', 'update': 'extragradient'},
  {'k': '0.5', 'update': 'optimistic'},
  {'consensus': 0.1},
  {'consensus': 0.1, 'update': 'unrolled'},
  {'g_optimizer': 'adam', **{n: x for n, x in RK4.items() if n != 'g_optimizer'}},
  {'d_optimizer': 'sgd', **RK4, 'd_b1': 0.5},
  {'unroll': 101, 'update': 'unrolled'},
  {'label_smoothing': 0.1, 'loss': 'hinge'},
  {'label_smoothing': 0.1, 'loss': 'relativistic'},
  {'loss': 'wasserstein', 'r1': 0.0},
  {'d_clip': 0.1, 'max_norm': 0.01},
  {'g_b2': 0.999, 'g_optimizer': 'sgd_2014'},
  {'d_b2': 0.999, 'd_optimizer': 'sgd_2014'},
  {'g_schedule': '2014'},
  {'ada_target': 0.6},
  {'contrast': 55.0, 'dataset': 'stacked_mnist'},
]


@pytest.mark.parametrize('changed', REFUSED, ids=str)
def test_invalid_settings_are_refused_by_name(changed):
  name, value = next(iter(changed.items()))
  with pytest.raises(UserError) as error:
    dataclasses.replace(BASE, **changed)
  message = str(error.value)
  assert message.startswith(f'--{name}')
  assert message.startswith(f'--{name}={value}') or f'--{name}:' in message
  assert '\n' not in message


ACCEPTED = [
  {'k': '0.5'},
  {'k': '0.015625'},
  {'k': '1000'},
  {'k': '3'},
  {'k': 'auto'},
  {'k': '1.0', 'update': 'simultaneous'},
  {'k': '5', 'update': 'unrolled', 'unroll': 100},
  {'consensus': 0.1, 'update': 'simultaneous'},
  RK4,
  {'label_smoothing': 0.1, 'loss': 'least_squares'},
  {'loss': 'wasserstein', 'r1': 1.0},
  {'loss': 'wasserstein', 'r1': 0.0, 'gradient_penalty': 10.0},
  {'loss': 'wasserstein', 'r1': 0.0, 'd_clip': 0.01},
  {'loss': 'wasserstein', 'r1': 0.0, 'd_norm': 'spectral'},
  {'d_clip': 0.01, 'max_norm': 1.0},
  {'augment': 'ada', 'ada_target': 0.6},
  {'augment_p': 0.0, 'augment': 'flip'},
  {'g_optimizer': 'sgd_2014', 'g_schedule': '2014', 'g_b2': 0.7},
  {'contrast': 55.0, 'dataset': 'cifar10', 'network': 'r3gan'},
]


@pytest.mark.parametrize('changed', ACCEPTED, ids=str)
def test_valid_settings_are_accepted(changed):
  dataclasses.replace(BASE, **changed)


def test_every_setting_has_a_line_of_help_and_its_type():
  for field in dataclasses.fields(Config):
    assert field.type in (bool, int, float, str)
    assert isinstance(field.default, field.type)
    assert 10 < len(field.metadata['help']) < 90
    assert field.metadata['choices'] is None or field.default in field.metadata['choices']


def test_every_penalty_has_a_weight_and_an_interval():
  names = {field.name for field in dataclasses.fields(Config)}
  assert {*PENALTIES, *(f'{name}_every' for name in PENALTIES)} <= names


def small(**changes):
  """Builds a small Gan for 6 x 6 images of 3 classes."""
  config = dataclasses.replace(BASE, g_width=8, d_width=4, **changes)
  return gan_factory.build_gan(config, (6, 6, 1), 100, 3)


def test_a_gan_has_only_the_parts_that_its_settings_ask_for():
  gan = small(r1=0.0)
  assert gan.penalties == ()
  optional = (gan.g_project, gan.d_project, gan.ada, gan.noise, gan.ratio_controller)
  assert optional == (None,) * 5
  assert (gan.unroll, gan.consensus, gan.n_classes, gan.augment) == (0, 0.0, 0, 'none')
  assert small(unroll=5).unroll == 0


def test_a_gan_is_hashable():
  """A generator that starts at the mean image is hashable too."""
  config = dataclasses.replace(BASE, g_width=8, d_width=4)
  gan = gan_factory.build_gan(config, (6, 6, 1), 100, 3, np.full((6, 6, 1), 0.3))
  assert hash(gan) == hash(gan)
  assert {gan: 1}[gan] == 1


def test_settings_reach_the_gan():
  gan = small(
    r1=2.0, r1_every=4, r2=1.0, d_clip=0.1, max_norm=2.0, conditional=True, k='auto', k_target=0.3,
    augment='ada', ada_target=0.5, instance_noise=0.4, steps=10, label_smoothing=0.1, ema_decay=0.5,
  )  # fmt: skip
  assert [(term.weight, term.every) for term in gan.penalties] == [(2.0, 4), (1.0, 1)]
  assert gan.ratio_controller.target == 0.3
  assert (gan.n_classes, gan.augment, gan.ema_decay) == (3, 'ada', 0.5)
  assert float(gan.noise(0)) == pytest.approx(0.4)
  assert float(gan.noise(10)) == 0
  kernel = {'kernel': jnp.full((9, 2), 5.0)}
  assert float(gan.d_project(kernel)['kernel'].max()) == pytest.approx(0.1)
  assert float(gan.g_project(kernel)['kernel'].max()) == pytest.approx(2 / 3)
  smooth = float(gan.loss.discriminator(jnp.zeros(1), jnp.zeros(1)))
  assert smooth == pytest.approx(2 * 0.693147, rel=1e-5)
  assert small(update='unrolled', unroll=3).unroll == 3


def test_rates_are_functions_of_the_step_for_both_players():
  gan = small(g_lr=0.2, d_lr=0.4, d_schedule='linear', steps=10, k='5')
  assert [float(gan.g_rate(step)) for step in (0, 10)] == pytest.approx([0.2, 0.2])
  assert [float(gan.d_rate(step)) for step in (0, 5, 10)] == pytest.approx([0.4, 0.2, 0])


def test_the_fixed_k_is_a_fraction():
  assert dataclasses.replace(BASE, k='1.5').ratio == UpdateRatio(3, 2)
  assert dataclasses.replace(BASE, k='auto').ratio is None


@pytest.mark.parametrize(
  ('changes', 'shape', 'flag'),
  [
    ({'conditional': True}, (6, 6, 1), '--conditional'),
    ({'augment': 'flip', 'network': 'relu'}, (2,), '--augment=flip'),
    ({'network': 'relu', 'd_dropout': True}, (2,), '--d_dropout'),
    ({'network': 'dirac'}, (2,), '--network=dirac'),
    ({'network': 'dcgan', 'd_norm': 'batch'}, (8, 8, 1), '--r1=1.0'),
    ({'network': 'dcgan', 'd_norm': 'batch', 'r1': 0.0, 'k': 'auto'}, (8, 8, 1), '--k=auto'),
  ],
)
def test_settings_that_do_not_fit_the_data_are_refused_by_name(changes, shape, flag):
  config = dataclasses.replace(BASE, **changes)
  with pytest.raises(UserError, match=f'^{flag}'):
    gan_factory.build_gan(config, shape, 100, 0)
