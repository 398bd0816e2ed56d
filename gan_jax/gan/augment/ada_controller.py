"""Adapts the probability of augmentation to D's overfitting: the controller of ADA, Karras et al. (2020)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

Scalar = float | Array


class AdaState(NamedTuple):
  """Holds the state of the controller, float32 scalars."""

  p: Array  # probability of augmentation
  r_t: Array  # moving average of sign D(x) on real images


MAX_P = 0.8  # above, augmentations leak into the samples (Karras et al., 2020)
R_T_DECAY = 0.75  # of the moving average, in place of the paper's mean of four minibatches


def init_ada() -> AdaState:
  """Returns the initial state of the controller, with augmentation probability 0."""
  return AdaState(jnp.zeros(()), jnp.zeros(()))


def update_ada(
  state: AdaState,
  mean_sign: Scalar,
  batch_size: int,
  target: float = 0.6,
  images_to_one: int = 500_000,
  max_p: float = MAX_P,
) -> AdaState:
  """Updates the state by a minibatch of `batch_size` real images, with mean `mean_sign` of sign D(x).

  Both are over all devices. p rises where r_t exceeds `target`, from 0 to 1 in no fewer than `images_to_one`
  images, up to `max_p`, and falls where r_t is less.
  """
  r_t = R_T_DECAY * state.r_t + (1 - R_T_DECAY) * mean_sign
  return AdaState(update_probability(state.p, r_t, target, batch_size, images_to_one, max_p), r_t)


def update_probability(
  p: Scalar,
  r_t: Scalar,
  target: float,
  batch_size: int,
  images_to_one: int = 500_000,
  max_p: float = MAX_P,
) -> Array:
  """Returns p, raised where r_t = E sign D(x) exceeds `target` (overfitting) and lowered where it is less.

  The step is batch_size / images_to_one; see `update_ada` for the arguments.
  """
  return jnp.clip(p + batch_size / images_to_one * jnp.sign(r_t - target), 0.0, max_p)
