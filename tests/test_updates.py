"""Laws of every update rule, on two smooth little networks over points of the plane, in float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from gan_jax import gan as gan_lib
from gan_jax import optimizers, updates
from gan_jax.batches import Batch
from gan_jax.gan import Gan
from gan_jax.latents import Latent
from gan_jax.latents import sample as sample_latents
from gan_jax.losses import LOSSES
from gan_jax.penalties import weighted_sum
from gan_jax.randomness import example_keys
from gan_jax.updates import UPDATES

KEY = jax.random.key(7)
N = 8  # points in a minibatch
SGD = optimizers.sgd(0.0, 0.0, 1)
ADAM = optimizers.adam(0.5, 0.9, 1)
ALL = pytest.mark.parametrize('name', [*UPDATES, 'consensus'])
# Programs this small are sooner compiled badly than well.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@pytest.fixture(autouse=True)
def wide():
  with jax.enable_x64(True):
    yield


class Generator(nn.Module):
  """Latents to points; unlike the package's networks it computes in the type of its weights."""

  @nn.compact
  def __call__(self, latents, labels, train, axis_name=None):
    return nn.Dense(2)(nn.tanh(nn.Dense(4)(latents)))


class Discriminator(nn.Module):
  """Points to logits."""

  @nn.compact
  def __call__(self, images, labels, train, axis_name=None):
    return nn.Dense(1)(nn.tanh(nn.Dense(5)(images)))[:, 0]


def game(name='alternating', tx=SGD, **options):
  """A Gan for one of UPDATES or 'consensus'; its players have different rates."""
  tx = optimizers.optimistic(tx) if name == 'optimistic' else tx
  defaults = {
    'loss': LOSSES['non_saturating'],
    'latent': Latent('uniform', 3),
    'g_rate': lambda step: 0.1,
    'd_rate': lambda step: 0.2,
    'ema_decay': 0.9,
    'penalties': weighted_sum({'r1': 0.3}),
    'consensus': 0.4 if name == 'consensus' else 0.0,
    'unroll': 2 if name == 'unrolled' else 0,
  }
  return Gan(Generator(), Discriminator(), g_tx=tx, d_tx=tx, **(defaults | options))


@functools.cache
def points():
  """Of shape [5, N, 2], as numbers of the host."""
  return np.random.default_rng(0).normal(size=(5, N, 2))


def draw(i):
  return Batch(jnp.asarray(points())[i % 5])


@functools.cache
def _players():
  state = jit(functools.partial(gan_lib.init, game()))(KEY, jnp.zeros((1, 2)))
  return jax.device_get(state)


def first(name='alternating', tx=SGD):
  """The same first weights for every game, in buffers of their own and in float64."""
  state = jax.tree.map(
    lambda x: jnp.array(x, jnp.float64 if x.dtype == np.float32 else x.dtype), _players()
  )
  gan = game(name, tx)
  d = state.d.replace(opt_state=gan.d_tx.init(state.d.params))
  return state.replace(d=d, g=state.g.replace(opt_state=gan.g_tx.init(state.g.params)))


def rule(name):
  return UPDATES['simultaneous' if name == 'consensus' else name]


@functools.cache
def compiled(name, tx=SGD):
  """(state, n_d, key) to a step, its state donated."""
  gan = game(name, tx)
  step = lambda state, n_d, key: rule(name)(gan, key, state, draw, n_d)
  donating = jit(step, donate_argnums=0)
  return lambda state, n_d=1, key=KEY: donating(state, n_d, key)


def assert_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_close(left, right, rtol=1e-9, atol=1e-11):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def differs(left, right):
  return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), left, right)))


# Each rule.


@ALL
def test_the_same_key_gives_the_same_step(name):
  step = compiled(name)
  once, again = step(first(name)), step(first(name))
  assert_equal(once, again)
  other, _ = step(first(name), key=jax.random.fold_in(KEY, 1))
  assert differs(once[0].g.params, other.g.params)


@ALL
def test_a_donated_state_is_used_up_and_its_step_goes_on(name):
  """No buffer stands in it twice, neither at first nor later, and none is left over."""
  state = first(name)
  for t in range(3):
    before = state
    state, _ = compiled(name)(before)
    assert all(x.is_deleted() for x in jax.tree.leaves(before))
    assert state.step == state.d.count == state.g.count == t + 1


