import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from gan_jax.config.run_config import Config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData
from gan_jax.evaluation import sampling
from gan_jax.gan import train_step
from gan_jax.gan.update_ratio import (
  RatioController,
  UpdateRatio,
  log_odds_cross_entropy,
  ratio_from_float,
)
from tests.helpers.tiny_gan import tiny_gan

KS = [0.5, 1, 1.5, 2, 1 / 3, 5]


# A fixed k


@pytest.mark.parametrize('k', KS)
def test_updates_are_spread_evenly_and_the_discriminator_comes_first(k):
  """After n steps there were n k updates, rounded up: never one too early or too late."""
  due = [int(ratio_from_float(k).updates_at(jnp.int32(step))) for step in range(24)]
  exact = Fraction(k).limit_denominator(64)
  assert np.cumsum(due).tolist() == [math.ceil(n * exact) for n in range(1, 25)]
  assert due[0] == math.ceil(k) >= 1


@pytest.mark.parametrize('k', KS)
def test_a_traced_ratio_equals_a_static_one(k):
  fixed = ratio_from_float(k)
  traced = jax.jit(lambda n, d, step: UpdateRatio(n, d).updates_at(step))
  for step in (0, 1, 2, 5, 2**31 - 2):
    static = fixed.updates_at(jnp.int32(step))
    assert traced(fixed.numerator, fixed.denominator, jnp.int32(step)) == static


def test_a_whole_k_is_a_python_number_that_unrolls_no_loop():
  assert ratio_from_float(3.0).updates_at(jnp.int32(7)) == 3
  assert isinstance(ratio_from_float(3.0).updates_at(jnp.int32(7)), int)


def test_a_ratio_is_the_nearest_small_fraction():
  assert ratio_from_float(1 / 3) == UpdateRatio(1, 3)
  assert ratio_from_float(1 / 64) == UpdateRatio(1, 64)
  assert ratio_from_float(0.7) == UpdateRatio(7, 10)
  assert ratio_from_float(0.99) == UpdateRatio(99, 100)
  assert Config(k='1.5').ratio == UpdateRatio(3, 2)
  assert Config(k='auto').ratio is None


# A k that follows what D gains


def test_cross_entropy_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  real, fake = rng.normal(0.7, 1, 60), rng.normal(0, 1, 60)
  labels = np.repeat([1, 0], 60)
  theirs = log_loss(labels, 1 / (1 + np.exp(-np.concatenate([real, fake]))))
  assert log_odds_cross_entropy(jnp.asarray(real), jnp.asarray(fake)) == pytest.approx(
    2 * theirs, rel=1e-5
  )


@pytest.mark.parametrize(
  ('gain', 'undone', 'way'),
  [(0.1, 0.3, 1), (0.1, 0.02, -1), (0.0, 0.3, -1), (-0.1, 0.3, -1), (0.1, -0.1, -1), (0.1, 0.2, 0)],
)
def test_k_rises_where_d_does_not_keep_up_and_falls_where_it_does_or_gains_nothing(
  gain, undone, way
):
  controller = RatioController(target=2.0)
  control = controller.init()._replace(k=jnp.float32(2))
  assert np.sign(controller.adapt(control, jnp.float32(gain), jnp.float32(undone)).k - 2) == way


def test_log2_k_moves_by_the_rate_times_the_octaves_of_the_ratio_of_the_means():
  controller = RatioController(target=0.5, rate=0.2, memory=0.75)
  control = controller.init()._replace(gain=jnp.float32(0.1), undone=jnp.float32(0.05))
  new = controller.adapt(control, jnp.float32(0.14), jnp.float32(0.09))
  gain, undone = 0.75 * 0.1 + 0.25 * 0.14, 0.75 * 0.05 + 0.25 * 0.09
  assert (new.gain, new.undone) == (pytest.approx(gain), pytest.approx(undone))
  moved = math.log2(new.k / control.k)
  assert moved == pytest.approx(0.2 * math.log2(undone / gain / 0.5), rel=1e-4)


def test_a_scale_of_both_losses_changes_nothing():
  controller = RatioController()
  one, other = (
    functools.reduce(
      lambda control, pair, scale=scale: controller.adapt(control, *(jnp.float32(scale * x) for x in pair)),
      ((0.1, 0.12), (0.05, 0.04), (0.02, 0.01)),
      controller.init(),
    )
    for scale in (1.0, 2.0**-10)
  )  # fmt: skip
  assert one.k == other.k


@pytest.mark.parametrize(('undone', 'k'), [(0.13, 1.3**4), (0.2, 5.0), (0.05, 1.0)])
def test_k_starts_at_its_lower_bound_and_the_first_measurement_may_take_it_anywhere(undone, k):
  controller = RatioController()
  assert float(controller.init().k) == 1
  control = controller.adapt(controller.init(), jnp.float32(0.1), jnp.float32(undone))
  assert float(control.k) == pytest.approx(k, rel=1e-5)


@pytest.mark.parametrize(('undone', 'end'), [(1.0, 5.0), (0.01, 1.0)])
def test_k_comes_to_its_bounds_and_no_further(undone, end):
  controller = RatioController()
  adapt = jax.jit(controller.adapt)
  control, last = controller.init()._replace(k=jnp.float32(2), gain=jnp.float32(0.1)), 2.0
  for _ in range(20):
    control = adapt(control, jnp.float32(0.1), jnp.float32(undone))
    assert 1 <= control.k <= 5
    assert abs(math.log2(control.k / last)) <= controller.rate + 1e-5
    last = float(control.k)
  assert control.k == end


