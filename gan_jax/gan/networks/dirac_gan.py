"""Defines the Dirac-GAN, a GAN of two parameters that need not converge (Mescheder et al., 2018, section 2)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.networks.network_spec import NetworkSpec, Supported, check_labels, resolve_spec
from gan_jax.utils.errors import UserError


class Generator(nn.Module):
  """Maps every latent to the parameter `theta`, one per class."""

  n_classes: int = 0

  @nn.compact
  def __call__(
    self, latents: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps latents [n, size] and labels [n] to points [n, 1]."""
    del train, axis_name
    check_labels(labels, self.n_classes)
    theta = self.param('theta', nn.initializers.ones, (self.n_classes or 1,))
    if labels is None:
      return jnp.broadcast_to(theta, (latents.shape[0], 1))
    return theta[labels][:, None]


class Discriminator(nn.Module):
  """Computes the logit psi x, or (psi + psi_y) x with classes y (Miyato & Koyama, 2018)."""

  n_classes: int = 0

  @nn.compact
  def __call__(
    self, images: Array, labels: Array | None, train: bool, axis_name: BatchAxis = None
  ) -> Array:
    """Maps points [n, 1] and labels [n] to logits [n]."""
    del train, axis_name
    check_labels(labels, self.n_classes)
    psi = self.param('psi', nn.initializers.ones, (1,))
    if labels is not None:
      psi = psi + self.param('psi_y', nn.initializers.zeros, (self.n_classes,))[labels]
    return psi * images[:, 0]


def build_networks(spec: NetworkSpec) -> tuple[nn.Module, nn.Module]:
  """Builds G(z) = theta and D(x) = psi x; theta = psi = 1 at the start, and 0 at the equilibrium for data 0."""
  spec = resolve_spec('dirac', spec, Supported(points=True))
  if tuple(spec.shape) != (1,):
    raise UserError(
      f'--network=dirac: makes points of shape (1,), not {tuple(spec.shape)}; use --network=relu'
    )
  for flag, width in (('--g_width', spec.g_width), ('--d_width', spec.d_width)):
    if width:
      raise UserError(f'{flag}={width}: dirac has no width; use {flag}=0')
  return Generator(spec.n_classes), Discriminator(spec.n_classes)
