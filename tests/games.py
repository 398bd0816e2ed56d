"""Small games that the tests play, and how they compare states."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import gan as gan_lib
from gan_jax.gan import Gan
from gan_jax.latents import Latent
from gan_jax.losses import LOSSES
from gan_jax.networks import mlp

SHAPE = (6, 6, 1)


def tiny(loss='non_saturating', *, penalty=None, dropout=True, lr=0.1, d_tx=None, ema_decay=0.9):
  """A Gan of a few hundred weights, a key and its first state; plain SGD, which hides no factor."""
  generator, discriminator = mlp.pair(
    SHAPE, g_width=16, d_width=6, init='scaled', d_dropout=dropout, mean_image=None
  )
  gan = Gan(
    generator,
    discriminator,
    g_tx=optax.sgd(lr),
    d_tx=d_tx or optax.sgd(lr),
    loss=LOSSES[loss],
    penalty=penalty,
    latent=Latent('uniform', 5),
    ema_decay=ema_decay,
  )
  return gan, jax.random.key(7), gan_lib.init(gan, jax.random.key(1), batch(1))


def batch(*shape):
  """Images of the given leading shape, in [-1, 1]."""
  return jax.random.uniform(jax.random.key(3), (*shape, *SHAPE), minval=-1.0)


def assert_equal(left, right):
  """Bit for bit."""
  jax.tree.map(np.testing.assert_array_equal, as_data(left), as_data(right))


def assert_close(left, right, **tolerance):
  """Leaf by leaf, within a tolerance."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), as_data(left), as_data(right)
  )


def differs(left, right):
  """Whether any leaf does."""
  changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), as_data(left), as_data(right))
  return any(jax.tree.leaves(changed))


def as_data(tree):
  return jax.tree.map(np.asarray, tree)
