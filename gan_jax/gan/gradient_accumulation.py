"""The mean over the parts of a batch: those that come one after another, and those of other devices."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import BatchAxis, Microbatch, collective_axis_name

T = TypeVar('T')


def mean_over_microbatches(
  fn: Callable[[Batch, BatchAxis], T], batch: Batch, n: int, axis: BatchAxis
) -> T:
  """The mean of `fn(part, whose)` over n equal parts of this device's `batch`, one after another.

  It equals `fn(batch, axis)` but for rounding where `fn` is a mean over examples, each of which draws its
  noise by its place in the global batch: not so with batch norm.
  """
  if n == 1:
    return fn(batch, axis)
  assert not isinstance(axis, Microbatch)
  parts = jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)

  def add(sums: T, one: tuple[jax.Array, Batch]) -> tuple[T, None]:
    index, part = one
    return jax.tree.map(jnp.add, sums, fn(part, Microbatch(axis, index, n))), None

  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(lambda part: fn(part, Microbatch(axis, jnp.int32(0), n)), first)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  sums, _ = lax.scan(add, zeros, (jnp.arange(n), parts))
  return jax.tree.map(lambda x: x / n, sums)


def pmean(tree: T, axis_name: BatchAxis) -> T:
  """The mean over devices, in one all-reduce; the tree itself where there is one device."""
  axis = collective_axis_name(axis_name)
  return tree if axis is None else lax.pmean(tree, axis)
