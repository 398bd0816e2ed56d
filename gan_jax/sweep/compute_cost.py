"""What a run costs: gradients, examples and arithmetic, and how many steps a budget of them pays for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config.config import Config
from gan_jax.data.shuffle import Batch
from gan_jax.distributed import hlo_analysis
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import update_ratio, update_rules
from gan_jax.gan.gan import Gan

UNITS = ('gradients', 'examples', 'flops')


class Arithmetic(NamedTuple):
  """Multiplications and additions of matrix products and convolutions in an update of either player."""

  d: float
  g: float


class Spent(NamedTuple):
  """What a run has cost; updates by which a controller of k looks ahead are counted."""

  gradients: float  # of one player on one minibatch
  examples: float  # of the data, by D
  flops: float


def arithmetic(config: Config, gan: Gan, shape: tuple[int, ...]) -> Arithmetic:
  """Of one update of each player on a minibatch of examples of `shape`."""
  zeros = jnp.zeros((1, *shape))
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(lambda key: gan_lib.init(gan, key, zeros), key)
  images = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
  labels = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32) if gan.n_classes else None

  def flops(update: Any) -> float:
    call = lambda key, state, images, labels: update(gan, key, state, Batch(images, labels))
    trace = jax.make_jaxpr(call)(key, state, images, labels)
    return hlo_analysis.flops(trace.jaxpr, 1.0)

  return Arithmetic(flops(gan_lib.update_discriminator), flops(gan_lib.update_generator))


def spent(config: Config, per_update: Arithmetic, g_updates: float, d_updates: float) -> Spent:
  """What so many updates have cost.

  Arithmetic takes every gradient for one of an update of that player: exact for alternating updates.
  """
  if config.k == 'auto':
    ahead = update_ratio.Balance().spent(int(g_updates))
    g_updates, d_updates = g_updates + ahead, d_updates + ahead
  gradients = update_rules.gradient_evaluations(config.update, config.unroll, g_updates, d_updates)
  if config.update == 'alternating':
    flops = d_updates * per_update.d + g_updates * per_update.g
  else:
    flops = gradients * (per_update.d + per_update.g) / 2
  return Spent(gradients, config.batch_size * d_updates, flops)


def affordable_steps(
  config: Config,
  per_update: Arithmetic,
  budget: float,
  unit: str,
  d_updates: Callable[[float], float],
) -> int:
  """How many steps the budget pays for, to the nearest, at least 1.

  `unit` is one of UNITS; `d_updates(n)` says how often D moves in the first n steps, and never falls.
  """

  def cost(n: int) -> float:
    found: float = getattr(spent(config, per_update, n, d_updates(n)), unit)
    return found

  low, high = 1, 2  # cost(low) is affordable, but for a budget of less than one step
  while cost(high) <= budget:
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if cost(middle) <= budget else (low, middle)
  return high if cost(high) - budget < budget - cost(low) else low


def d_updates_of(records: Sequence[Mapping[str, Any]]) -> Callable[[float], float]:
  """How often D moved in the first n steps of a run, by what its records say of k.

  Between two records k is what it was in the mean, and after the last one it stays.
  """
  told = [(record['step'], record['k']) for record in records if 'k' in record]
  steps = np.asarray([0, *(step for step, _ in told)], float)
  ks = np.asarray([k for _, k in told], float)
  counts = np.concatenate([[0.0], np.cumsum(np.diff(steps) * ks)])

  def count(n: float) -> float:
    beyond = max(n - steps[-1], 0.0) * ks[-1]
    return float(np.interp(n, steps, counts) + beyond)

  return count
