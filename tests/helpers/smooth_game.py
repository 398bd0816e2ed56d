"""Two smooth little networks over points of the plane, in float64 and with different rates."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.device_batches import Batch
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import optimizers
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_rules import UPDATE_RULES

KEY = jax.random.key(7)
N = 8  # points in a minibatch
SGD = optimizers.sgd(0.0, 0.0, 1)
ADAM = optimizers.adam(0.5, 0.9, 1)
# Programs this small are sooner compiled badly than well.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


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
    'penalties': make_penalties({'r1': 0.3}),
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


def judged(gan, params, x):
  return gan.discriminator.apply({'params': params}, x, None, train=True)


def rule(name):
  return UPDATE_RULES['simultaneous' if name == 'consensus' else name]


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
