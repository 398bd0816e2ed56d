"""Laws of every update rule, on two smooth little networks over points of the plane, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gan_jax.data.device_batches import Batch
from gan_jax.gan import forward, player_updates, update_rules
from gan_jax.gan.gan import Weights
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.smooth_game import (
  KEY,
  N,
  apply_discriminator,
  assert_close,
  compiled_step,
  get_batch,
  initial_state,
  minibatches,
  smooth_gan,
  update_rule,
)
from tests.helpers.tiny_gan import assert_trees_equal, jit_unoptimized, trees_differ

ALL = pytest.mark.parametrize('name', [*UPDATE_RULES, 'consensus'])


@pytest.fixture(autouse=True)
def wide():
  with jax.enable_x64(True):
    yield


# Each rule.


@ALL
def test_the_same_key_gives_the_same_step(name):
  step = compiled_step(name)
  once, again = step(initial_state(name)), step(initial_state(name))
  assert_trees_equal(once, again)
  other, _ = step(initial_state(name), key=jax.random.fold_in(KEY, 1))
  assert trees_differ(once[0].g.params, other.g.params)


@ALL
def test_a_donated_state_is_used_up_and_its_step_goes_on(name):
  """No buffer stands in it twice, neither at first nor later, and none is left over."""
  state = initial_state(name)
  for t in range(3):
    before = state
    state, _ = compiled_step(name)(before)
    assert all(x.is_deleted() for x in jax.tree.leaves(before))
    assert state.step == state.d.count == state.g.count == t + 1


@ALL
def test_four_shards_equal_the_whole_batch(name):
  gan, state = smooth_gan(name), initial_state(name)
  n_d = 2 if name in update_rules.RULES_WITH_K else 1

  def on_shard(shard, n_d):
    own = lambda i: Batch(shard[i % 5])
    return update_rule(name)(gan, KEY, state, own, n_d, axis_name='data')

  shards = jnp.asarray(minibatches()).reshape(5, 4, N // 4, 2)
  several = jit_unoptimized(jax.vmap(on_shard, in_axes=(1, None), axis_name='data'))(shards, n_d)
  whole = compiled_step(name)(initial_state(name), n_d)
  for shard in range(4):
    assert_close(jax.tree.map(lambda x, shard=shard: x[shard], several), whole)


# Rules with a k.


@pytest.mark.parametrize('name', sorted(update_rules.RULES_WITH_K))
def test_no_update_of_d_leaves_it_as_it_was(name):
  (state, metrics), start = compiled_step(name)(initial_state(name), 0), initial_state(name)
  assert_trees_equal(state.d, start.d)
  assert trees_differ(state.g.params, start.g.params)
  assert state.step == state.g.count == 1
  assert all(metrics[each] == 0 for each in metrics if each.startswith('d_'))


@pytest.mark.parametrize('n_d', [1, 3])
def test_a_traced_k_equals_a_static_one(n_d):
  gan = smooth_gan()
  static = jit_unoptimized(
    lambda state: update_rule('alternating')(gan, KEY, state, get_batch, n_d)
  )(initial_state())
  traced = compiled_step('alternating')(initial_state(), n_d)
  assert_close(static, traced, rtol=1e-12, atol=1e-14)
  if n_d == 1:
    assert_trees_equal(static, traced)


def test_alternating_is_k_updates_of_d_then_one_of_g_and_its_d_metrics_are_sums():
  """D meets a new minibatch each time, G the first of them."""
  gan, state = smooth_gan(), initial_state()
  d_key, g_key = jax.random.split(KEY)
  update_d = jit_unoptimized(functools.partial(player_updates.update_discriminator, gan))
  sums = {}
  for i in range(3):
    state, metrics = update_d(jax.random.fold_in(d_key, i), state, get_batch(i))
    sums = {each: sums.get(each, 0) + x for each, x in metrics.items()}
  state, g_metrics = jit_unoptimized(functools.partial(player_updates.update_generator, gan))(
    g_key, state, get_batch(0)
  )
  actual, metrics = compiled_step('alternating')(initial_state(), 3)
  assert_close(actual, state)
  assert_close(metrics, {**sums, **g_metrics, 'd_updates': 3.0})


def test_each_update_of_d_meets_the_next_minibatch_whatever_k_is():
  """G meets the first of D's, or, where D rests, the one that D meets next."""
  met = []

  def noted(i):
    jax.debug.callback(lambda i: met[-1].append(int(i)), i)
    return get_batch(i)

  gan, state = smooth_gan(penalties=()), initial_state()
  step = jit_unoptimized(
    lambda state, n_d: update_rule('alternating')(gan, KEY, state, noted, n_d)[0]
  )
  for n_d in (2, 0, 1):
    met.append([])
    state = step(state, n_d)
    jax.effects_barrier()
  assert [sorted(each) for each in met] == [[0, 0, 1], [2], [2, 2]]


