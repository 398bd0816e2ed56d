"""Averages the weights of the generator over training (EMA)."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array


def update_moving_average(average: Any, weights: Any, decay: float | Array, step: Array) -> Any:
  """Returns the exponential moving average of G's weights after step number `step`.

  The decay rises to its value as (1 + step) / (10 + step), so that the average forgets the initial weights.
  """
  t = step.astype(jnp.float32)
  return optax.incremental_update(weights, average, 1 - jnp.minimum(decay, (1 + t) / (10 + t)))
