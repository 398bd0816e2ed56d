"""Optimizers and learning-rate schedules by name.

A learning rate is a function of the step (G's updates so far), for both players: so D's rate ends with
the run however often D moves. Optimizers receive it with every call, as `learning_rate`. Every number here,
the length of the run included, may be traced.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.Array], Any]  # step to rate


def constant(lr: Any, steps: Any) -> Schedule:
  """Always lr."""
  del steps
  return lambda step: lr


def linear(lr: Any, steps: Any) -> Schedule:
  """From lr to 0."""
  return lambda step: lr * (1 - jnp.minimum(step / steps, 1))


def cosine(lr: Any, steps: Any) -> Schedule:
  """From lr to 0 along half a cosine (Loshchilov & Hutter, 2017)."""
  return lambda step: lr * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1))) / 2


def geometric(lr: Any, factor: Any, steps: Any) -> Schedule:
  """From lr to lr times `factor`, and on at that pace."""
  return lambda step: lr * factor ** (step / steps)


def released_2014(lr: Any, steps: Any) -> Schedule:
  """Lr / 1.000004^t, not below 1e-6: the authors' released configuration."""
  del steps
  return optax.exponential_decay(lr, 1, 1 / 1.000004, end_value=jnp.minimum(lr, 1e-6))


SCHEDULES = {'constant': constant, 'linear': linear, 'cosine': cosine, '2014': released_2014}
SCHEDULES_OF_RUN_LENGTH = frozenset({'linear', 'cosine'})


def scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
  """Times minus the `learning_rate` of this call."""

  def update(
    updates: Any, state: Any, params: Any = None, *, learning_rate: Any, **others: Any
  ) -> tuple[Any, Any]:
    del params, others
    return jax.tree.map(lambda u: -learning_rate * u, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def adam(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Kingma & Ba (2015)."""
  del epoch
  return optax.chain(optax.scale_by_adam(b1, b2), scale_by_learning_rate())


def smooth_adam(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Adam with 1e-16 under its root, where a gradient of 0 would have no derivative: for unrolling."""
  del epoch
  return optax.chain(optax.scale_by_adam(b1, b2, eps_root=1e-16), scale_by_learning_rate())


def sgd(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Gradient descent with classical momentum b1: v = b1 v - lr g, w += v."""
  del b2, epoch
  # The rate comes before the accumulator: a later change of rate does not rescale what is in it.
  return optax.chain(scale_by_learning_rate(), optax.trace(b1))


def sgd_2014(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Classical momentum that rises from b1 to b2, linearly over epochs 1 to 250 of `epoch` updates."""

  def momentum(count: jnp.ndarray) -> jnp.ndarray:
    return b1 + (b2 - b1) * jnp.minimum((count // epoch).astype(jnp.float32) / 249, 1)

  return optax.chain(
    scale_by_learning_rate(), optax.inject_hyperparams(optax.trace)(decay=momentum)
  )


OPTIMIZERS = {'adam': adam, 'sgd': sgd, 'sgd_2014': sgd_2014}


class OptimisticState(NamedTuple):
  """The wrapped optimizer's state, and what it answered last."""

  inner: optax.OptState
  previous: Any


def optimistic(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Twice this update less the one before: optimistic gradient descent, and optimistic Adam.

  Eq. 2 and algorithm 1 of Daskalakis et al. (2018); the update before the first is 0.
  """
  wrapped = optax.with_extra_args_support(tx)

  def init(params: Any) -> OptimisticState:
    return OptimisticState(wrapped.init(params), jax.tree.map(jnp.zeros_like, params))

  def update(
    updates: Any, state: OptimisticState, params: Any = None, **others: Any
  ) -> tuple[Any, OptimisticState]:
    now, inner = wrapped.update(updates, state.inner, params, **others)
    ahead = jax.tree.map(lambda u, before: 2 * u - before, now, state.previous)
    return ahead, OptimisticState(inner, now)

  return optax.GradientTransformationExtraArgs(init, update)
