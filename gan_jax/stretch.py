"""Many training steps as one pure program over data that lie on the device."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import batches, images
from gan_jax import gan as gan_lib
from gan_jax.config import Config
from gan_jax.gan import Gan, GanState, Metrics


def draw(
  key: jax.Array, step: jax.Array, data: jax.Array, config: Config, axis_name: str | None
) -> jax.Array:
  """This device's minibatches of one step, [k, batch / devices, h, w, c] in [-1, 1], from uint8 data."""
  n_devices = 1 if axis_name is None else lax.axis_size(axis_name)
  rows = config.batch_size // n_devices
  first = 0 if axis_name is None else lax.axis_index(axis_name) * rows
  updates = step.astype(jnp.uint32) * jnp.uint32(config.k) + jnp.arange(config.k, dtype=jnp.uint32)
  rows_of = first + jnp.arange(rows)
  positions = updates[:, None] * jnp.uint32(config.batch_size) + rows_of[None].astype(jnp.uint32)
  indices = batches.shuffled(key, positions.reshape(-1), data.shape[0])
  return images.to_unit(data[indices]).reshape(config.k, rows, *data.shape[1:])


def run_steps(
  gan: Gan,
  config: Config,
  key: jax.Array,
  state: GanState,
  data: jax.Array,
  n: int | jax.Array,
  *,
  axis_name: str | None = None,
) -> tuple[GanState, Metrics]:
  """N training steps in one program: the new state and the mean of each metric over the n steps.

  `n` is traced, so that every stretch between two events of the loop runs the same program: that is
  what makes a resumed run equal an unbroken one bit for bit.
  """
  data_key, noise_key = jax.random.split(key)
  update = functools.partial(gan_lib.UPDATES[config.update], gan, axis_name=axis_name)

  def one(state: GanState) -> tuple[GanState, Metrics]:
    minibatches = draw(data_key, state.step, data, config, axis_name)
    return update(jax.random.fold_in(noise_key, state.step), state, minibatches)

  def add(_: Any, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
    state, metrics = one(carry[0])
    return state, jax.tree.map(jnp.add, carry[1], metrics)

  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, state)[1])
  state, sums = lax.fori_loop(0, n, add, (state, zeros))
  return state, jax.tree.map(lambda x: x / n, sums)
