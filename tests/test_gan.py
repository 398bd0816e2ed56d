import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import gan as gan_lib
from gan_jax.latents import sample as sample_latents
from gan_jax.losses import LOSSES
from gan_jax.penalties import weighted_sum
from gan_jax.randomness import example_keys
from tests.games import assert_close, assert_equal, batch, differs, tiny

BOTH = pytest.mark.parametrize('update', gan_lib.UPDATES)


def logits(gan, d_params, key, images):
  return gan.discriminator.apply({'params': d_params}, images, train=True, rngs={'dropout': key})


def paint(gan, g_params, key, n):
  latents = sample_latents(gan.latent, example_keys(key, n, None))
  return gan.generator.apply({'params': g_params}, latents, train=True)


@pytest.mark.parametrize('loss', LOSSES)
def test_each_update_moves_only_its_own_player(loss):
  gan, key, state = tiny(loss)
  after_d, _ = gan_lib.update_discriminator(gan, key, state, batch(4))
  after_g, _ = gan_lib.update_generator(gan, key, state, batch(4))
  assert_equal(after_d.g, state.g)
  assert_equal(after_d.g_ema, state.g_ema)
  assert_equal(after_g.d, state.d)
  assert differs(after_d.d.params, state.d.params)
  assert differs(after_g.g.params, state.g.params)
  assert (after_d.step, after_g.step) == (0, 1)


