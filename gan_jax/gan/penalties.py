"""Defines gradient penalties on the discriminator (R1, R2, WGAN-GP, DRAGAN) and their weighted, lazy sum."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.distributed.randomness import BatchAxis, collective_axis_name

Critic = Callable[[Array], Array]  # images [n, ...] to logits [n]
# Maps (critic, real [n, ...], fake [n, ...], keys [n], one per example, axis_name) to a scalar.
PenaltyFn = Callable[[Critic, Array, Array, Array, BatchAxis], Array]


def squared_gradient_norms(critic: Critic, images: Array) -> Array:
  """Returns |grad critic(x)|^2 at each of `images` [n, ...]: [n]."""
  gradients = jax.grad(lambda images: critic(images).sum())(images)
  return jnp.sum(gradients.reshape(gradients.shape[0], -1) ** 2, axis=1)


def r1(critic: Critic, real: Array, fake: Array, keys: Array, axis_name: BatchAxis) -> Array:
  """Returns 1/2 E |grad D(x)|^2 over data, eq. 9 of Mescheder et al. (2018), with the 1/2.

  The gradient is that of the logit by images in [-1, 1].
  """
  del fake, keys, axis_name
  return jnp.mean(squared_gradient_norms(critic, real)) / 2


def r2(critic: Critic, real: Array, fake: Array, keys: Array, axis_name: BatchAxis) -> Array:
  """Returns 1/2 E |grad D(G(z))|^2 over samples, eq. 10 of Mescheder et al. (2018), with the 1/2."""
  del real, keys, axis_name
  return jnp.mean(squared_gradient_norms(critic, fake)) / 2


def gradient_penalty(
  critic: Critic, real: Array, fake: Array, keys: Array, axis_name: BatchAxis
) -> Array:
  """Returns E (|grad D| - 1)^2 between data and samples: WGAN-GP, eq. 3 of Gulrajani et al. (2017)."""
  del axis_name
  between = jax.vmap(lambda key, x, y: x + jax.random.uniform(key) * (y - x))(keys, real, fake)
  return _unit_norm_penalty(critic, between)


def dragan(critic: Critic, real: Array, fake: Array, keys: Array, axis_name: BatchAxis) -> Array:
  """Returns E (|grad D| - 1)^2 at x + u std(x) / 2, u ~ U(0, 1)^d: DRAGAN, Kodali et al. (2017).

  std(x) is one number, taken over all values of the global batch.
  """
  del fake
  moments = jnp.stack([jnp.mean(real), jnp.mean(real**2)])
  axis = collective_axis_name(axis_name)
  mean, square = moments if axis is None else lax.pmean(moments, axis)
  noise = jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:]))(keys)
  return _unit_norm_penalty(critic, real + jnp.sqrt(jnp.maximum(square - mean**2, 0)) / 2 * noise)


def _unit_norm_penalty(critic: Critic, images: Array) -> Array:
  squares = squared_gradient_norms(critic, images)
  # The square root has no derivative at 0: a flat critic would give NaN.
  norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
  return jnp.mean((norms - 1) ** 2)


PENALTIES: dict[str, PenaltyFn] = {
  'r1': r1,
  'r2': r2,
  'gradient_penalty': gradient_penalty,
  'dragan': dragan,
}


class Penalty(NamedTuple):
  """Holds a term of D's loss: weight * fn, computed at every `every`-th update and multiplied by `every`."""

  fn: PenaltyFn
  weight: float | Array
  every: int = 1


def make_penalties(
  weights: Mapping[str, float | Array], every: Mapping[str, int] | None = None
) -> tuple[Penalty, ...]:
  """Returns the penalties whose weight is traced or not 0, by their names in `PENALTIES`.

  `every` gives the intervals [updates of D] of lazy penalties; the default is 1.
  """
  return tuple(
    Penalty(PENALTIES[name], weight, (every or {}).get(name, 1))
    for name, weight in weights.items()
    if isinstance(weight, Array) or weight
  )


def total_penalty(
  penalties: tuple[Penalty, ...],
  critic: Critic,
  real: Array,
  fake: Array,
  keys: Array,
  count: Array,
  axis_name: BatchAxis = None,
) -> Array:
  """Returns the weighted sum of `penalties` on `critic` at D's update number `count`, a scalar.

  Between its updates a lazy penalty (Karras et al., 2020) is not computed. `keys` [n]: one per example.
  """
  values = [jnp.zeros(())]
  for penalty in penalties:
    value = lambda penalty=penalty: (
      penalty.every * penalty.weight * penalty.fn(critic, real, fake, keys, axis_name)
    )
    if penalty.every == 1:
      values.append(value())
    else:
      values.append(lax.cond(count % penalty.every == 0, value, lambda: jnp.zeros(())))
  return jnp.sum(jnp.stack(values))
