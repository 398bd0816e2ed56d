"""Defines the adversarial losses of D and of G as functions of D's outputs."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

LossFn = Callable[..., Array]


class Loss(NamedTuple):
  """Holds the losses of D and of G, which map D's outputs (real [n], fake [n]) to a scalar."""

  discriminator: LossFn
  generator: LossFn
  equilibrium_output: float | Array = 0.0  # D's optimal output where p_data = p_g
  log_odds_slope: float = 1.0  # log-odds per unit of output
  paired: bool = False  # the losses depend only on differences real - fake

  def log_odds(self, real: Array, fake: Array) -> tuple[Array, Array]:
    """Converts D's outputs `real` [n] and `fake` [n] to log-odds of being data, 0 at the equilibrium."""
    if self.paired:
      return real - fake, fake - real
    slope, zero = self.log_odds_slope, self.equilibrium_output
    return slope * (real - zero), slope * (fake - zero)


def cross_entropy(real: Array, fake: Array, smoothing: float | Array = 0) -> Array:
  """Returns D's loss -log D(x) - log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014); 2 log 2 at D = 1/2.

  One-sided label `smoothing` makes the target on data 1 - smoothing (Salimans et al., 2016).
  """
  on_data = (1 - smoothing) * jax.nn.softplus(-real) + smoothing * jax.nn.softplus(real)
  return jnp.mean(on_data) + jnp.mean(jax.nn.softplus(fake))


def saturating(real: Array, fake: Array) -> Array:
  """Returns G's loss log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014): weak gradients where D -> 0."""
  del real
  return -jnp.mean(jax.nn.softplus(fake))


def non_saturating(real: Array, fake: Array) -> Array:
  """Returns G's loss -log D(G(z)), Goodfellow et al. (2014), section 3: strong gradients where D -> 0."""
  del real
  return jnp.mean(jax.nn.softplus(-fake))


def least_squares(real: Array, fake: Array, smoothing: float | Array = 0) -> Array:
  """Returns D's loss 1/2 (D(x) - 1 + smoothing)^2 + 1/2 D(G(z))^2, eq. 9 of Mao et al. (2017)."""
  return (jnp.mean((real - (1 - smoothing)) ** 2) + jnp.mean(fake**2)) / 2


def least_squares_generator(real: Array, fake: Array) -> Array:
  """Returns G's loss 1/2 (D(G(z)) - 1)^2, eq. 9 of Mao et al. (2017)."""
  del real
  return jnp.mean((fake - 1) ** 2) / 2


def hinge(real: Array, fake: Array) -> Array:
  """Returns D's loss max(0, 1 - D(x)) + max(0, 1 + D(G(z))), Lim & Ye (2017)."""
  return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def wasserstein(real: Array, fake: Array) -> Array:
  """Returns D's loss E D(G(z)) - E D(x), eq. 2 of Arjovsky et al. (2017), for a Lipschitz-constrained D."""
  return jnp.mean(fake) - jnp.mean(real)


def linear_generator(real: Array, fake: Array) -> Array:
  """Returns G's loss -E D(G(z)), of the hinge and of the Wasserstein GAN."""
  del real
  return -jnp.mean(fake)


def relativistic(real: Array, fake: Array) -> Array:
  """Returns D's loss -log sigmoid(D(x) - D(G(z))) over pairs: RpGAN, Jolicoeur-Martineau (2019)."""
  return jnp.mean(jax.nn.softplus(fake - real))


def relativistic_generator(real: Array, fake: Array) -> Array:
  """Returns G's loss -log sigmoid(D(G(z)) - D(x)) over the same pairs, as in Huang et al. (2024)."""
  return relativistic(fake, real)


LOSSES = {
  'non_saturating': Loss(cross_entropy, non_saturating),
  'saturating': Loss(cross_entropy, saturating),
  # The optimal output is a probability p, and 4 is the slope of log(p / (1 - p)) at 1/2.
  'least_squares': Loss(least_squares, least_squares_generator, 0.5, log_odds_slope=4.0),
  'hinge': Loss(hinge, linear_generator),
  'wasserstein': Loss(wasserstein, linear_generator, paired=True),
  'relativistic': Loss(relativistic, relativistic_generator, paired=True),
}
# Losses whose target on data `smooth_labels` can lower.
SMOOTHABLE_LOSSES = frozenset({'non_saturating', 'saturating', 'least_squares'})


def smooth_labels(loss: Loss, smoothing: float | Array) -> Loss:
  """Returns `loss`, one of SMOOTHABLE_LOSSES, with D's target on data lowered from 1 to 1 - smoothing.

  Where p_data = p_g, D's optimal probability becomes (1 - smoothing) / 2.
  """
  log = jnp.log if isinstance(smoothing, Array) else math.log
  squared = loss.discriminator is least_squares
  output = (1 - smoothing) / 2 if squared else log((1 - smoothing) / (1 + smoothing))
  smoothed = functools.partial(loss.discriminator, smoothing=smoothing)
  return loss._replace(discriminator=smoothed, equilibrium_output=output)


def scale_discriminator_loss(loss: Loss, weight: float | Array) -> Loss:
  """Returns `loss` with D's part multiplied by `weight`; 1/2 gives the mean over real and fake examples."""
  return loss._replace(discriminator=lambda real, fake: weight * loss.discriminator(real, fake))