def test_k_leaves_its_bounds_again():
  """Nothing is wound up: at a bound the controller turns as soon as the means do."""
  controller = RatioController()
  gain, undone = jnp.float32(0.1), jnp.float32(0.3)
  control = controller.init()._replace(k=jnp.float32(5), gain=gain, undone=undone)
  for _ in range(5):
    control = controller.adapt(control, gain, jnp.float32(0.0))
  assert control.k < 5


def test_measurements_come_often_at_first_and_what_they_cost_is_known():
  controller = RatioController(every=10, second=4, n_lookahead=3)
  due = [step for step in range(1, 31) if bool(controller.is_due(jnp.int32(step)))]
  assert due == [1, 4, 8, 10, 20, 30]
  for steps in range(31):
    assert controller.lookahead_updates(steps) == 3 * sum(step <= steps for step in due)


def test_no_credit_is_lost():
  """Updates so far are the integral of k, rounded down, and the first comes at once."""
  controller, rng = RatioController(), np.random.default_rng(0)
  control, updates, integral = controller.init(), [], 1.0
  for k in rng.uniform(0.5, 5, 200).astype(np.float32):
    n, control = controller.next_updates(control._replace(k=jnp.float32(k)))
    updates.append(int(n))
    assert abs(sum(updates) - math.floor(integral)) <= 1
    assert 0 <= control.credit - k < 1 + 1e-5
    integral += float(k)
  assert updates[0] == 1
  assert sum(updates) == pytest.approx(integral, abs=6)


def test_a_steady_controller_gives_what_a_fixed_k_gives():
  for k in (0.5, 1.5, 2.0):
    controller, due = RatioController(), []
    control = controller.init()._replace(k=jnp.float32(k))
    for _ in range(20):
      n, control = controller.next_updates(control)
      due.append(int(n))
    assert abs(sum(due) - 20 * k) <= 2


def players(psi, lr=0.5, g_lr=0.0):
  """D(x) = psi x beside data at 3 and samples at theta, where psi has to grow."""
  controller = RatioController(every=1, n_examples=8, n_lookahead=2, memory=0.0)
  gan, key, state = tiny_gan(
    'wasserstein', shape=(1,), network='dirac', lr=lr, ratio_controller=controller
  )
  gan = gan._replace(g_rate=lambda step: g_lr)
  d = state.d.replace(params={'psi': jnp.full(1, psi, jnp.float32)})
  feed = device_batches.synthetic_batches(lambda key: jnp.full(1, 3.0))
  return train_step.TrainSpec(gan, 'alternating', None, 4, feed, feed), key, state.replace(d=d)


def theta_of(spec, state):
  return float(sampling.generate_samples(spec.gan, state.g.weights, jnp.zeros((1, 1)))[0, 0])


def test_both_look_ahead_and_leave_no_trace():
  """By hand: psi grows by d_lr (3 - theta) at an update, theta by g_lr psi; log-odds are paired differences."""
  spec, key, state = players(psi=0.1, lr=0.05, g_lr=0.3)
  theta = theta_of(spec, state)
  new, metrics = jax.jit(functools.partial(train_step.run_steps, spec))(
    key, state, DeviceData(()), np.int32(1)
  )
  psi = float(new.d.params['psi'][0])
  assert psi == pytest.approx(0.1 + 0.05 * (3 - theta), rel=1e-5)  # one update, not three
  assert int(new.d.count) == int(new.g.count) == 1
  theta = theta_of(spec, new)
  cost = lambda psi, theta: 2 * np.log1p(np.exp(-(3 - theta) * psi))
  gain = (cost(psi, theta) - cost(psi + 0.1 * (3 - theta), theta)) / 2
  undone = (cost(psi, theta + 0.6 * psi) - cost(psi, theta)) / 2
  assert metrics['gain'] == pytest.approx(gain, rel=1e-4)
  assert metrics['undone'] == pytest.approx(undone, rel=1e-4)


@pytest.mark.parametrize(
  ('lr', 'g_lr', 'k'),
  [(0.03, 0.0, 1.0), (1e-6, 0.1, 5.0), (-0.03, 0.1, 1.0)],
  ids=['G stands still', 'D does not keep up', 'D gains nothing'],
)
def test_in_training_k_follows_the_ratio_without_a_new_compilation(lr, g_lr, k):
  spec, key, state = players(0.5, lr, g_lr)
  state = state.replace(controls={'k': state.controls['k']._replace(k=jnp.float32(3))})
  traces = []

  def counted(*args):
    traces.append(1)
    return train_step.run_steps(spec, *args)

  run = jax.jit(counted)
  data, ks = DeviceData(()), [3.0]
  for _ in range(4):
    before = int(state.d.count)
    state, metrics = run(key, state, data, np.int32(1))
    ks.append(float(state.controls['k'].k))
    assert metrics['k'] == int(state.d.count) - before
  assert ks[-1] == k
  assert len(set(ks)) > 1
  assert len(traces) == 1


def test_measurements_come_in_their_turn_only():
  spec, key, state = players(0.01, 0.03)
  gan = spec.gan._replace(
    ratio_controller=spec.gan.ratio_controller._replace(every=5, second=2, low=1e-6)
  )
  run = jax.jit(functools.partial(train_step.run_steps, spec._replace(gan=gan)))
  ks = [float(state.controls['k'].k)]
  for _ in range(10):
    state, _ = run(key, state, DeviceData(()), np.int32(1))
    ks.append(float(state.controls['k'].k))
  changes = [i for i in range(1, 11) if ks[i] != ks[i - 1]]
  assert changes == [1, 2, 4, 5, 10]
