"""Computes what a run costs in gradients, examples and FLOPs, and how many steps a budget pays for."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.data.device_batches import Batch
from gan_jax.distributed import hlo_analysis
from gan_jax.gan import gan as gan_lib, player_updates, update_ratio, update_rules
from gan_jax.gan.gan import Gan

COST_UNITS = ('gradients', 'examples', 'flops')


class UpdateFlops(NamedTuple):
  """Holds the FLOPs of the matrix products and convolutions in one update of each player."""

  d: float
  g: float


class RunCost(NamedTuple):
  """Holds the cost of a run, including the updates by which a controller of k looks ahead."""

  gradients: float  # gradients of one player's loss on one minibatch
  examples: float  # training examples that D received
  flops: float


def count_update_flops(config: Config, gan: Gan, shape: tuple[int, ...]) -> UpdateFlops:
  """Counts the FLOPs of one update of each player on a minibatch of examples of `shape`."""
  zeros = jnp.zeros((1, *shape))
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(lambda key: gan_lib.init(gan, key, zeros), key)
  images: Any = jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)
  labels: Any = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32) if gan.n_classes else None

  def flops(update: Any) -> float:
    trace = jax.make_jaxpr(functools.partial(update, gan))(key, state, Batch(images, labels))
    return hlo_analysis.count_flops(trace.jaxpr, 1.0)

  d_flops = flops(player_updates.update_discriminator)
  return UpdateFlops(d_flops, flops(player_updates.update_generator))


def run_cost(config: Config, update: UpdateFlops, g_updates: float, d_updates: float) -> RunCost:
  """Returns the cost of a run that made `g_updates` and `d_updates` updates.

  FLOPs are exact for alternating updates; other update rules are charged the mean of both players per gradient.
  """
  if config.k == 'auto':
    ahead = update_ratio.RatioController().lookahead_updates(int(g_updates))
    g_updates, d_updates = g_updates + ahead, d_updates + ahead
  gradients = update_rules.gradient_evaluations(config.update, config.unroll, g_updates, d_updates)
  if config.update == 'alternating':
    flops = d_updates * update.d + g_updates * update.g
  else:
    flops = gradients * (update.d + update.g) / 2
  return RunCost(gradients, config.batch_size * d_updates, flops)


def affordable_steps(cost: Callable[[int], float], budget: float) -> int:
  """Returns the number of steps, at least 1, whose cost is nearest to a budget; `cost` must not decrease."""
  low, high = 1, 2  # cost(low) <= budget, unless the budget is below one step
  while cost(high) <= budget:
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if cost(middle) <= budget else (low, middle)
  return high if cost(high) - budget < budget - cost(low) else low


def d_updates_from_metrics(records: Sequence[Mapping[str, Any]]) -> Callable[[float], float]:
  """Returns a function from a number of steps to the updates of D that a run made in them.

  Each record of metrics.jsonl holds the mean k since the record before; after the last record k is constant.
  """
  logged = [(record['step'], record['k']) for record in records if 'k' in record]
  steps = np.asarray([0, *(step for step, _ in logged)], float)
  ks = np.asarray([k for _, k in logged], float)
  counts = np.concatenate([[0.0], np.cumsum(np.diff(steps) * ks)])
  return lambda n: float(np.interp(n, steps, counts) + max(n - steps[-1], 0.0) * ks[-1])
