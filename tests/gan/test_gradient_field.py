"""Update rules that move along the field of both players, against that field written by hand, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import optimizers
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.penalties import make_penalties
from tests.helpers.smooth_game import (
  ADAM,
  KEY,
  SGD,
  N,
  apply_discriminator,
  assert_close,
  compiled_step,
  get_batch,
  initial_state,
  smooth_gan,
  update_rule,
)
from tests.helpers.tiny_gan import jit_unoptimized, trees_differ


@pytest.fixture(autouse=True)
def wide():
  with jax.enable_x64(True):
    yield


@functools.cache
def field(consensus=0.0):
  """The field (w, i): what both players descend at all weights w in one vector, on minibatch i."""
  gan, start = smooth_gan(), initial_state()
  z_key, _ = jax.random.split(KEY)
  latents = sample_latents(gan.latent, example_keys(z_key, N, None))
  unravel = ravel_pytree((start.d.params, start.g.params))[1]

  def d_loss(d, real, fakes):
    slope = jax.vmap(jax.grad(lambda x: apply_discriminator(gan, d, x[None])[0]))(real)
    r1 = 0.3 / 2 * jnp.mean(jnp.sum(slope**2, 1))
    loss = jnp.mean(jax.nn.softplus(-apply_discriminator(gan, d, real)))
    return loss + jnp.mean(jax.nn.softplus(apply_discriminator(gan, d, fakes))) + r1

  def plain(w, i):
    d, g = unravel(w)
    paint = lambda g: gan.generator.apply({'params': g}, latents, None, train=True)
    d_slope = jax.grad(d_loss)(d, get_batch(i).images, paint(g))
    g_slope = jax.grad(lambda g: jnp.mean(jax.nn.softplus(-apply_discriminator(gan, d, paint(g)))))(
      g
    )
    return ravel_pytree((d_slope, g_slope))[0]

  def agreeing(w, i):
    slope, pull = jax.vjp(lambda w: plain(w, i), w)
    return slope + consensus * pull(slope)[0]

  return jit_unoptimized(agreeing if consensus else plain)


def weights(state):
  """D's before G's, in one vector."""
  return ravel_pytree((state.d.params, state.g.params))[0]


def rates():
  """Of each of the weights."""
  start = initial_state()
  sizes = [ravel_pytree(player.params)[0].size for player in (start.d, start.g)]
  return np.repeat([0.2, 0.1], sizes)


def three_steps(name, tx=SGD):
  """The number of each step, and the weights after it."""
  state = initial_state(name, tx)
  for i in range(3):
    state, _ = compiled_step(name, tx)(state)
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
  w = weights(initial_state())
  for i, found in three_steps(name):
    w = w - rates() * field(consensus)(w, i)
    assert_close(found, w)


def test_a_consensus_of_0_is_none():
  """Also where it is traced, and goes the long way."""
  gan = smooth_gan('simultaneous')
  step = jit_unoptimized(
    lambda c: update_rule('simultaneous')(
      gan._replace(consensus=c), KEY, initial_state(), get_batch, 1
    )[0]
  )
  none, _ = compiled_step('simultaneous')(initial_state())
  some, _ = compiled_step('consensus')(initial_state('consensus'))
  assert_close(step(0.0), none, rtol=1e-12)
  assert_close(step(0.4), some, rtol=1e-12)
  assert trees_differ(some.g.params, none.g.params)


def test_extragradient_is_the_field_one_update_ahead():
  w = weights(initial_state())
  for i, found in three_steps('extragradient'):
    w = w - rates() * field()(w - rates() * field()(w, i), i)
    assert_close(found, w)


def test_extragradient_with_adam_is_algorithm_4_of_gidel_et_al():
  """The moments take in both gradients; the update starts from where the look ahead did."""
  w, move = weights(initial_state()), adam(rates())
  for i, found in three_steps('extragradient', ADAM):
    ahead = w + move(field()(w, i))
    w = w + move(field()(ahead, i))
    assert_close(found, w, rtol=1e-7)


def test_time_stands_still_while_extragradient_looks_ahead():
  """The average moves once, from the weights before to the weights after: decay 1/10 at first."""
  start = initial_state()
  after, _ = compiled_step('extragradient')(initial_state('extragradient'))
  mix = lambda old, new: 0.1 * old + 0.9 * new
  expected = jax.tree.map(mix, start.g_ema.params, after.g.params)
  assert_close(after.g_ema.params, expected, rtol=1e-6)


def test_both_gradients_of_extragradient_are_of_one_time():
  """A lazy penalty has its turn in both or in neither; rates and noise are those of the step."""
  plain = {'penalties': make_penalties({'r1': 0.6}), 'noise': lambda step: jnp.full((), 0.1)}
  timed = {
    'penalties': make_penalties({'r1': 0.3}, {'r1': 2}),
    'noise': lambda step: 0.1 / (1 + step),
    'g_rate': lambda step: 0.1 / (1 + step),
    'd_rate': lambda step: 0.2 / (1 + step),
  }
  one, other = (
    jit_unoptimized(
      functools.partial(
        update_rule('extragradient'), smooth_gan(**options), KEY, get_batch=get_batch, n_d=1
      )
    )(initial_state())
    for options in (plain, timed)
  )
  assert_close(one, other)


def test_optimistic_takes_twice_this_update_less_the_last():
  w, before = weights(initial_state()), 0
  for i, found in three_steps('optimistic'):
    u = -rates() * field()(w, i)
    w, before = w + 2 * u - before, u
    assert_close(found, w)


def test_optimistic_adam_is_algorithm_1_of_daskalakis_et_al():
  w, before, move = weights(initial_state()), 0, adam(rates())
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
  w = weights(initial_state())
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
  w, unravel = ravel_pytree((initial_state().d.params, initial_state().g.params))
  at = initial_state('simultaneous')
  if name == 'extragradient':
    d, g = unravel(w - rates() * field()(w, 0))
    at = at.replace(d=at.d.replace(params=d), g=at.g.replace(params=g))
  _, expected = compiled_step('simultaneous')(at)
  _, metrics = compiled_step(name)(initial_state(name))
  assert_close(metrics, expected)
