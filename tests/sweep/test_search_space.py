import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.sweep import search_space
from gan_jax.utils.errors import UserError


def test_a_list_keeps_its_values():
  assert search_space.parse_axis('k=0.5,1,auto') == search_space.Axis('k', ('0.5', '1', 'auto'))
  assert search_space.parse_axis('d_dropout=true,false').values == (True, False)
  assert search_space.parse_axis('loss=hinge, non_saturating').values == ('hinge', 'non_saturating')


def test_a_log_range_has_equal_ratios_and_both_ends():
  values = np.asarray(search_space.parse_axis('g_lr=log(1e-4,1e-2,5)').values)
  np.testing.assert_allclose(values, np.geomspace(1e-4, 1e-2, 5), rtol=1e-5)


def test_a_lin_range_has_equal_steps_and_both_ends():
  np.testing.assert_allclose(search_space.parse_axis('r1=lin(0,1,5)').values, np.linspace(0, 1, 5))
  assert search_space.parse_axis('g_width=lin(8,32,4)').values == (8, 16, 24, 32)
  assert search_space.parse_axis('k=lin(1,3,3)').values == ('1', '2', '3')


def test_settings_are_the_product():
  settings = search_space.setting_product(search_space.parse_axes(['k=1,2', 'r1=0,1,2']))
  assert len(settings) == len(set(settings)) == 6
  assert settings[1] == (('k', '1'), ('r1', 1.0))
  assert search_space.setting_product([]) == [()]


@pytest.mark.parametrize(
  ('text', 'fragment'),
  [
    ('k', 'write a flag and its values'),
    ('kk=1,2', 'there is no flag --kk'),
    ('seed=1,2', 'give --seeds'),
    ('dataset=ring,grid', 'cannot be swept'),
    ('log_every=1,2', 'cannot be swept'),
    ('k=', 'the range is empty'),
    ('k=1,,2', 'a value missing'),
    ('g_lr=log(0,1,3)', 'cannot reach 0'),
    ('g_lr=log(-1,1,3)', 'cannot reach 0'),
    ('g_lr=log(1e-4,1e-2,0)', 'the range is empty'),
    ('g_lr=log(1e-4,1e-2)', 'log(low,high,n)'),
    ('g_lr=lin(a,b,c)', 'two numbers'),
    ('g_lr=lin(0,inf,3)', 'the range is empty'),
    ('loss=log(1,2,3)', 'only numbers have ranges'),
    ('g_lr=fast', 'not a number'),
    ('g_width=1.5', 'not a whole number'),
    ('d_dropout=maybe', 'neither true nor false'),
    ('g_width=lin(8,9,4)', 'comes twice'),
    ('k=2,2', 'comes twice'),
  ],
)
def test_bad_axes_are_named(text, fragment):
  with pytest.raises(UserError) as raised:
    search_space.parse_axes([text])
  assert fragment in str(raised.value)
  assert str(raised.value).startswith(f'--sweep={text}')


def test_one_flag_twice_raises():
  with pytest.raises(UserError, match='given twice'):
    search_space.parse_axes(['k=1', 'k=2'])


def test_a_setting_that_cannot_be_run_is_named():
  with pytest.raises(UserError, match='k=9999'):
    search_space.apply_setting(Config(), (('k', '9999'),))


def test_names_are_different_and_may_be_part_of_a_path():
  settings = search_space.setting_product(
    search_space.parse_axes(['k=0.5,1,auto', 'g_lr=log(1e-4,1e-2,5)'])
  )
  names = {search_space.path_name(setting) for setting in settings}
  assert len(names) == len(settings)
  assert not any('/' in slug for slug in names)
