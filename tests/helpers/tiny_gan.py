"""Builds tiny GANs and batches for tests, and compares pytrees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax.data.device_batches import Batch
from gan_jax.gan import gan as gan_lib, optimizers
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.losses import LOSSES
from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.network_spec import NetworkSpec

IMAGE_SHAPE = (6, 6, 1)
# Tiny programs compile faster without optimization.
jit_unoptimized = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def tiny_gan(
  loss='non_saturating',
  *,
  shape=IMAGE_SHAPE,
  network='mlp',
  n_classes=0,
  dropout=True,
  lr=0.1,
  g_tx=None,
  d_tx=None,
  ema_decay=0.9,
  spec=None,
  **options,
):
  """Returns a Gan of a few hundred weights, a key and an initial state; SGD, which hides no constant factor.

  `spec` sets fields of its NetworkSpec, `options` further fields of the Gan.
  """
  widths = {'g_width': 16, 'd_width': 6} if network != 'dirac' else {}
  dropout = dropout and network == 'mlp'
  fields = {'n_classes': n_classes, 'd_dropout': dropout} | widths | (spec or {})
  generator, discriminator = NETWORKS[network](NetworkSpec(shape, **fields))
  sgd = optimizers.OPTIMIZERS['sgd'](0.0, 0.0, 1)
  gan = Gan(
    generator,
    discriminator,
    g_tx=g_tx or sgd,
    d_tx=d_tx or sgd,
    loss=LOSSES[loss],
    latent=Latent('uniform', 5),
    g_rate=optax.constant_schedule(lr),
    d_rate=optax.constant_schedule(lr),
    ema_decay=ema_decay,
    n_classes=n_classes,
    **options,
  )
  return gan, jax.random.key(7), gan_lib.init(gan, jax.random.key(1), jnp.zeros((1, *shape)))


def random_images(*leading, shape=IMAGE_SHAPE):
  """Draws images [*leading, *shape] in [-1, 1]."""
  return jax.random.uniform(jax.random.key(3), (*leading, *shape), minval=-1.0)


def random_batch(*leading, shape=IMAGE_SHAPE, n_classes=0):
  """Draws a Batch of images [*leading, *shape], with labels [*leading] where `n_classes` > 0."""
  x = random_images(*leading, shape=shape)
  if not n_classes:
    return Batch(x)
  labels = jax.random.randint(jax.random.key(4), leading, 0, n_classes)
  return Batch(x, labels)


def draw_in_turn(stacked, labels=None):
  """Returns a function of i: batch i modulo k of images [k, n, ...] and labels [k, n]."""
  k = stacked.shape[0]
  return lambda i: Batch(stacked[i % k], None if labels is None else labels[i % k])


def replace_params(state, player, params):
  """Replaces the weights of player 'g' or 'd'."""
  return state.replace(**{player: getattr(state, player).replace(params=params)})


def assert_trees_equal(left, right):
  """Asserts that all leaves are equal, bit for bit."""
  jax.tree.map(np.testing.assert_array_equal, to_numpy(left), to_numpy(right))


def assert_trees_close(left, right, **tolerance):
  """Asserts that all leaves are close, within a tolerance of `assert_allclose`."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), to_numpy(left), to_numpy(right)
  )


def trees_differ(left, right):
  """Returns whether any leaf differs."""
  changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), to_numpy(left), to_numpy(right))
  return any(jax.tree.leaves(changed))


def to_numpy(tree):
  """Converts all leaves to NumPy."""
  return jax.tree.map(np.asarray, tree)
