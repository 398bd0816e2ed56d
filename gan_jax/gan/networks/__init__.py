"""Networks by name: each entry makes the (generator, discriminator) pair that a `Spec` describes.

Generator: (latents [n, size], labels [n] or None, train, axis_name) to examples [n, *shape].
Discriminator: (examples [n, *shape], labels [n] or None, train, axis_name) to logits [n].
"""

from collections.abc import Callable

import flax.linen as nn

from gan_jax.gan.networks import conv_2014, dcgan, dirac_gan, mlp_2014, r3gan, relu_mlp, sngan
from gan_jax.gan.networks.network_spec import Spec

NETWORKS: dict[str, Callable[[Spec], tuple[nn.Module, nn.Module]]] = {
  'mlp': mlp_2014.pair,
  'mlp_cifar_2014': mlp_2014.cifar_pair,
  'conv_2014': conv_2014.pair,
  'dcgan': dcgan.pair,
  'sngan': sngan.pair,
  'r3gan': r3gan.pair,
  'relu': relu_mlp.pair,
  'dirac': dirac_gan.pair,
}
