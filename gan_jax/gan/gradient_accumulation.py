"""Averages a function over the microbatches of a batch, and a tree over devices."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import BatchAxis, Microbatch, collective_axis_name

T = TypeVar('T')


def mean_over_microbatches(
  fn: Callable[[Batch, BatchAxis], T], batch: Batch, n: int, axis: BatchAxis
) -> T:
  """Returns the mean of `fn(microbatch, axis)` over n equal microbatches of `batch`, computed in sequence.

  Equals `fn(batch, axis)` but for rounding where `fn` is a mean over independent examples, whose noise
  depends on their position in the global batch; not with batch norm.
  """
  if n == 1:
    return fn(batch, axis)
  assert not isinstance(axis, Microbatch)
  microbatches = jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)

  def add(sums: T, indexed: tuple[Array, Batch]) -> tuple[T, None]:
    index, microbatch = indexed
    return jax.tree.map(jnp.add, sums, fn(microbatch, Microbatch(axis, index, n))), None

  first = jax.tree.map(lambda x: x[0], microbatches)
  shapes = jax.eval_shape(lambda x: fn(x, Microbatch(axis, jnp.int32(0), n)), first)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  sums, _ = lax.scan(add, zeros, (jnp.arange(n), microbatches))
  return jax.tree.map(lambda x: x / n, sums)


def pmean(tree: T, axis_name: BatchAxis) -> T:
  """Averages a tree over devices in one all-reduce; returns the tree itself on a single device."""
  axis = collective_axis_name(axis_name)
  return tree if axis is None else lax.pmean(tree, axis)
