"""Defines learning-rate schedules by name: functions of the training step, for both players."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

Schedule = Callable[[Array], Any]  # maps the step to a rate


def fixed_by_optimizer(step: Array) -> float:
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
