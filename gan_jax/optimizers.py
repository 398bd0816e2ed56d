"""Optimizers and learning-rate schedules by name."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

Schedule = Callable[..., optax.Schedule]


def _constant(lr: float, steps: int) -> optax.Schedule:
  del steps
  return optax.constant_schedule(lr)


def _linear(lr: float, steps: int) -> optax.Schedule:
  return optax.linear_schedule(lr, 0.0, steps)


def _cosine(lr: float, steps: int) -> optax.Schedule:
  return optax.cosine_decay_schedule(lr, steps)


def _released_2014(lr: float, steps: int) -> optax.Schedule:
  """Lr / 1.000004^t, not below 1e-6: the authors' released configuration."""
  del steps
  return optax.exponential_decay(lr, 1, 1 / 1.000004, end_value=min(lr, 1e-6))


SCHEDULES = {'constant': _constant, 'linear': _linear, 'cosine': _cosine, '2014': _released_2014}
DEPEND_ON_STEPS = frozenset({'linear', 'cosine'})


def adam(
  schedule: optax.Schedule, b1: float, b2: float, epoch: int
) -> optax.GradientTransformation:
  """Kingma & Ba (2015)."""
  del epoch
  return optax.adam(schedule, b1, b2)


def sgd(schedule: optax.Schedule, b1: float, b2: float, epoch: int) -> optax.GradientTransformation:
  """Gradient descent with classical momentum b1: v = b1 v - lr g, w += v."""
  del b2, epoch
  return _momentum(schedule, optax.constant_schedule(b1))


def sgd_2014(
  schedule: optax.Schedule, b1: float, b2: float, epoch: int
) -> optax.GradientTransformation:
  """Classical momentum that rises from b1 to b2, linearly over epochs 1 to 250 of `epoch` updates."""

  def momentum(count: jnp.ndarray) -> jnp.ndarray:
    return b1 + (b2 - b1) * jnp.minimum((count // epoch).astype(jnp.float32) / 249, 1)

  return _momentum(schedule, momentum)


def _momentum(schedule: optax.Schedule, momentum: optax.Schedule) -> optax.GradientTransformation:
  # The rate comes before the accumulator: a later change of rate does not rescale what is in it.
  return optax.chain(
    optax.scale_by_learning_rate(schedule),
    optax.inject_hyperparams(optax.trace)(decay=momentum),
  )


OPTIMIZERS = {'adam': adam, 'sgd': sgd, 'sgd_2014': sgd_2014}
