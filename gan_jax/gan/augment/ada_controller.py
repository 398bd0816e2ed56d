"""How often to augment: the adaptive controller of Karras et al. (2020), whose only memory is its pytree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Scalar = float | jax.Array


class AdaState(NamedTuple):
  """All that the controller remembers: float32 scalars, for a checkpoint to hold."""

  p: jax.Array  # how often augmentations are made
  r_t: jax.Array  # mean of sign D(x) over the last minibatches


MAX_P = 0.8  # above it Karras et al. (2020) saw augmentations leak into the samples
R_T_DECAY = 0.75  # of r_t, for a mean age of a few minibatches: theirs is the mean of four


def init_ada() -> AdaState:
  """No augmentation yet."""
  return AdaState(jnp.zeros(()), jnp.zeros(()))


def update_ada(
  controls: AdaState,
  mean_sign: Scalar,
  batch_size: int,
  target: float = 0.6,
  images_to_one: int = 500_000,
  max_p: float = MAX_P,
) -> AdaState:
  """The controls after a minibatch on which sign D(x) had this mean; on many devices, over all of them."""
  r_t = R_T_DECAY * controls.r_t + (1 - R_T_DECAY) * mean_sign
  return AdaState(
    update_probability(controls.p, r_t, target, batch_size, images_to_one, max_p), r_t
  )


def update_probability(
  p: Scalar,
  r_t: Scalar,
  target: float,
  batch_size: int,
  images_to_one: int = 500_000,
  max_p: float = MAX_P,
) -> jax.Array:
  """More augmentation where r_t = E sign D(x) shows overfitting, less where not: Karras et al. (2020).

  At this speed p would go from 0 to 1 in `images_to_one` real images.
  """
  return jnp.clip(p + batch_size / images_to_one * jnp.sign(r_t - target), 0.0, max_p)
