"""Builds every network of the registry at a size that compiles quickly."""

import flax
import jax
import jax.numpy as jnp

from gan_jax.gan.networks import NETWORKS, NetworkSpec

KEY = jax.random.key(0)
SHAPE = (8, 8, 3)
SMALL = {
  'mlp': NetworkSpec(SHAPE, 16, 8),
  'mlp_cifar_2014': NetworkSpec(SHAPE, 16, 8),
  'conv_2014': NetworkSpec(SHAPE, 16, 2),
  'dcgan': NetworkSpec(SHAPE, 8, 8),
  'sngan': NetworkSpec(SHAPE, 8, 8),
  'r3gan': NetworkSpec(SHAPE, 16, 16),
  'relu': NetworkSpec(SHAPE, 16, 16),
  'dirac': NetworkSpec((1,)),
}


def small(name, **changes):
  """Builds the small (generator, discriminator) pair of this name."""
  return NETWORKS[name](SMALL[name]._replace(**changes))


def examples(name, n):
  """Draws n inputs for the discriminator of the small pair `name`."""
  return jax.random.uniform(KEY, (n, *SMALL[name].shape), minval=-1.0)


def labels_of(n, n_classes):
  """Returns labels [n], or None without classes."""
  return jnp.arange(n) % n_classes if n_classes else None


def start(network, inputs, labels):
  """Returns the initial parameters and statistics of a network."""
  variables = jax.jit(lambda: network.init(KEY, inputs, labels, train=False))()
  stats, params = flax.core.pop(variables, 'params')
  return params, stats


def evaluate(network, params, stats, inputs, labels):
  """Returns the outputs of a network in evaluation mode."""
  variables = {'params': params, **stats}
  return jax.jit(lambda: network.apply(variables, inputs, labels, train=False))()
