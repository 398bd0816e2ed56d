import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import player_updates
from gan_jax.gan.penalties import PENALTIES, Penalty, make_penalties, total_penalty
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.tiny_gan import (
  assert_trees_close,
  draw_in_turn,
  jit_unoptimized,
  random_batch,
  random_images,
  tiny_gan,
  trees_differ,
)

KEYS = example_keys(jax.random.key(0), 48, None)
REAL = jax.random.normal(jax.random.key(1), (48, 2, 2, 3))
FAKE = 3 + jax.random.normal(jax.random.key(2), REAL.shape)
SLOPE = jnp.arange(12.0).reshape(2, 2, 3) / 10
FIRST = jnp.zeros((), jnp.int32)


def linear(x):
  """A slope of SLOPE everywhere."""
  return jnp.einsum('nhwc,hwc->n', x, SLOPE)


def quadratic(x):
  """|x|^2 / 2: its slope at x is x."""
  return (x**2).sum(axis=(1, 2, 3)) / 2


def flat(x):
  """No slope at all."""
  return 0 * x.sum(axis=(1, 2, 3))


def value(name, critic, real=REAL, fake=FAKE, keys=KEYS, axis_name=None):
  return PENALTIES[name](critic, real, fake, keys, axis_name)


def norms(x):
  return np.linalg.norm(np.asarray(x).reshape(len(x), -1), axis=1)


@pytest.mark.parametrize('name', PENALTIES)
def test_penalties_of_a_linear_critic_depend_on_its_slope_only(name):
  """Half its square, or the square of what it lacks to 1."""
  square = float((SLOPE**2).sum())
  expected = square / 2 if name in ('r1', 'r2') else (square**0.5 - 1) ** 2
  assert value(name, linear) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(('name', 'where'), [('r1', REAL), ('r2', FAKE)])
def test_r1_is_the_mean_over_the_data_and_r2_over_the_samples(name, where):
  assert value(name, quadratic) == pytest.approx((norms(where) ** 2).mean() / 2, rel=1e-5)


def seen_by(name, **options):
  """The points at which a penalty asks for the slope, and what a quadratic critic pays there."""
  points = []

  def critic(x):
    jax.debug.callback(lambda x: points.append(np.asarray(x)), x)
    return quadratic(x)

  paid = value(name, critic, **options)
  jax.effects_barrier()
  return points[0], paid


def test_the_gradient_penalty_looks_between_the_data_and_the_samples():
  """At one share of the way for all pixels of an image, and at another for each image."""
  points, paid = seen_by('gradient_penalty')
  shares = np.asarray((points - REAL) / (FAKE - REAL)).reshape(len(points), -1)
  np.testing.assert_allclose(shares, shares[:, :1] * np.ones(12), atol=1e-4)
  assert np.all((shares[:, 0] >= 0) & (shares[:, 0] <= 1))
  assert shares[:, 0].std() == pytest.approx(12**-0.5, abs=0.06)
  assert paid == pytest.approx(((norms(points) - 1) ** 2).mean(), rel=1e-5)


def test_dragan_looks_around_the_data_within_half_a_standard_deviation():
  points, paid = seen_by('dragan')
  noise = np.asarray(points - REAL) / float(REAL.std())
  assert 0 <= noise.min() < 0.02
  assert 0.48 < noise.max() <= 0.5
  assert noise.mean() == pytest.approx(0.25, abs=0.02)
  assert paid == pytest.approx(((norms(points) - 1) ** 2).mean(), rel=1e-5)
  moved, _ = seen_by('dragan', fake=FAKE + 100)
  np.testing.assert_array_equal(moved, points)


@pytest.mark.parametrize('name', PENALTIES)
def test_penalties_do_not_depend_on_how_many_devices_share_the_batch(name):
  """The mean over four shards is what one device finds: its noise belongs to the example."""
  shards = jax.tree.map(lambda x: x.reshape(4, 12, *x.shape[1:]), (REAL, FAKE))
  parts = jax.vmap(
    lambda real, fake: value(
      name, quadratic, real, fake, example_keys(jax.random.key(0), 12, 'data'), 'data'
    ),
    axis_name='data',
  )(*shards)
  assert parts.mean() == pytest.approx(float(value(name, quadratic)), rel=1e-5)


@pytest.mark.parametrize('name', PENALTIES)
def test_penalties_and_their_gradients_are_finite_where_the_critic_is_flat(name):
  """The root of a square has no slope at 0; a D of zeros is where some runs begin."""
  critic_of = lambda w: lambda x: w * linear(x) + flat(x)
  paid, slope = jax.value_and_grad(lambda w: value(name, critic_of(w)))(0.0)
  assert paid == (0 if name in ('r1', 'r2') else 1)
  assert jnp.isfinite(slope)


