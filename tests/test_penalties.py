import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import gan as gan_lib
from gan_jax.penalties import PENALTIES, weighted_sum
from tests.games import batch, differs, tiny

KEY = jax.random.key(0)


def test_r1_of_a_linear_critic_is_half_its_squared_slope():
  slope = jnp.arange(12.0).reshape(2, 2, 3)
  real = jax.random.normal(KEY, (5, 2, 2, 3))
  value = PENALTIES['r1'](lambda x: jnp.einsum('nhwc,hwc->n', x, slope), real, real, KEY)
  assert value == pytest.approx(float((slope**2).sum()) / 2, rel=1e-6)


def test_r1_of_a_quadratic_critic_is_the_mean_over_the_data():
  """D(x) = |x|^2 / 2 has gradient x, so the penalty is E |x|^2 / 2."""
  real = jax.random.normal(KEY, (50, 7))
  value = PENALTIES['r1'](lambda x: (x**2).sum(axis=1) / 2, real, -real, KEY)
  assert value == pytest.approx(float((real**2).sum(axis=1).mean()) / 2, rel=1e-5)


def test_weights_multiply_and_zero_means_none():
  real = jnp.ones((3, 2))
  critic = lambda x: x.sum(axis=1)
  assert weighted_sum({'r1': 0.0}) is None
  assert weighted_sum({'r1': 3.0})(critic, real, real, KEY) == pytest.approx(3.0)


@pytest.mark.parametrize('update', gan_lib.UPDATES)
def test_the_penalty_reaches_the_discriminator_and_no_reported_loss(update):
  images = batch(1, 8)
  results = []
  for penalty in (None, weighted_sum({'r1': 10.0})):
    gan, key, state = tiny(penalty=penalty)
    results.append(gan_lib.UPDATES[update](gan, key, state, images))
  (plain, plain_metrics), (penalized, metrics) = results
  assert differs(plain.d.params, penalized.d.params)
  assert plain_metrics['d_penalty'] == 0
  assert metrics['d_penalty'] > 0
  np.testing.assert_allclose(metrics['d_loss'], plain_metrics['d_loss'], rtol=1e-6)
