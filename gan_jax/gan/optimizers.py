"""Defines optimizers and learning-rate schedules by name.

Both players' learning rates are functions of the training step (G's updates so far), so D's schedule ends
with the run for every k. `update` takes the rate as `learning_rate`. All numbers may be traced.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[jax.Array], Any]  # maps the step to a rate


def fixed_by_optimizer(step: jax.Array) -> float:
  """Returns a rate that is not used: the optimizer holds its own, as optax.adam(1e-3) does."""
  del step
  return 1.0


def constant(lr: Any, steps: Any) -> Schedule:
  """Returns the schedule that stays at `lr`."""
  del steps
  return lambda step: lr


def linear(lr: Any, steps: Any) -> Schedule:
  """Returns the schedule that falls linearly from `lr` to 0 in `steps` steps."""
  return lambda step: lr * (1 - jnp.minimum(step / steps, 1))


def cosine(lr: Any, steps: Any) -> Schedule:
  """Returns the schedule from `lr` to 0 along half a cosine (Loshchilov & Hutter, 2017)."""
  return lambda step: lr * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1))) / 2


def geometric(lr: Any, factor: Any, steps: Any) -> Schedule:
  """Returns the exponential schedule that multiplies `lr` by `factor` every `steps` steps."""
  return lambda step: lr * factor ** (step / steps)


def released_2014(lr: Any, steps: Any) -> Schedule:
  """Returns the schedule max(lr / 1.000004^t, 1e-6) of the code released with the 2014 paper."""
  del steps
  return optax.exponential_decay(lr, 1, 1 / 1.000004, end_value=jnp.minimum(lr, 1e-6))


SCHEDULES = {'constant': constant, 'linear': linear, 'cosine': cosine, '2014': released_2014}
SCHEDULES_OF_RUN_LENGTH = frozenset({'linear', 'cosine'})


def scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by minus the `learning_rate` that is passed to `update`."""

  def update(
    updates: Any, state: Any, params: Any = None, *, learning_rate: Any, **others: Any
  ) -> tuple[Any, Any]:
    del params, others
    return jax.tree.map(lambda u: -learning_rate * u, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def adam(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Returns Adam (Kingma & Ba, 2015)."""
  del epoch
  return optax.chain(optax.scale_by_adam(b1, b2), scale_by_learning_rate())


def smooth_adam(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Returns Adam with 1e-16 added under its root: differentiable at a gradient of 0, for unrolling."""
  del epoch
  return optax.chain(optax.scale_by_adam(b1, b2, eps_root=1e-16), scale_by_learning_rate())


def sgd(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Returns gradient descent with classical momentum b1: v = b1 v - lr g, w += v."""
  del b2, epoch
  # The rate is applied before accumulation: its changes do not rescale the accumulated momentum.
  return optax.chain(scale_by_learning_rate(), optax.trace(b1))


def sgd_2014(b1: Any, b2: Any, epoch: Any) -> optax.GradientTransformation:
  """Returns `sgd` with momentum rising linearly from b1 to b2 over epochs 1 to 250 of `epoch` updates."""

  def momentum(count: jnp.ndarray) -> jnp.ndarray:
    return b1 + (b2 - b1) * jnp.minimum((count // epoch).astype(jnp.float32) / 249, 1)

  return optax.chain(
    scale_by_learning_rate(), optax.inject_hyperparams(optax.trace)(decay=momentum)
  )


OPTIMIZERS = {'adam': adam, 'sgd': sgd, 'sgd_2014': sgd_2014}


class OptimisticState(NamedTuple):
  """Holds the wrapped optimizer's state and its previous update."""

  inner: optax.OptState
  previous: Any


def optimistic(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Wraps `tx` to return 2 u_t - u_(t-1) of its updates u: optimistic gradient descent or optimistic Adam.

  Eq. 2 and algorithm 1 of Daskalakis et al. (2018), with u_(-1) = 0.
  """
  wrapped = optax.with_extra_args_support(tx)

  def init(params: Any) -> OptimisticState:
    return OptimisticState(wrapped.init(params), jax.tree.map(jnp.zeros_like, params))

  def update(
    updates: Any, state: OptimisticState, params: Any = None, **others: Any
  ) -> tuple[Any, OptimisticState]:
    new, inner = wrapped.update(updates, state.inner, params, **others)
    extrapolated = jax.tree.map(lambda u, previous: 2 * u - previous, new, state.previous)
    return extrapolated, OptimisticState(inner, new)

  return optax.GradientTransformationExtraArgs(init, update)