@ALL
def test_four_shards_equal_the_whole_batch(name):
  gan, state = game(name), first(name)
  n_d = 2 if name in updates.HAVE_K else 1

  def on_shard(shard, n_d):
    own = lambda i: Batch(shard[i % 5])
    return rule(name)(gan, KEY, state, own, n_d, axis_name='data')

  shards = jnp.asarray(points()).reshape(5, 4, N // 4, 2)
  several = jit(jax.vmap(on_shard, in_axes=(1, None), axis_name='data'))(shards, n_d)
  whole = compiled(name)(first(name), n_d)
  for shard in range(4):
    assert_close(jax.tree.map(lambda x, shard=shard: x[shard], several), whole)


# Rules with a k.


@pytest.mark.parametrize('name', sorted(updates.HAVE_K))
def test_no_update_of_d_leaves_it_as_it_was(name):
  (state, metrics), start = compiled(name)(first(name), 0), first(name)
  assert_equal(state.d, start.d)
  assert differs(state.g.params, start.g.params)
  assert state.step == state.g.count == 1
  assert all(metrics[each] == 0 for each in metrics if each.startswith('d_'))


@pytest.mark.parametrize('n_d', [1, 3])
def test_a_traced_k_equals_a_static_one(n_d):
  gan = game()
  static = jit(lambda state: rule('alternating')(gan, KEY, state, draw, n_d))(first())
  traced = compiled('alternating')(first(), n_d)
  assert_close(static, traced, rtol=1e-12, atol=1e-14)
  if n_d == 1:
    assert_equal(static, traced)


def test_alternating_is_k_updates_of_d_then_one_of_g_and_its_d_metrics_are_sums():
  """D meets a new minibatch each time, G the first of them."""
  gan, state = game(), first()
  d_key, g_key = jax.random.split(KEY)
  update_d = jit(functools.partial(gan_lib.update_discriminator, gan))
  sums = {}
  for i in range(3):
    state, metrics = update_d(jax.random.fold_in(d_key, i), state, draw(i))
    sums = {each: sums.get(each, 0) + x for each, x in metrics.items()}
  state, g_metrics = jit(functools.partial(gan_lib.update_generator, gan))(g_key, state, draw(0))
  actual, metrics = compiled('alternating')(first(), 3)
  assert_close(actual, state)
  assert_close(metrics, {**sums, **g_metrics, 'd_updates': 3.0})


def test_each_update_of_d_meets_the_next_minibatch_whatever_k_is():
  """G meets the first of D's, or, where D rests, the one that D meets next."""
  met = []

  def noted(i):
    jax.debug.callback(lambda i: met[-1].append(int(i)), i)
    return draw(i)

  gan, state = game(penalties=()), first()
  step = jit(lambda state, n_d: rule('alternating')(gan, KEY, state, noted, n_d)[0])
  for n_d in (2, 0, 1):
    met.append([])
    state = step(state, n_d)
    jax.effects_barrier()
  assert [sorted(each) for each in met] == [[0, 0, 1], [2], [2, 2]]


def test_unrolling_no_step_is_alternating():
  gan = game('unrolled', unroll=0)
  none, metrics = jit(lambda n_d: rule('unrolled')(gan, KEY, first(), draw, n_d))(1)
  assert_close((none, metrics), compiled('alternating')(first()), rtol=1e-12)
  ahead, _ = compiled('unrolled')(first())
  assert_close(ahead.d, none.d, rtol=1e-12)
  assert differs(ahead.g.params, none.g.params)


def test_unrolled_follows_finite_differences_through_the_updates_of_d():
  """G's direction is the slope of its loss against the D that two more updates would make."""
  gan, start, batch = game('unrolled'), first(), draw(0)
  after, _ = compiled('unrolled')(first())
  _, g_key = jax.random.split(KEY)
  z_key, look_key = jax.random.split(g_key)
  flat, unravel = ravel_pytree(start.g.params)

  @jit
  def looked_ahead(flat):
    fakes, _ = gan_lib.generate(gan, unravel(flat), {}, z_key, batch, None)
    loss = lambda d: gan_lib.discriminator_loss(gan, start, d, look_key, batch, fakes, None)[0]
    d = after.d.params  # its own update came before
    for _ in range(2):
      d = jax.tree.map(lambda x, slope: x - 0.2 * slope, d, jax.grad(loss)(d))
    return jnp.mean(jax.nn.softplus(-judged(gan, d, fakes)))

  moved = ravel_pytree(after.g.params)[0] - flat
  h = 1e-5
  slopes = [
    (looked_ahead(flat + e) - looked_ahead(flat - e)) / (2 * h) for e in h * np.eye(flat.size)
  ]
  assert_close(moved, -0.1 * np.array(slopes), rtol=1e-6, atol=1e-9)


# Rules on the field of both players, by hand.


def judged(gan, params, x):
  return gan.discriminator.apply({'params': params}, x, None, train=True)


@functools.cache
def field(consensus=0.0):
  """The field (w, i): what both players descend at all weights w in one vector, on minibatch i."""
  gan, start = game(), first()
  z_key, _ = jax.random.split(KEY)
  latents = sample_latents(gan.latent, example_keys(z_key, N, None))
  unravel = ravel_pytree((start.d.params, start.g.params))[1]

  def d_loss(d, real, fakes):
    slope = jax.vmap(jax.grad(lambda x: judged(gan, d, x[None])[0]))(real)
    r1 = 0.3 / 2 * jnp.mean(jnp.sum(slope**2, 1))
    loss = jnp.mean(jax.nn.softplus(-judged(gan, d, real)))
    return loss + jnp.mean(jax.nn.softplus(judged(gan, d, fakes))) + r1

  def plain(w, i):
    d, g = unravel(w)
    paint = lambda g: gan.generator.apply({'params': g}, latents, None, train=True)
    d_slope = jax.grad(d_loss)(d, draw(i).images, paint(g))
    g_slope = jax.grad(lambda g: jnp.mean(jax.nn.softplus(-judged(gan, d, paint(g)))))(g)
    return ravel_pytree((d_slope, g_slope))[0]

  def agreeing(w, i):
    slope, pull = jax.vjp(lambda w: plain(w, i), w)
    return slope + consensus * pull(slope)[0]

  return jit(agreeing if consensus else plain)


def weights(state):
  """D's before G's, in one vector."""
  return ravel_pytree((state.d.params, state.g.params))[0]


def rates():
  """Of each of the weights."""
  start = first()
  sizes = [ravel_pytree(player.params)[0].size for player in (start.d, start.g)]
  return np.repeat([0.2, 0.1], sizes)


def three_steps(name, tx=SGD):
  """The number of each step, and the weights after it."""
  state = first(name, tx)
  for i in range(3):
    state, _ = compiled(name, tx)(state)
    yield i, weights(state)


def adam(rate):
  """Kingma & Ba (2015): each gradient to its update."""
  m = v = t = 0

  def update(g):
    nonlocal m, v, t
    m, v, t = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g**2, t + 1
    return -rate * m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)

  return update


