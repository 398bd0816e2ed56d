"""Defines optimizers and learning-rate schedules by name.

Both players' learning rates are functions of the training step (G's updates so far), so D's schedule ends
with the run for every k. `update` takes the rate as `learning_rate`. All numbers may be traced.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


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
