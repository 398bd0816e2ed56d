"""Lists the networks by name: functions that build a (generator, discriminator) pair from a `NetworkSpec`.

Generator: (latents [n, size], labels [n] or None, train, axis_name) to examples [n, *shape].
Discriminator: (examples [n, *shape], labels [n] or None, train, axis_name) to logits [n].
"""

from collections.abc import Callable

import flax.linen as nn

from gan_jax.gan.networks import conv_2014, dcgan, dirac_gan, mlp_2014, r3gan, relu_mlp, sngan
from gan_jax.gan.networks.network_spec import NetworkSpec

NETWORKS: dict[str, Callable[[NetworkSpec], tuple[nn.Module, nn.Module]]] = {
  'mlp': mlp_2014.build_networks,
  'mlp_cifar_2014': mlp_2014.build_cifar_networks,
  'conv_2014': conv_2014.build_networks,
  'dcgan': dcgan.build_networks,
  'sngan': sngan.build_networks,
  'r3gan': r3gan.build_networks,
  'relu': relu_mlp.build_networks,
  'dirac': dirac_gan.build_networks,
}