@pytest.mark.parametrize(('name', 'consensus'), [('simultaneous', 0.0), ('consensus', 0.4)])
def test_simultaneous_moves_both_along_the_field(name, consensus):
  """With consensus, along v + c J^T v."""
  w = weights(first())
  for i, found in three_steps(name):
    w = w - rates() * field(consensus)(w, i)
    assert_close(found, w)


def test_a_consensus_of_0_is_none():
  """Also where it is traced, and goes the long way."""
  gan = game('simultaneous')
  step = jit(lambda c: rule('simultaneous')(gan._replace(consensus=c), KEY, first(), draw)[0])
  none, _ = compiled('simultaneous')(first())
  some, _ = compiled('consensus')(first('consensus'))
  assert_close(step(0.0), none, rtol=1e-12)
  assert_close(step(0.4), some, rtol=1e-12)
  assert differs(some.g.params, none.g.params)


def test_extragradient_is_the_field_one_update_ahead():
  w = weights(first())
  for i, found in three_steps('extragradient'):
    w = w - rates() * field()(w - rates() * field()(w, i), i)
    assert_close(found, w)


def test_extragradient_with_adam_is_algorithm_4_of_gidel_et_al():
  """The moments take in both gradients; the update starts from where the look ahead did."""
  w, move = weights(first()), adam(rates())
  for i, found in three_steps('extragradient', ADAM):
    ahead = w + move(field()(w, i))
    w = w + move(field()(ahead, i))
    assert_close(found, w, rtol=1e-7)


def test_time_stands_still_while_extragradient_looks_ahead():
  """The average moves once, from the weights before to the weights after: decay 1/10 at first."""
  start = first()
  after, _ = compiled('extragradient')(first('extragradient'))
  mix = lambda old, new: 0.1 * old + 0.9 * new
  expected = jax.tree.map(mix, start.g_ema.params, after.g.params)
  assert_close(after.g_ema.params, expected, rtol=1e-6)


