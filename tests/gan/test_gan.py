import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import optimizers, player_updates
from gan_jax.gan.augment import ada_controller
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_ratio import RatioController
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.tiny_gan import (
  assert_trees_close,
  assert_trees_equal,
  draw_in_turn,
  jit_unoptimized,
  random_batch,
  random_images,
  replace_params,
  tiny_gan,
  trees_differ,
)

BOTH = pytest.mark.parametrize('update', ['alternating', 'simultaneous'])


def logits(gan, d_params, key, x, labels=None):
  return gan.discriminator.apply({'params': d_params}, x, labels, train=True, rngs={'dropout': key})


def paint(gan, g_params, key, n, labels=None):
  latents = sample_latents(gan.latent, example_keys(key, n, None))
  return gan.generator.apply({'params': g_params}, latents, labels, train=True)


def compiled(fn, gan):
  """`fn(gan, key, state, batch)`, compiled."""
  return jit_unoptimized(functools.partial(fn, gan))


def step(update, gan, n_d=1):
  """step(key, state, images [k, n, ...]), compiled."""
  return jit_unoptimized(
    lambda key, state, x: UPDATE_RULES[update](gan, key, state, draw_in_turn(x), n_d)
  )


def objectives(gan, state, key, data):
  """D's and G's loss as functions of their own weights, from the definition of the game."""
  z_key, dropout_key = jax.random.split(key)
  real_key, fake_key = jax.random.split(dropout_key)

  def game(d_params, g_params):
    fakes = paint(gan, g_params, z_key, len(data.images), data.labels)
    return (
      logits(gan, d_params, real_key, data.images, data.labels),
      logits(gan, d_params, fake_key, fakes, data.labels),
    )

  return {
    'd': lambda params: gan.loss.discriminator(*game(params, state.g.params)),
    'g': lambda params: gan.loss.generator(*game(state.d.params, params)),
  }


