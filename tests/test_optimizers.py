import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.optimizers import OPTIMIZERS, SCHEDULES


def trajectory(tx, grads):
  w = jnp.zeros(())
  state = tx.init(w)
  path = []
  for grad in grads:
    updates, state = tx.update(jnp.float32(grad), state, w)
    w = optax.apply_updates(w, updates)
    path.append(float(w))
  return path


def test_sgd_2014_equals_its_recipe_written_by_hand():
  """v = m v - lr g, w += v; lr / 1.000004^t; m from .5 to .7 over epochs 1 to 250."""
  grads = np.sin(np.arange(40.0))
  epoch, v, w, expected = 4, 0.0, 0.0, []
  for t, grad in enumerate(grads):
    momentum = 0.5 + 0.2 * min((t // epoch) / 249, 1)
    v = momentum * v - 0.1 / 1.000004**t * grad
    w += v
    expected.append(w)
  tx = OPTIMIZERS['sgd_2014'](SCHEDULES['2014'](0.1, 0), 0.5, 0.7, epoch)
  np.testing.assert_allclose(trajectory(tx, grads), expected, rtol=1e-4, atol=1e-6)


def test_momentum_of_2014_is_reached_in_epoch_250_and_stays():
  """With a constant gradient of -1 and a full memory, a step is lr / (1 - m)."""
  tx = OPTIMIZERS['sgd_2014'](SCHEDULES['constant'](1.0, 0), 0.5, 0.7, 1)
  path = np.diff(trajectory(tx, [-1.0] * 400))
  np.testing.assert_allclose(path[-100:], 1 / 0.3, rtol=1e-4)


def test_schedule_of_2014_has_a_floor():
  schedule = SCHEDULES['2014'](0.1, 0)
  assert float(schedule(0)) == pytest.approx(0.1)
  assert float(schedule(100_000)) == pytest.approx(0.1 / 1.000004**100_000, rel=1e-3)
  assert float(schedule(10_000_000)) == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize('name', ['linear', 'cosine'])
def test_falling_schedules_end_at_zero_with_the_run(name):
  schedule = SCHEDULES[name](0.3, 50)
  assert float(schedule(0)) == pytest.approx(0.3)
  assert float(schedule(25)) == pytest.approx(0.15, rel=1e-4)
  assert float(schedule(50)) == pytest.approx(0, abs=1e-6)


def test_sgd_with_constant_rate_equals_optax():
  grads = np.cos(np.arange(20.0))
  ours = OPTIMIZERS['sgd'](SCHEDULES['constant'](0.05, 0), 0.9, 0.0, 1)
  np.testing.assert_allclose(
    trajectory(ours, grads), trajectory(optax.sgd(0.05, 0.9), grads), rtol=1e-5
  )