def test_both_gradients_of_extragradient_are_of_one_time():
  """A lazy penalty has its turn in both or in neither; rates and noise are those of the step."""
  plain = {'penalties': weighted_sum({'r1': 0.6}), 'noise': lambda step: jnp.full((), 0.1)}
  timed = {
    'penalties': weighted_sum({'r1': 0.3}, {'r1': 2}),
    'noise': lambda step: 0.1 / (1 + step),
    'g_rate': lambda step: 0.1 / (1 + step),
    'd_rate': lambda step: 0.2 / (1 + step),
  }
  one, other = (
    jit(functools.partial(rule('extragradient'), game(**options), KEY, draw=draw, n_d=1))(first())
    for options in (plain, timed)
  )
  assert_close(one, other)


def test_optimistic_takes_twice_this_update_less_the_last():
  w, before = weights(first()), 0
  for i, found in three_steps('optimistic'):
    u = -rates() * field()(w, i)
    w, before = w + 2 * u - before, u
    assert_close(found, w)


def test_optimistic_adam_is_algorithm_1_of_daskalakis_et_al():
  w, before, move = weights(first()), 0, adam(rates())
  for i, found in three_steps('optimistic', ADAM):
    u = move(field()(w, i))
    w, before = w + 2 * u - before, u
    assert_close(found, w, rtol=1e-7)


def test_optimistic_adam_is_that_of_optax_after_the_first_update():
  """There optax has the update before the first equal it, and moves half as far; ours is 0."""
  ours = optimizers.optimistic(ADAM)
  theirs = optax.optimistic_adam_v2(0.01, alpha=1.0, beta=1.0, b1=0.5, b2=0.9, nesterov=False)
  params = jnp.zeros(3)
  our_state, their_state = ours.init(params), theirs.init(params)
  rng = np.random.default_rng(2)
  for t in range(5):
    grads = jnp.asarray(rng.normal(size=3))
    mine, our_state = ours.update(grads, our_state, params, learning_rate=0.01)
    other, their_state = theirs.update(grads, their_state, params)
    assert_close(mine, other * (2 if t == 0 else 1))


def test_rk4_is_the_classical_tableau():
  """Time runs for either player at a rate of its own."""
  w = weights(first())
  for i, found in three_steps('rk4'):
    slope = lambda w, i=i: -rates() * field()(w, i)
    a = slope(w)
    b = slope(w + a / 2)
    c = slope(w + b / 2)
    w = w + (a + 2 * b + 2 * c + slope(w + c)) / 6
    assert_close(found, w)


@pytest.mark.parametrize('name', ['extragradient', 'optimistic', 'rk4'])
def test_metrics_are_those_of_one_point(name):
  """Of the point that the gradient comes from: ahead with extragradient, else the start."""
  w, unravel = ravel_pytree((first().d.params, first().g.params))
  at = first('simultaneous')
  if name == 'extragradient':
    d, g = unravel(w - rates() * field()(w, 0))
    at = at.replace(d=at.d.replace(params=d), g=at.g.replace(params=g))
  _, expected = compiled('simultaneous')(at)
  _, metrics = compiled(name)(first(name))
  assert_close(metrics, expected)


# Costs.


@pytest.mark.parametrize('name', sorted(UPDATES.keys() - {'unrolled'}))
def test_gradient_evaluations_are_as_many_as_the_losses_met(name):
  met, loss = [], LOSSES['non_saturating']

  def noted(fn):
    def call(real, fake):
      met.append(fn)
      return fn(real, fake)

    return call

  counted = loss._replace(discriminator=noted(loss.discriminator), generator=noted(loss.generator))
  gan, state = game(name, loss=counted), first(name)
  jax.eval_shape(lambda: rule(name)(gan, KEY, state, draw, 1))
  assert len(met) == updates.gradient_evaluations(name, 0, steps=1, d_updates=1)
  assert met.count(loss.discriminator) == met.count(loss.generator)


def test_gradient_evaluations_count_updates_and_unrolled_ones_twice():
  """An unrolled update is gone through forwards and backwards."""
  count = updates.gradient_evaluations
  assert count('alternating', 0, steps=10, d_updates=50) == 60
  assert count('alternating', 5, steps=10, d_updates=5) == 15
  assert count('unrolled', 5, steps=10, d_updates=10) == 10 + 10 * 11
  assert count('simultaneous', 0, steps=10, d_updates=10) == 20
  assert count('optimistic', 0, steps=10, d_updates=10) == 20
  assert count('extragradient', 0, steps=10, d_updates=10) == 40
  assert count('rk4', 0, steps=10, d_updates=10) == 80
