import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from gan_jax import feeds, sampling, stretch
from gan_jax.balance import Balance, Ratio, advantage, cross_entropy, ratio
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


# A k that follows what D gains


def test_cross_entropy_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  real, fake = rng.normal(0.7, 1, 60), rng.normal(0, 1, 60)
  labels = np.repeat([1, 0], 60)
  theirs = log_loss(labels, 1 / (1 + np.exp(-np.concatenate([real, fake]))))
  assert cross_entropy(jnp.asarray(real), jnp.asarray(fake)) == pytest.approx(2 * theirs, rel=1e-5)


@pytest.mark.parametrize('tied', [False, True])
def test_advantage_is_2_auc_less_1(tied):
  rng = np.random.default_rng(0)
  real, fake = rng.normal(0.7, 1, 60), rng.normal(0, 1, 40)
  if tied:
    real, fake = real.round(), fake.round()
  auc = roc_auc_score(np.repeat([1, 0], [60, 40]), np.concatenate([real, fake]))
  assert advantage(jnp.asarray(real), jnp.asarray(fake)) == pytest.approx(2 * auc - 1, abs=1e-6)


def test_k_rises_where_updates_of_d_gain_much_and_falls_where_they_gain_little():
  balance = Balance(target=0.02)
  control = balance.start()._replace(k=jnp.float32(2))
  assert balance.adapt(control, jnp.float32(0.1)).k > 2
  assert balance.adapt(control, jnp.float32(0.0)).k < 2
  assert balance.adapt(control, jnp.float32(0.02)).k == 2


def test_log2_k_moves_by_the_rate_times_what_the_mean_exceeds_the_target():
  balance = Balance(target=0.1, rate=0.2, memory=0.75)
  control = balance.adapt(balance.start(), jnp.float32(0.14))
  mean = 0.75 * 0.1 + 0.25 * 0.14
  assert control.gain == pytest.approx(mean, rel=1e-6)
  moved = math.log2(control.k / balance.start().k)
  assert moved == pytest.approx(0.2 * (mean / 0.1 - 1), rel=1e-4)


def test_k_starts_midway_between_its_bounds_in_octaves():
  balance = Balance(low=0.5, high=8.0)
  assert float(balance.start().k) == pytest.approx(2.0)


@pytest.mark.parametrize(('measured', 'end'), [(1.0, 5.0), (-1.0, 1.0)])
def test_k_comes_to_its_bounds_and_no_further(measured, end):
  balance = Balance()
  adapt = jax.jit(balance.adapt)
  control, last = balance.start()._replace(k=jnp.float32(2)), 2.0
  for _ in range(20):
    control = adapt(control, jnp.float32(measured))
    assert 1 <= control.k <= 5
    assert abs(math.log2(control.k / last)) <= balance.rate + 1e-5
    last = float(control.k)
  assert control.k == end


def test_k_leaves_its_bounds_again():
  """Nothing is wound up: at a bound the controller turns as soon as the mean does."""
  balance = Balance()
  control = balance.start()._replace(k=jnp.float32(5), gain=jnp.float32(0.1))
  for _ in range(5):
    control = balance.adapt(control, jnp.float32(0.0))
  assert control.k < 5


def test_what_looking_ahead_costs():
  balance = Balance(every=10, ahead=3)
  assert [balance.spent(steps) for steps in (0, 9, 10, 25)] == [0, 0, 3, 6]


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


def players(psi, lr=0.5):
  """D(x) = psi x beside data at 3 and samples at 1, where psi has to grow; G stands still."""
  balance = Balance(target=0.01, every=1, n=8, ahead=2, memory=0.0)
  gan, key, state = tiny('wasserstein', shape=(1,), network='dirac', lr=lr, balance=balance)
  gan = gan._replace(g_rate=lambda step: 0.0)
  d = state.d.replace(params={'psi': jnp.full(1, psi, jnp.float32)})
  feed = feeds.from_game(lambda key: jnp.full(1, 3.0))
  return stretch.Recipe(gan, 'alternating', None, 4, feed, feed), key, state.replace(d=d)


def test_the_gain_is_that_of_a_look_ahead_which_leaves_no_trace():
  """By hand: psi grows by lr times (3 - 1) at every update, and the paired log-odds are 2 psi and -2 psi."""
  recipe, key, state = players(psi=0.1, lr=0.05)
  theta = float(sampling.points(recipe.gan, state.g.weights, jnp.zeros((1, 1)))[0, 0])
  new, metrics = jax.jit(functools.partial(stretch.run_steps, recipe))(
    key, state, Data(()), np.int32(1)
  )
  gap = 3 - theta
  psi = float(new.d.params['psi'][0])
  assert psi == pytest.approx(0.1 + 0.05 * gap, rel=1e-5)  # one update, not three
  assert int(new.d.count) == 1
  cost = lambda psi: 2 * np.log1p(np.exp(-gap * psi))
  assert metrics['gain'] == pytest.approx((cost(psi) - cost(psi + 0.1 * gap)) / 2, rel=1e-4)


def test_a_gain_counts_for_nothing_where_d_is_not_ahead():
  recipe, key, state = players(psi=-30.0)
  _, metrics = jax.jit(functools.partial(stretch.run_steps, recipe))(
    key, state, Data(()), np.int32(1)
  )
  assert metrics['gain'] == 0


@pytest.mark.parametrize(
  ('lr', 'k'), [(0.03, 5.0), (1e-6, 1.0)], ids=['D has much to learn', 'D learns nothing']
)
def test_in_training_k_follows_the_gain_without_a_new_compilation(lr, k):
  recipe, key, state = players(0.01, lr)
  state = state.replace(controls={'k': state.controls['k']._replace(k=jnp.float32(2))})
  traces = []

  def counted(*args):
    traces.append(1)
    return stretch.run_steps(recipe, *args)

  run = jax.jit(counted)
  data, ks = Data(()), []
  for _ in range(4):
    before = int(state.d.count)
    state, metrics = run(key, state, data, np.int32(1))
    ks.append(float(state.controls['k'].k))
    assert metrics['k'] == int(state.d.count) - before
  assert ks[-1] == k
  assert len(set(ks)) > 1
  assert len(traces) == 1


def test_measurements_come_in_their_turn_only():
  recipe, key, state = players(0.01, 0.03)
  gan = recipe.gan._replace(balance=recipe.gan.balance._replace(every=5))
  run = jax.jit(functools.partial(stretch.run_steps, recipe._replace(gan=gan)))
  ks = [float(state.controls['k'].k)]
  for _ in range(10):
    state, _ = run(key, state, Data(()), np.int32(1))
    ks.append(float(state.controls['k'].k))
  changes = [i for i in range(1, 11) if ks[i] != ks[i - 1]]
  assert changes == [5, 10]
