import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gan_jax import feeds, stretch
from gan_jax.balance import Balance, Ratio, advantage, ratio
from gan_jax.config import Config
from gan_jax.feeds import Data
from tests.games import tiny

KS = [0.5, 1, 1.5, 2, 1 / 3, 5]


# A fixed k


@pytest.mark.parametrize('k', KS)
def test_updates_are_spread_evenly_and_the_discriminator_comes_first(k):
  """After n steps there were n k updates, rounded up: never one too early or too late."""
  due = [int(ratio(k).due(jnp.int32(step))) for step in range(24)]
  exact = Fraction(k).limit_denominator(64)
  assert np.cumsum(due).tolist() == [math.ceil(n * exact) for n in range(1, 25)]
  assert due[0] == math.ceil(k) >= 1


@pytest.mark.parametrize('k', KS)
def test_a_traced_ratio_equals_a_static_one(k):
  fixed = ratio(k)
  traced = jax.jit(lambda n, d, step: Ratio(n, d).due(step))
  for step in (0, 1, 2, 5, 2**31 - 2):
    static = fixed.due(jnp.int32(step))
    assert traced(fixed.numerator, fixed.denominator, jnp.int32(step)) == static


def test_a_whole_k_is_a_python_number_that_unrolls_no_loop():
  assert ratio(3.0).due(jnp.int32(7)) == 3
  assert isinstance(ratio(3.0).due(jnp.int32(7)), int)


def test_a_ratio_is_the_nearest_small_fraction():
  assert ratio(1 / 3) == Ratio(1, 3)
  assert ratio(1 / 64) == Ratio(1, 64)
  assert ratio(0.7) == Ratio(7, 10)
  assert ratio(0.99) == Ratio(99, 100)
  assert Config(k='1.5').ratio == Ratio(3, 2)
  assert Config(k='auto').ratio is None


# D's advantage


@pytest.mark.parametrize('tied', [False, True])
def test_advantage_is_2_auc_less_1(tied):
  rng = np.random.default_rng(0)
  real, fake = rng.normal(0.7, 1, 60), rng.normal(0, 1, 40)
  if tied:
    real, fake = real.round(), fake.round()
  auc = roc_auc_score(np.repeat([1, 0], [60, 40]), np.concatenate([real, fake]))
  assert advantage(jnp.asarray(real), jnp.asarray(fake)) == pytest.approx(2 * auc - 1, abs=1e-6)


def test_advantage_knows_the_order_of_logits_only():
  real, fake = jax.random.normal(jax.random.key(0), (2, 30))
  assert advantage(real, fake) == advantage(100 * real + 7, 100 * fake + 7)
  assert advantage(real, real) == 0
  assert advantage(real + 100, fake) == 1
  assert advantage(real - 100, fake) == -1


# A k that follows it


def test_k_rises_where_the_discriminator_is_behind_and_falls_where_it_is_ahead():
  balance = Balance(target=0.5)
  start = balance.start()
  assert balance.adapt(start, jnp.float32(0.1)).k > 1
  assert balance.adapt(start, jnp.float32(0.9)).k < 1
  assert balance.adapt(start, jnp.float32(0.5)).k == 1


def test_log2_k_is_the_gain_times_what_the_mean_lacks():
  balance = Balance(target=0.5, gain=0.2, memory=0.75)
  control = balance.adapt(balance.start(), jnp.float32(0.1))
  mean = 0.75 * 0.5 + 0.25 * 0.1
  assert control.advantage == pytest.approx(mean, rel=1e-6)
  assert math.log2(control.k) == pytest.approx(0.2 * (0.5 - mean), rel=1e-4)


def test_k_does_not_run_away_while_the_advantage_stays_where_it_is():
  """Near 0 it may mean a good G: k stays at what that advantage is worth."""
  balance = Balance()
  control = balance.start()
  for _ in range(200):
    control = balance.adapt(control, jnp.float32(0.1))
  assert control.k == pytest.approx(2 ** (2 * 0.4), rel=1e-3)