@pytest.mark.parametrize(
  ('loss', 'n_classes', 'dropout'),
  [*((loss, 0, False) for loss in LOSSES), ('non_saturating', 3, True)],
)
def test_each_update_moves_its_own_player_along_its_gradient_and_no_other(loss, n_classes, dropout):
  """SGD with rate lr moves a player by -lr times the gradient of its loss."""
  gan, key, state = tiny_gan(loss, lr=0.1, n_classes=n_classes, dropout=dropout)
  data = random_batch(4, n_classes=n_classes)
  after_d, d_metrics = compiled(player_updates.update_discriminator, gan)(key, state, data)
  after_g, g_metrics = compiled(player_updates.update_generator, gan)(key, state, data)
  assert_trees_equal(after_d.g, state.g)
  assert_trees_equal(after_d.g_ema, state.g_ema)
  assert_trees_equal(after_g.d, state.d)
  assert (after_d.step, after_d.d.count) == (0, 1)
  assert (after_g.step, after_g.g.count) == (1, 1)
  by_hand = objectives(gan, state, key, data)
  for player, after, metrics in (('d', after_d, d_metrics), ('g', after_g, g_metrics)):
    before = getattr(state, player).params
    value, grads = jit_unoptimized(jax.value_and_grad(by_hand[player]))(before)
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, before, grads)
    assert trees_differ(expected, before)
    assert_trees_close(getattr(after, player).params, expected, rtol=1e-4, atol=1e-6)
    assert metrics[f'{player}_loss'] == pytest.approx(float(value), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('loss', ['non_saturating', 'relativistic'])
def test_gradients_agree_with_finite_differences(loss):
  """Central differences of both losses along random directions, as well as float32 and kinks allow."""
  gan, key, state = tiny_gan(loss, lr=1.0, dropout=False)
  for player, fn in (
    ('d', compiled(player_updates.update_discriminator, gan)),
    ('g', compiled(player_updates.update_generator, gan)),
  ):
    params = getattr(state, player).params
    after, _ = fn(key, state, random_batch(4))
    grads = jax.tree.map(jnp.subtract, params, getattr(after, player).params)  # rate 1
    rng = np.random.default_rng(4)
    direction = jax.tree.map(lambda x, rng=rng: rng.normal(size=x.shape) / 30, params)

    def loss_at(h, player=player, fn=fn, params=params, direction=direction):
      there = jax.tree.map(lambda x, d: (x + h * d).astype(x.dtype), params, direction)
      return float(
        fn(key, replace_params(state, player, there), random_batch(4))[1][f'{player}_loss']
      )

    slope = (loss_at(0.01) - loss_at(-0.01)) / 0.02
    expected = optax.tree.vdot(grads, direction)
    assert slope == pytest.approx(float(expected), rel=0.03, abs=2e-4)


@pytest.mark.parametrize('loss', ['non_saturating', 'saturating', 'relativistic'])
def test_generators_rest_where_the_discriminator_is_flat(loss):
  """A D that says the same of everything teaches nothing."""
  gan, key, state = tiny_gan(loss, dropout=False)
  state = replace_params(state, 'd', jax.tree.map(jnp.zeros_like, state.d.params))
  after, _ = compiled(player_updates.update_generator, gan)(key, state, random_batch(4))
  assert_trees_equal(after.g.params, state.g.params)


@BOTH
def test_loss_is_2_log_2_where_the_discriminator_cannot_tell(update):
  gan, key, state = tiny_gan()
  state = replace_params(state, 'd', jax.tree.map(jnp.zeros_like, state.d.params))
  _, metrics = step(update, gan)(key, state, random_images(1, 4))
  assert metrics['d_loss'] == pytest.approx(2 * np.log(2), rel=1e-6)
  assert metrics['d_real'] == metrics['d_fake'] == 0.5
  assert (metrics['d_sign'], metrics['d_updates']) == (0, 1)


def test_any_number_of_updates_is_one_program_and_equals_one_made_for_it():
  """Traced, 0 included: then D stands still and G moves all the same."""
  gan, key, state = tiny_gan()
  x = random_images(5, 4)
  traces = []

  def counted(state, n_d):
    traces.append(n_d)
    return UPDATE_RULES['alternating'](gan, key, state, draw_in_turn(x), n_d)

  any_number = jit_unoptimized(counted)
  for n_d in (0, 1, 3):
    there, metrics = any_number(state, jnp.int32(n_d))
    assert (there.d.count, there.step, metrics['d_updates']) == (n_d, 1, n_d)
    if n_d == 0:
      assert_trees_equal(there.d, state.d)
      assert trees_differ(there.g.params, state.g.params)
      assert metrics['d_loss'] == 0
    else:
      made, made_metrics = step('alternating', gan, n_d)(key, state, x)
      assert_trees_close(there, made, rtol=1e-5, atol=1e-6)
      assert_trees_close(metrics, made_metrics, rtol=1e-5)
  assert len(traces) == 1


def test_alternating_is_algorithm_1_by_hand():
  """A fresh minibatch and fresh noise for each update of D; G meets the first minibatch."""
  gan, key, state = tiny_gan()
  x = random_images(3, 4)
  d_key, g_key = jax.random.split(key)
  update_d = compiled(player_updates.update_discriminator, gan)
  expected, losses = state, []
  for i in range(3):
    expected, metrics = update_d(jax.random.fold_in(d_key, i), expected, draw_in_turn(x)(i))
    losses.append(metrics['d_loss'])
  expected, _ = compiled(player_updates.update_generator, gan)(g_key, expected, draw_in_turn(x)(0))
  actual, metrics = step('alternating', gan, 3)(key, state, x)
  assert_trees_close(actual, expected, rtol=1e-4, atol=1e-6)
  assert metrics['d_loss'] == pytest.approx(float(sum(losses)), rel=1e-5)


def test_updates_of_the_discriminator_never_meet_a_minibatch_twice():
  """They count the minibatches, whatever the step; the generator meets that of the first of them."""
  gan, key, state = tiny_gan(dropout=False)

  @jit_unoptimized
  def met(state):
    asked = []
    state, _ = UPDATE_RULES['alternating'](
      gan, key, state, lambda i: asked.append(i) or random_batch(4), 1
    )
    return state, jnp.stack(asked)

  after, first = met(state)
  _, second = met(after)
  assert (first.tolist(), second.tolist()) == ([0, 0], [1, 1])


@pytest.mark.parametrize(
  'terms', [(), make_penalties({'r1': 2.0, 'r2': 1.0})], ids=['plain', 'penalties']
)
def test_simultaneous_equals_a_reference_written_by_hand(terms):
  """One set of fakes, one dropout mask on them, both gradients at the old weights."""
  gan, key, state = tiny_gan(penalties=terms, lr=0.1)
  data = random_batch(4)
  z_key, dropout_key = jax.random.split(key)
  real_key, _ = jax.random.split(dropout_key)
  fakes = paint(gan, state.g.params, z_key, 4)
  by_hand = objectives(gan, state, key, data)

  def d_objective(params):
    critic = lambda x: logits(gan, params, real_key, x)
    penalties = [
      term.weight * term.fn(critic, data.images, fakes, example_keys(key, 4, None), None)
      for term in terms
    ]
    return by_hand['d'](params) + sum(penalties)

  after, _ = step('simultaneous', gan)(key, state, data.images[None])
  for player, objective in (('d', d_objective), ('g', by_hand['g'])):
    before = getattr(state, player).params
    grads = jit_unoptimized(jax.grad(objective))(before)
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, before, grads)
    assert_trees_close(getattr(after, player).params, expected, rtol=1e-4, atol=1e-6)
  assert (after.step, after.d.count, after.g.count) == (1, 1, 1)


