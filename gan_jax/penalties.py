"""Regularisers of the discriminator: functions of its logits around the data and the samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]  # images [n, ...] to logits [n]
Penalty = Callable[[Critic, jax.Array, jax.Array, jax.Array], jax.Array]  # critic, real, fake, key


def r1(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
  """1/2 E |grad D(x)|^2 on the data, eq. 9 of Mescheder et al. (2018), their 1/2 included.

  The gradient is of the logit with respect to images in [-1, 1].
  """
  del fake, key
  slopes = jax.grad(lambda images: critic(images).sum())(real)
  return jnp.mean(jnp.sum(slopes.reshape(slopes.shape[0], -1) ** 2, axis=1)) / 2


PENALTIES: dict[str, Penalty] = {'r1': r1}


def weighted_sum(weights: dict[str, float]) -> Penalty | None:
  """The sum of weight times penalty over names of `PENALTIES`; None where every weight is 0."""
  terms = [(weight, PENALTIES[name]) for name, weight in weights.items() if weight]
  if not terms:
    return None

  def total(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    values = [weight * penalty(critic, real, fake, key) for weight, penalty in terms]
    return jnp.sum(jnp.stack(values))

  return total
