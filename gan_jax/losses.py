"""Adversarial losses on logits: what D and G each minimise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

LossFn = Callable[[jax.Array, jax.Array], jax.Array]


class Loss(NamedTuple):
  """A game: both functions take (real, fake) logits [n] and return a scalar in nats."""

  discriminator: LossFn
  generator: LossFn


def cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-log D(x) - log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014); 2 log 2 where D is 1/2."""
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def saturating(real: jax.Array, fake: jax.Array) -> jax.Array:
  """log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014): its gradient fades where D rejects the sample."""
  del real
  return -jnp.mean(jax.nn.softplus(fake))


def non_saturating(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-log D(G(z)), Goodfellow et al. (2014), section 3: strong gradients where D rejects the sample."""
  del real
  return jnp.mean(jax.nn.softplus(-fake))


def weigh_discriminator(loss: Loss, weight: float) -> Loss:
  """The same game with D's loss times `weight`; 1/2 makes it the mean over the equal mixture (log 2)."""
  return loss._replace(discriminator=lambda real, fake: weight * loss.discriminator(real, fake))


LOSSES = {
  'non_saturating': Loss(cross_entropy, non_saturating),
  'saturating': Loss(cross_entropy, saturating),
}
