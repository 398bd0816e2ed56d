"""Builds a GAN of two small smooth networks over points of the plane, in float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.device_batches import Batch
from gan_jax.gan import gan as gan_lib, optimizers
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.tiny_gan import assert_trees_close, jit_unoptimized

KEY = jax.random.key(7)
N = 8  # points in a minibatch
SGD = optimizers.sgd(0.0, 0.0, 1)
ADAM = optimizers.adam(0.5, 0.9, 1)


class Generator(nn.Module):
  """Maps latents to points; computes in the dtype of its weights."""

  @nn.compact
  def __call__(self, latents, labels, train, axis_name=None):
    return nn.Dense(2)(nn.tanh(nn.Dense(4)(latents)))


class Discriminator(nn.Module):
  """Maps points to logits; computes in the dtype of its weights."""

  @nn.compact
  def __call__(self, images, labels, train, axis_name=None):
    return nn.Dense(1)(nn.tanh(nn.Dense(5)(images)))[:, 0]


def smooth_gan(name='alternating', tx=SGD, **options):
  """Builds the Gan for a key of UPDATE_RULES or 'consensus'; `options` replace its fields."""
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
def minibatches():
  """Returns five minibatches of points, a NumPy array [5, N, 2]."""
  return np.random.default_rng(0).normal(size=(5, N, 2))


def get_batch(i):
  return Batch(jnp.asarray(minibatches())[i % 5])


@functools.cache
def _float32_state():
  init = jit_unoptimized(functools.partial(gan_lib.init, smooth_gan()))
  return jax.device_get(init(KEY, jnp.zeros((1, 2))))


def initial_state(name='alternating', tx=SGD):
  """Returns the initial state in float64, with the same weights for every rule, in new buffers."""
  state = jax.tree.map(
    lambda x: jnp.array(x, jnp.float64 if x.dtype == np.float32 else x.dtype), _float32_state()
  )
  gan = smooth_gan(name, tx)
  d = state.d.replace(opt_state=gan.d_tx.init(state.d.params))
  return state.replace(d=d, g=state.g.replace(opt_state=gan.g_tx.init(state.g.params)))


def apply_discriminator(gan, params, x):
  return gan.discriminator.apply({'params': params}, x, None, train=True)


def update_rule(name):
  return UPDATE_RULES['simultaneous' if name == 'consensus' else name]


@functools.cache
def compiled_step(name, tx=SGD):
  """Returns a compiled step, a function of (state, n_d, key) that donates the state."""
  gan = smooth_gan(name, tx)
  step = lambda state, n_d, key: update_rule(name)(gan, key, state, get_batch, n_d)
  donating = jit_unoptimized(step, donate_argnums=0)
  return lambda state, n_d=1, key=KEY: donating(state, n_d, key)


def assert_close(left, right, rtol=1e-9, atol=1e-11):
  assert_trees_close(left, right, rtol=rtol, atol=atol)