@pytest.mark.parametrize('loss', LOSSES)
def test_updates_descend_the_losses_written_by_hand(loss):
  """SGD with rate lr moves each player by -lr times the gradient of its formula."""
  gan, key, state = tiny(loss, lr=0.1)
  images = batch(4)
  z_key, dropout_key = jax.random.split(key)
  real_key, fake_key = jax.random.split(dropout_key)

  def d_loss(params):
    real = jax.nn.sigmoid(logits(gan, params, real_key, images))
    fake = jax.nn.sigmoid(logits(gan, params, fake_key, paint(gan, state.g.params, z_key, 4)))
    return -jnp.mean(jnp.log(real)) - jnp.mean(jnp.log(1 - fake))

  def g_loss(params):
    fake = jax.nn.sigmoid(logits(gan, state.d.params, fake_key, paint(gan, params, z_key, 4)))
    return jnp.mean(jnp.log(1 - fake)) if loss == 'saturating' else -jnp.mean(jnp.log(fake))

  after_d, d_metrics = gan_lib.update_discriminator(gan, key, state, images)
  after_g, g_metrics = gan_lib.update_generator(gan, key, state, images)
  for after, before, fn in (
    (after_d.d.params, state.d.params, d_loss),
    (after_g.g.params, state.g.params, g_loss),
  ):
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, before, jax.grad(fn)(before))
    assert_close(after, expected, rtol=1e-4, atol=1e-6)
  assert d_metrics['d_loss'] == pytest.approx(float(d_loss(state.d.params)), rel=1e-5)
  assert g_metrics['g_loss'] == pytest.approx(float(g_loss(state.g.params)), rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_gradients_agree_with_finite_differences(loss):
  """Central differences of both losses along random directions, in float64."""
  with jax.enable_x64(True):
    gan, key, state = tiny(loss, lr=1.0)
    state = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state)
    images = batch(4).astype(jnp.float64)

    def losses(state):
      return (
        gan_lib.update_discriminator(gan, key, state, images)[1]['d_loss'],
        gan_lib.update_generator(gan, key, state, images)[1]['g_loss'],
      )

    after_d, _ = gan_lib.update_discriminator(gan, key, state, images)
    after_g, _ = gan_lib.update_generator(gan, key, state, images)
    for i, player, after in ((0, 'd', after_d.d), (1, 'g', after_g.g)):
      params = getattr(state, player).params
      grads = jax.tree.map(jnp.subtract, params, after.params)  # SGD of rate 1
      leaves, tree = jax.tree.flatten(params)
      keys = jax.random.split(jax.random.key(4), len(leaves))
      direction = tree.unflatten(
        [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
      )

      def moved(h, i=i, player=player, params=params, direction=direction):
        there = optax.apply_updates(params, jax.tree.map(lambda d: h * d, direction))
        return losses(state.replace(**{player: getattr(state, player).replace(params=there)}))[i]

      slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
      expected = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
      assert float(slope) == pytest.approx(float(expected), rel=1e-4)


def test_both_generator_losses_rest_where_the_discriminator_is_flat():
  """A D that is 1/2 everywhere teaches nothing: saturating and non-saturating share that fixed point."""
  for loss in LOSSES:
    gan, key, state = tiny(loss)
    flat = jax.tree.map(jnp.zeros_like, state.d.params)
    state = state.replace(d=state.d.replace(params=flat))
    after, metrics = gan_lib.update_generator(gan, key, state, batch(4))
    assert_equal(after.g.params, state.g.params)
    assert abs(metrics['g_loss']) == pytest.approx(np.log(2), rel=1e-6)


@BOTH
def test_loss_is_2_log_2_where_the_discriminator_cannot_tell(update):
  gan, key, state = tiny()
  flat = jax.tree.map(jnp.zeros_like, state.d.params)
  state = state.replace(d=state.d.replace(params=flat))
  _, metrics = gan_lib.UPDATES[update](gan, key, state, batch(1, 4))
  assert metrics['d_loss'] == pytest.approx(2 * np.log(2), rel=1e-6)
  assert metrics['d_real'] == metrics['d_fake'] == 0.5


@pytest.mark.parametrize('k', [1, 2, 5])
def test_k_masked_equals_k_short(k):
  gan, key, state = tiny()
  images = batch(5, 4)
  masked, masked_metrics = jax.jit(
    lambda state, k: gan_lib.alternating_step(gan, key, state, images, k)
  )(state, k)
  short, metrics = jax.jit(lambda state: gan_lib.alternating_step(gan, key, state, images[:k]))(
    state
  )
  assert_close(masked, short, rtol=1e-6, atol=1e-7)
  assert_close(masked_metrics, metrics, rtol=1e-6)


def test_alternating_is_algorithm_1_by_hand():
  gan, key, state = tiny()
  images = batch(3, 4)
  d_key, g_key = jax.random.split(key)
  expected = state
  for i in range(3):
    i_key = jax.random.fold_in(d_key, i)
    expected, _ = gan_lib.update_discriminator(gan, i_key, expected, images[i])
  expected, _ = gan_lib.update_generator(gan, g_key, expected, images[0])
  actual, _ = gan_lib.alternating_step(gan, key, state, images)
  assert_close(actual, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('penalty', [None, weighted_sum({'r1': 2.0})])
def test_simultaneous_equals_a_reference_written_by_hand(penalty):
  """One set of fakes, one dropout mask on them, both gradients at the old weights."""
  gan, key, state = tiny(penalty=penalty, lr=0.1)
  images = batch(1, 4)
  z_key, dropout_key = jax.random.split(key)
  real_key, fake_key = jax.random.split(dropout_key)
  fakes = paint(gan, state.g.params, z_key, 4)

  def d_objective(params):
    loss = gan.loss.discriminator(
      logits(gan, params, real_key, images[0]), logits(gan, params, fake_key, fakes)
    )
    if penalty is None:
      return loss
    return loss + penalty(lambda x: logits(gan, params, real_key, x), images[0], fakes, key)

  def g_objective(params):
    fake = logits(gan, state.d.params, fake_key, paint(gan, params, z_key, 4))
    return gan.loss.generator(fake, fake)

  after, _ = gan_lib.simultaneous_step(gan, key, state, images)
  for player, objective in (('d', d_objective), ('g', g_objective)):
    before = getattr(state, player).params
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, before, jax.grad(objective)(before))
    assert_close(getattr(after, player).params, expected, rtol=1e-4, atol=1e-6)
  assert after.step == 1


def test_simultaneous_differs_from_alternating():
  gan, key, state = tiny()
  results = [update(gan, key, state, batch(1, 4))[0] for update in gan_lib.UPDATES.values()]
  assert differs(results[0].g.params, results[1].g.params)


def test_average_follows_the_weights_with_a_warm_up():
  """decay_t = min(decay, (1 + t) / (10 + t))."""
  gan, key, state = tiny(ema_decay=0.3)
  expected = state.g.params
  for t in range(6):
    state, _ = gan_lib.alternating_step(gan, jax.random.fold_in(key, t), state, batch(1, 4))
    decay = min(0.3, (1 + t) / (10 + t))
    expected = jax.tree.map(lambda e, w, d=decay: d * e + (1 - d) * w, expected, state.g.params)
  assert_close(state.g_ema, expected, rtol=1e-5, atol=1e-7)


@BOTH
def test_a_state_can_be_donated(update):
  """No buffer stands in it twice, neither at first nor later."""
  gan, key, state = tiny()
  step = jax.jit(
    lambda state: gan_lib.UPDATES[update](gan, key, state, batch(1, 4))[0], donate_argnums=0
  )
  for _ in range(3):
    state = step(state)
  assert state.step == 3


@BOTH
def test_same_key_same_step(update):
  gan, key, state = tiny()
  step = gan_lib.UPDATES[update]
  assert_equal(step(gan, key, state, batch(1, 4)), step(gan, key, state, batch(1, 4)))
  other = jax.random.fold_in(key, 1)
  assert differs(step(gan, key, state, batch(1, 4))[0], step(gan, other, state, batch(1, 4))[0])


def test_a_trained_discriminator_approaches_the_optimum_of_two_gaussians():
  """Against a fixed G, D(x) tends to p / (p + q): proposition 1 of Goodfellow et al. (2014).

  Data N(1, 1), samples N(-1, 1): the optimal logit is 2 x, and a logistic D can represent it.
  """
  key = jax.random.key(0)
  real = 1 + jax.random.normal(key, (20_000,))
  fake = -1 + jax.random.normal(jax.random.fold_in(key, 1), (20_000,))
  loss = LOSSES['non_saturating'].discriminator
  objective = lambda w: loss(w[0] * real + w[1], w[0] * fake + w[1])
  tx = optax.adam(0.05)

  def step(carry, _):
    w, opt_state = carry
    updates, opt_state = tx.update(jax.grad(objective)(w), opt_state, w)
    return (optax.apply_updates(w, updates), opt_state), None

  start = jnp.zeros(2)
  (w, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=400)
  np.testing.assert_allclose(w, [2.0, 0.0], atol=0.06)
  # log 4 - 2 JSD, the JSD by quadrature.
  x = np.linspace(-12, 12, 20_001)
  p, q = (np.exp(-((x - m) ** 2) / 2) / np.sqrt(2 * np.pi) for m in (1, -1))
  m = (p + q) / 2
  jsd = np.trapezoid(p * np.log(p / m) + q * np.log(q / m), x) / 2
  assert float(objective(w)) == pytest.approx(np.log(4) - 2 * jsd, abs=0.01)