@pytest.mark.parametrize(('measured', 'end'), [(-1.0, 5.0), (1.0, 0.5)])
def test_k_comes_to_its_bounds_and_no_further(measured, end):
  balance = Balance()
  adapt = jax.jit(balance.adapt)
  control = balance.start()
  for _ in range(150):
    control = adapt(control, jnp.float32(measured))
    assert 0.5 <= control.k <= 5
  assert control.k == pytest.approx(end, rel=1e-5)


def test_k_leaves_its_bounds_again():
  """Nothing is wound up: at a bound the controller turns as soon as the mean does."""
  balance = Balance()
  control = balance.start()._replace(k=jnp.float32(5), advantage=jnp.float32(-1))
  for _ in range(10):
    control = balance.adapt(control, jnp.float32(1.0))
  assert control.k < 5


def test_no_credit_is_lost():
  """Updates so far are the integral of k, rounded down, and the first comes at once."""
  balance, rng = Balance(), np.random.default_rng(0)
  control, updates, integral = balance.start(), [], 1.0
  for k in rng.uniform(0.5, 5, 200).astype(np.float32):
    n, control = balance.due(control._replace(k=jnp.float32(k)))
    updates.append(int(n))
    assert abs(sum(updates) - math.floor(integral)) <= 1
    assert 0 <= control.credit - k < 1 + 1e-5
    integral += float(k)
  assert updates[0] == 1
  assert sum(updates) == pytest.approx(integral, abs=6)


def test_a_steady_controller_gives_what_a_fixed_k_gives():
  for k in (0.5, 1.5, 2.0):
    balance, due = Balance(), []
    control = balance.start()._replace(k=jnp.float32(k))
    for _ in range(20):
      n, control = balance.due(control)
      due.append(int(n))
    assert abs(sum(due) - 20 * k) <= 2


def players(psi):
  """D(x) = psi x beside data at 3 and samples at 1, and nobody moves: who is ahead is known."""
  balance = Balance(every=1, n=8, memory=0.5)
  gan, key, state = tiny('wasserstein', shape=(1,), network='dirac', lr=0.0, balance=balance)
  d = state.d.replace(params={'psi': jnp.full(1, psi, jnp.float32)})
  feed = feeds.from_game(lambda key: jnp.full(1, 3.0))
  return stretch.Recipe(gan, 'alternating', None, 4, feed, feed), key, state.replace(d=d)


@pytest.mark.parametrize(
  ('psi', 'ahead', 'k'), [(1.0, 1.0, 0.5), (-1.0, -1.0, 5.0)], ids=['ahead', 'behind']
)
def test_in_training_k_follows_the_held_out_advantage_without_a_new_compilation(psi, ahead, k):
  recipe, key, state = players(psi)
  traces = []

  def counted(*args):
    traces.append(1)
    return stretch.run_steps(recipe, *args)

  run = jax.jit(counted)
  data, ks = Data(()), []
  for _ in range(12):
    before = int(state.d.count)
    state, metrics = run(key, state, data, np.int32(1))
    ks.append(float(state.controls['k'].k))
    assert metrics['k'] == int(state.d.count) - before
  assert ks[-1] == pytest.approx(k, rel=0.01)
  assert len(set(ks)) > 2
  assert metrics['advantage'] == pytest.approx(ahead, abs=0.01)
  state, metrics = run(key, state, data, np.int32(20))
  assert metrics['k'] == pytest.approx(k, abs=0.05)
  assert len(traces) == 1


def test_measurements_come_in_their_turn_only():
  recipe, key, state = players(1.0)
  gan = recipe.gan._replace(balance=recipe.gan.balance._replace(every=5))
  run = jax.jit(functools.partial(stretch.run_steps, recipe._replace(gan=gan)))
  ks = []
  for _ in range(10):
    state, _ = run(key, state, Data(()), np.int32(1))
    ks.append(float(state.controls['k'].k))
  changes = [i + 1 for i in range(10) if ks[i] != ([1.0, *ks])[i]]
  assert changes == [5, 10]
