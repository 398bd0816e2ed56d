"""Networks by name: each entry makes a (generator, discriminator) pair for images of one shape."""

from gan_jax.networks import mlp

NETWORKS = {'mlp': mlp.pair}