def test_consensus_adds_the_gradient_of_half_the_squared_field():
  """v = (grad_d L_D, grad_g L_G); both players also descend the gradient of w/2 |v|^2."""
  gan, key, state = tiny_gan(lr=0.1, consensus=0.7, dropout=False)
  data = random_batch(4)

  def own(d_params, g_params):
    there = replace_params(replace_params(state, 'd', d_params), 'g', g_params)
    by_hand = objectives(gan, there, key, data)
    return jax.grad(by_hand['d'])(d_params), jax.grad(by_hand['g'])(g_params)

  def half_square(d_params, g_params):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(own(d_params, g_params))) / 2

  here = (state.d.params, state.g.params)
  field = jit_unoptimized(own)(*here)
  pull = jit_unoptimized(jax.grad(half_square, (0, 1)))(*here)
  expected = jax.tree.map(lambda w, v, p: w - 0.1 * (v + 0.7 * p), here, field, pull)
  after, _ = step('simultaneous', gan)(key, state, data.images[None])
  assert trees_differ(pull[0], jax.tree.map(jnp.zeros_like, pull[0]))
  assert_trees_close((after.d.params, after.g.params), expected, rtol=1e-3, atol=1e-6)


def test_average_follows_the_weights_with_a_warm_up():
  """decay_t = min(decay, (1 + t) / (10 + t))."""
  gan, key, state = tiny_gan(ema_decay=0.3, dropout=False)
  expected, run = state.g.params, step('alternating', gan)
  for t in range(6):
    state, _ = run(jax.random.fold_in(key, t), state, random_images(1, 4))
    decay = min(0.3, (1 + t) / (10 + t))
    expected = jax.tree.map(lambda e, w, d=decay: d * e + (1 - d) * w, expected, state.g.params)
  assert_trees_close(state.g_ema.params, expected, rtol=1e-5, atol=1e-7)


def everything(update):
  """A game with every part of a state, as `update` wants it."""
  sgd = optimizers.OPTIMIZERS['sgd'](0.0, 0.0, 1)
  return tiny_gan(
    dropout=False,
    g_tx=optimizers.optimistic(sgd) if update == 'optimistic' else sgd,
    d_tx=optimizers.optimistic(sgd) if update == 'optimistic' else sgd,
    unroll=1 if update == 'unrolled' else 0,
    ratio_controller=RatioController(),
    augment='flip',
    ada=functools.partial(ada_controller.update_ada, batch_size=4),
    noise=optax.constant_schedule(0.1),
    spec={'g_norm': 'batch'},
  )


@pytest.mark.parametrize('update', UPDATE_RULES)
def test_a_state_can_be_donated_and_the_same_key_makes_the_same_step(update):
  """No buffer stands in it twice, neither at first nor later."""
  gan, key, state = everything(update)
  run = jit_unoptimized(
    lambda key, state: UPDATE_RULES[update](gan, key, state, draw_in_turn(random_images(1, 4)), 1)[
      0
    ],
    donate_argnums=1,
  )
  starts = [jax.tree.map(jnp.copy, state) for _ in range(3)]
  after = [run(k, start) for k, start in zip((key, key, jax.random.key(8)), starts, strict=True)]
  assert_trees_equal(after[0], after[1])
  assert trees_differ(after[0].g.params, after[2].g.params)
  again = run(key, run(key, state))
  assert (again.step, again.g.count, again.d.count) == (2, 2, 2)
  assert jax.tree.structure(again) == jax.tree.structure(after[0])


def test_a_trained_discriminator_approaches_the_optimum_of_two_gaussians():
  """Against a fixed G, D(x) tends to p / (p + q): proposition 1 of Goodfellow et al. (2014).

  Data N(1, 1), samples N(-1, 1): the optimal logit is 2 x, and a logistic D can represent it.
  """
  key = jax.random.key(0)
  real = 1 + jax.random.normal(key, (20_000,))
  fake = -1 + jax.random.normal(jax.random.fold_in(key, 1), (20_000,))
  loss = LOSSES['non_saturating'].discriminator
  objective = lambda w: loss(w[0] * real + w[1], w[0] * fake + w[1])
  w = jax.lax.fori_loop(0, 400, lambda _, w: w - 0.5 * jax.grad(objective)(w), jnp.zeros(2))
  np.testing.assert_allclose(w, [2.0, 0.0], atol=0.06)
