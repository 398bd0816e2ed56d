"""Adversarial losses on logits: what D and G each minimise."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

LossFn = Callable[..., jax.Array]


class Loss(NamedTuple):
  """A game: both functions take (real, fake) logits [n] and return a scalar."""

  discriminator: LossFn
  generator: LossFn
  undecided: float | jax.Array = 0.0  # D's best output where data and samples are equal
  slope: float = 1.0  # by which its distance from that becomes log-odds
  paired: bool = False  # only differences of outputs mean anything

  def log_odds(self, real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """D's beliefs that `real` and `fake` [n] are data, as log-odds [n] and [n]; 0 where it is undecided."""
    if self.paired:
      return real - fake, fake - real
    return self.slope * (real - self.undecided), self.slope * (fake - self.undecided)


def cross_entropy(real: jax.Array, fake: jax.Array, smoothing: float | jax.Array = 0) -> jax.Array:
  """-log D(x) - log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014); 2 log 2 where D is 1/2.

  One-sided `smoothing` asks for D(x) = 1 - smoothing on data (Salimans et al., 2016).
  """
  on_data = (1 - smoothing) * jax.nn.softplus(-real) + smoothing * jax.nn.softplus(real)
  return jnp.mean(on_data) + jnp.mean(jax.nn.softplus(fake))


def saturating(real: jax.Array, fake: jax.Array) -> jax.Array:
  """log(1 - D(G(z))), eq. 1 of Goodfellow et al. (2014): its gradient fades where D rejects the sample."""
  del real
  return -jnp.mean(jax.nn.softplus(fake))


def non_saturating(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-log D(G(z)), Goodfellow et al. (2014), section 3: strong gradients where D rejects the sample."""
  del real
  return jnp.mean(jax.nn.softplus(-fake))


def least_squares(real: jax.Array, fake: jax.Array, smoothing: float | jax.Array = 0) -> jax.Array:
  """1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2, eq. 9 of Mao et al. (2017); `smoothing` lowers the 1."""
  return (jnp.mean((real - (1 - smoothing)) ** 2) + jnp.mean(fake**2)) / 2


def least_squares_generator(real: jax.Array, fake: jax.Array) -> jax.Array:
  """1/2 (D(G(z)) - 1)^2, eq. 9 of Mao et al. (2017)."""
  del real
  return jnp.mean((fake - 1) ** 2) / 2


def hinge(real: jax.Array, fake: jax.Array) -> jax.Array:
  """max(0, 1 - D(x)) + max(0, 1 + D(G(z))), Lim & Ye (2017): D stops where it is right by a margin."""
  return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def wasserstein(real: jax.Array, fake: jax.Array) -> jax.Array:
  """E D(G(z)) - E D(x), eq. 2 of Arjovsky et al. (2017): needs a D whose slope something bounds."""
  return jnp.mean(fake) - jnp.mean(real)


def linear_generator(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-E D(G(z)): the generator's part of the hinge and the Wasserstein game."""
  del real
  return -jnp.mean(fake)


def relativistic(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-log sigmoid(D(x) - D(G(z))) over pairs, Jolicoeur-Martineau (2019): RpGAN; log 2 at equilibrium."""
  return jnp.mean(jax.nn.softplus(fake - real))


def relativistic_generator(real: jax.Array, fake: jax.Array) -> jax.Array:
  """-log sigmoid(D(G(z)) - D(x)) over the same pairs, as in Huang et al. (2024)."""
  return relativistic(fake, real)


LOSSES = {
  'non_saturating': Loss(cross_entropy, non_saturating),
  'saturating': Loss(cross_entropy, saturating),
  # Its best output is a probability itself, and 4 is the slope of log-odds at 1/2.
  'least_squares': Loss(least_squares, least_squares_generator, undecided=0.5, slope=4.0),
  'hinge': Loss(hinge, linear_generator),
  'wasserstein': Loss(wasserstein, linear_generator, paired=True),
  'relativistic': Loss(relativistic, relativistic_generator, paired=True),
}
SMOOTHABLE_LOSSES = frozenset(
  {'non_saturating', 'saturating', 'least_squares'}
)  # have a target to lower


def smooth_labels(loss: Loss, smoothing: float | jax.Array) -> Loss:
  """The same game with D's target on data lowered by `smoothing`; `loss` must be one of SMOOTHABLE.

  Where data and samples are equal, D's best belief falls from 1/2 to (1 - smoothing) / 2.
  """
  log = jnp.log if isinstance(smoothing, jax.Array) else math.log
  squared = loss.discriminator is least_squares
  undecided = (1 - smoothing) / 2 if squared else log((1 - smoothing) / (1 + smoothing))
  smoothed = functools.partial(loss.discriminator, smoothing=smoothing)
  return loss._replace(discriminator=smoothed, undecided=undecided)


def scale_discriminator_loss(loss: Loss, weight: float | jax.Array) -> Loss:
  """The same game with D's loss times `weight`; 1/2 makes it the mean over the equal mixture (log 2)."""
  return loss._replace(discriminator=lambda real, fake: weight * loss.discriminator(real, fake))