def test_unrolling_no_step_is_alternating():
  gan = smooth_gan('unrolled', unroll=0)
  none, metrics = jit_unoptimized(
    lambda n_d: update_rule('unrolled')(gan, KEY, initial_state(), get_batch, n_d)
  )(1)
  assert_close((none, metrics), compiled_step('alternating')(initial_state()), rtol=1e-12)
  ahead, _ = compiled_step('unrolled')(initial_state())
  assert_close(ahead.d, none.d, rtol=1e-12)
  assert trees_differ(ahead.g.params, none.g.params)


def test_unrolled_follows_finite_differences_through_the_updates_of_d():
  """G's direction is the slope of its loss against the D that two more updates would make."""
  gan, start, batch = smooth_gan('unrolled'), initial_state(), get_batch(0)
  after, _ = compiled_step('unrolled')(initial_state())
  _, g_key = jax.random.split(KEY)
  z_key, look_key = jax.random.split(g_key)
  flat, unravel = ravel_pytree(start.g.params)

  @jit_unoptimized
  def looked_ahead(flat):
    fakes, _ = forward.generate(gan, Weights(unravel(flat), {}), z_key, batch, None)
    loss = lambda d: player_updates.discriminator_loss(gan, start, d, look_key, batch, fakes, None)[
      0
    ]
    d = after.d.params  # its own update came before
    for _ in range(2):
      d = jax.tree.map(lambda x, slope: x - 0.2 * slope, d, jax.grad(loss)(d))
    return jnp.mean(jax.nn.softplus(-apply_discriminator(gan, d, fakes)))

  moved = ravel_pytree(after.g.params)[0] - flat
  h = 1e-5
  slopes = [
    (looked_ahead(flat + e) - looked_ahead(flat - e)) / (2 * h) for e in h * np.eye(flat.size)
  ]
  assert_close(moved, -0.1 * np.array(slopes), rtol=1e-6, atol=1e-9)


# Costs.


@pytest.mark.parametrize('name', sorted(UPDATE_RULES.keys() - {'unrolled'}))
def test_gradient_evaluations_are_as_many_as_the_losses_met(name):
  met, loss = [], LOSSES['non_saturating']

  def noted(fn):
    def call(real, fake):
      met.append(fn)
      return fn(real, fake)

    return call

  counted = loss._replace(discriminator=noted(loss.discriminator), generator=noted(loss.generator))
  gan, state = smooth_gan(name, loss=counted), initial_state(name)
  jax.eval_shape(lambda: update_rule(name)(gan, KEY, state, get_batch, 1))
  assert len(met) == update_rules.gradient_evaluations(name, 0, steps=1, d_updates=1)
  assert met.count(loss.discriminator) == met.count(loss.generator)


def test_gradient_evaluations_count_updates_and_unrolled_ones_twice():
  """An unrolled update is gone through forwards and backwards."""
  count = update_rules.gradient_evaluations
  assert count('alternating', 0, steps=10, d_updates=50) == 60
  assert count('alternating', 5, steps=10, d_updates=5) == 15
  assert count('unrolled', 5, steps=10, d_updates=10) == 10 + 10 * 11
  assert count('simultaneous', 0, steps=10, d_updates=10) == 20
  assert count('optimistic', 0, steps=10, d_updates=10) == 20
  assert count('extragradient', 0, steps=10, d_updates=10) == 40
  assert count('rk4', 0, steps=10, d_updates=10) == 80
