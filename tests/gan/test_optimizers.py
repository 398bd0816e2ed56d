import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.gan.learning_rate_schedules import SCHEDULES
from gan_jax.gan.optimizers import OPTIMIZERS, optimistic, smooth_adam

GRADS = np.sin(1 + np.arange(40.0))


def trajectory(tx, grads, rate):
  """The path of one weight from 0; `rate` of the step is given with every call."""
  w = jnp.zeros(())
  tx = optax.with_extra_args_support(tx)
  state = tx.init(w)
  path = []
  for t, grad in enumerate(grads):
    updates, state = tx.update(jnp.float32(grad), state, w, learning_rate=rate(t))
    w = optax.apply_updates(w, updates)
    path.append(float(w))
  return path


def constant(lr):
  return SCHEDULES['constant'](lr, 0)


def test_sgd_2014_equals_its_recipe_written_by_hand():
  """v = m v - lr g, w += v; lr / 1.000004^t; m from .5 to .7 over epochs 1 to 250."""
  epoch, v, w, expected = 4, 0.0, 0.0, []
  for t, grad in enumerate(GRADS):
    momentum = 0.5 + 0.2 * min((t // epoch) / 249, 1)
    v = momentum * v - 0.1 / 1.000004**t * grad
    w += v
    expected.append(w)
  path = trajectory(OPTIMIZERS['sgd_2014'](0.5, 0.7, epoch), GRADS, SCHEDULES['2014'](0.1, 0))
  np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-6)


def test_momentum_of_2014_is_reached_in_epoch_250_and_stays():
  """With a constant gradient of -1 and a full memory, a step is lr / (1 - m)."""
  path = np.diff(trajectory(OPTIMIZERS['sgd_2014'](0.5, 0.7, 1), [-1.0] * 300, constant(1.0)))
  np.testing.assert_allclose(path[-20:], 1 / 0.3, rtol=1e-4)


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


@pytest.mark.parametrize(
  ('ours', 'theirs'),
  [
    (OPTIMIZERS['sgd'](0.0, 0.0, 1), optax.sgd(0.05)),
    (OPTIMIZERS['sgd'](0.9, 0.0, 1), optax.sgd(0.05, 0.9)),
    (OPTIMIZERS['adam'](0.5, 0.99, 1), optax.adam(0.05, 0.5, 0.99)),
    (smooth_adam(0.5, 0.99, 1), optax.adam(0.05, 0.5, 0.99)),
  ],
  ids=['sgd', 'momentum', 'adam', 'smooth adam'],
)
def test_with_a_constant_rate_they_equal_those_of_optax(ours, theirs):
  np.testing.assert_allclose(
    trajectory(ours, GRADS[:20], constant(0.05)),
    trajectory(theirs, GRADS[:20], constant(None)),
    rtol=1e-4,
    atol=1e-6,
  )


def test_the_rate_is_that_of_the_call():
  """A rate of 0 stands still, whatever came before; momentum goes on with what it has."""
  rate = lambda t: 0.1 if t < 3 else 0.0
  for name in ('sgd', 'adam'):
    path = trajectory(OPTIMIZERS[name](0.0, 0.9, 1), [1.0] * 6, rate)
    assert path[1] < path[0] < 0
    assert len(set(path[2:])) == 1
  path = trajectory(OPTIMIZERS['sgd'](0.5, 0.0, 1), [1.0] * 5, rate)
  np.testing.assert_allclose(np.diff(path)[2:], np.diff(path)[1] * np.array([0.5, 0.25]), rtol=1e-5)


def test_optimistic_descent_is_twice_this_gradient_less_the_last():
  """w' = w - 2 lr g_t + lr g_(t-1), eq. 2 of Daskalakis et al. (2018); the one before the first is 0."""
  w, before, expected = 0.0, 0.0, []
  for grad in GRADS:
    w += -2 * 0.1 * grad + 0.1 * before
    before = grad
    expected.append(w)
  path = trajectory(optimistic(OPTIMIZERS['sgd'](0.0, 0.0, 1)), GRADS, constant(0.1))
  np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-6)


def test_optimistic_adam_is_twice_its_update_less_the_last():
  """Algorithm 1 of Daskalakis et al. (2018)."""
  moves = np.diff([0.0, *trajectory(OPTIMIZERS['adam'](0.5, 0.9, 1), GRADS, constant(0.1))])
  expected = np.cumsum(2 * moves - np.array([0.0, *moves[:-1]]))
  path = trajectory(optimistic(OPTIMIZERS['adam'](0.5, 0.9, 1)), GRADS, constant(0.1))
  np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


def test_smooth_adam_can_be_differentiated_where_the_gradient_is_zero():
  """As an unrolled D is: the derivative of its first update with respect to its gradient."""

  def moved(tx, grad):
    updates, _ = tx.update(grad, tx.init(grad), grad, learning_rate=0.1)
    return updates

  assert jnp.isfinite(jax.grad(lambda g: moved(smooth_adam(0.5, 0.9, 1), g))(0.0))
  assert not jnp.isfinite(jax.grad(lambda g: moved(OPTIMIZERS['adam'](0.5, 0.9, 1), g))(0.0))