def test_weights_multiply_and_zero_means_none():
  assert make_penalties({'r1': 0.0, 'dragan': 0.0}) == ()
  (one,) = make_penalties({'r1': 3.0, 'r2': 0.0}, {'r1': 4})
  assert (one.fn, one.weight, one.every) == (PENALTIES['r1'], 3.0, 4)
  thrice = total_penalty(make_penalties({'r1': 3.0}), quadratic, REAL, FAKE, KEYS, FIRST)
  assert thrice == pytest.approx(3 * float(value('r1', quadratic)), rel=1e-6)
  assert total_penalty((), quadratic, REAL, FAKE, KEYS, FIRST) == 0


def test_several_penalties_are_their_sum():
  weights = {'r1': 0.5, 'r2': 2.0, 'gradient_penalty': 10.0, 'dragan': 3.0}
  together = total_penalty(make_penalties(weights), quadratic, REAL, FAKE, KEYS, FIRST)
  apart = sum(weight * float(value(name, quadratic)) for name, weight in weights.items())
  assert together == pytest.approx(apart, rel=1e-5)


def test_a_lazy_penalty_acts_in_its_turn_with_the_weight_of_those_it_passed_over():
  """At updates 0, 4, 8 four times over: the mean over four is that of one that is never lazy."""
  lazy = jit_unoptimized(
    lambda count: total_penalty(
      (Penalty(PENALTIES['r1'], 2.0, 4),), quadratic, REAL, FAKE, KEYS, count
    )
  )
  paid = np.array([lazy(jnp.int32(count)) for count in range(9)])
  always = 2 * float(value('r1', quadratic))
  np.testing.assert_allclose(paid[::4], 4 * always, rtol=1e-6)
  np.testing.assert_array_equal(np.delete(paid, [0, 4, 8]), 0)
  assert paid[:4].mean() == pytest.approx(always, rel=1e-6)


def test_a_discriminator_pays_a_lazy_penalty_by_the_count_of_its_own_updates():
  """Whatever the step: with an interval of two at its updates 0, 2, 4, also where k is 3."""
  gan, key, state = tiny_gan(
    penalties=make_penalties({'r1': 1.0}, {'r1': 2}), dropout=False, lr=0.0
  )
  step = jit_unoptimized(
    lambda state, n_d: UPDATE_RULES['alternating'](
      gan, key, state, draw_in_turn(random_images(1, 4)), n_d
    )
  )
  paid = []
  for n_d in (1, 1, 1, 3, 3):
    state, metrics = step(state, jnp.int32(n_d))
    paid.append(float(metrics['d_penalty']))
  # Updates 0 | 1 | 2 | 4 of 3 to 5 | 6 and 8 of 6 to 8.
  np.testing.assert_allclose(paid, paid[0] * np.array([1, 0, 1, 1, 2]), rtol=1e-5)
  assert paid[0] > 0


def test_a_lazy_penalty_of_a_frozen_discriminator_has_the_same_mean_gradient():
  """R1 every second update: the mean over two updates from one state is that of R1 always."""
  gradients = {}
  for every in (1, 2):
    gan, key, state = tiny_gan(penalties=make_penalties({'r1': 1.0}, {'r1': every}), dropout=False)
    step = jit_unoptimized(
      lambda state, gan=gan, key=key: player_updates.update_discriminator(
        gan, key, state, random_batch(4)
      )
    )
    at = [state.replace(d=state.d.replace(count=jnp.int32(i))) for i in (0, 1)]
    moved = [step(each)[0].d.params for each in at]
    gradients[every] = jax.tree.map(lambda a, b: (a + b) / 2, *moved)
  assert_trees_close(gradients[2], gradients[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('update', ['alternating', 'simultaneous'])
def test_the_penalty_reaches_the_discriminator_and_no_reported_loss(update):
  results = []
  for terms in ((), make_penalties({'r1': 10.0})):
    gan, key, state = tiny_gan(penalties=terms, dropout=False)
    step = jit_unoptimized(
      lambda state, gan=gan, key=key: UPDATE_RULES[update](
        gan, key, state, draw_in_turn(random_images(1, 8)), 1
      )
    )
    results.append(step(state))
  (plain, plain_metrics), (penalized, metrics) = results
  assert trees_differ(plain.d.params, penalized.d.params)
  assert plain_metrics['d_penalty'] == 0
  assert metrics['d_penalty'] > 0
  np.testing.assert_allclose(metrics['d_loss'], plain_metrics['d_loss'], rtol=1e-6)


def test_r1_of_a_network_is_the_penalty_written_by_hand():
  """On the logits that D gives in training, through the same dropout mask."""
  gan, key, state = tiny_gan(penalties=make_penalties({'r1': 2.0}))
  real = random_images(4)
  _, d_key = jax.random.split(key)
  real_key, _ = jax.random.split(d_key)
  variables = {'params': state.d.params}
  logits = lambda x: gan.discriminator.apply(
    variables, x[None], None, train=True, rngs={'dropout': real_key}
  )[0]
  # The mask of an example is that of its place in the batch, so only the first can be asked alone.
  by_hand = float((jax.grad(logits)(real[0]) ** 2).sum())
  _, metrics = player_updates.update_discriminator(gan, key, state, Batch(real[:1]))
  assert metrics['d_penalty'] == pytest.approx(by_hand, rel=1e-5)
