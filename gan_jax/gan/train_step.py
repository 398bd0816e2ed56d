"""Runs training steps: one step of a `TrainSpec`, and n steps as one compilable function."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.data.device_batches import Batch, BatchFn, DeviceData
from gan_jax.distributed import randomness
from gan_jax.distributed.randomness import BatchAxis, example_keys
from gan_jax.gan import gan as gan_lib, update_ratio
from gan_jax.gan.gan import Gan, GanState, Metrics, Weights
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.player_updates import update_discriminator, update_generator
from gan_jax.gan.update_ratio import UpdateRatio
from gan_jax.gan.update_rules import UPDATE_RULES, GetBatch

# Numeric hyperparameters, arguments of a compiled training program, by the name of their setting.
Hyperparameters = Mapping[str, Any]


class TrainSpec(NamedTuple):
  """Holds all that defines a training step: the Gan, its update rule, k, batch size and batch functions."""

  gan: Gan
  update: str  # a key of UPDATE_RULES
  k: UpdateRatio | None  # updates of D per step; None where `gan.ratio_controller` adapts k
  batch_size: int  # over all devices
  train_examples: BatchFn  # maps (key, positions, data.train) to a Batch
  held_out_examples: BatchFn  # maps (key, positions, data.held_out) to a Batch, for adapting k


class RunKeys(NamedTuple):
  """Holds the random keys of a run."""

  data: Array  # the order of training examples
  noise: Array  # latents, dropout and augmentation
  held_out: Array  # measurements for adapting k


def make_run_steps(
  make_spec: Callable[[Hyperparameters], TrainSpec],
) -> Callable[..., tuple[GanState, Metrics]]:
  """Returns `run_steps` as a function of (hyperparameters, key, state, data, n, axis_name=...).

  One compilation then serves all runs that differ only in hyperparameters and seed.
  """

  def run(
    hyperparameters: Hyperparameters, *args: Any, axis_name: BatchAxis = None
  ) -> tuple[GanState, Metrics]:
    return run_steps(make_spec(hyperparameters), *args, axis_name=axis_name)

  return run


def run_steps(
  spec: TrainSpec,
  key: Array,
  state: GanState,
  data: DeviceData,
  n: int | Array,
  *,
  axis_name: BatchAxis = None,
) -> tuple[GanState, Metrics]:
  """Takes `n` training steps; returns the new state and the mean of each metric.

  Means are over steps, for metrics named d_* over updates of D; `k` is the number of D's updates per step.
  `n` is traced: one program for all intervals between events keeps a resumed run bit-equal to an unbroken one.
  `key` is the run's root key, `axis_name` the mapped axis of devices, if any.
  """

  def add_step(_: Any, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
    state, metrics = train_step(spec, key, carry[0], data, axis_name)
    return state, jax.tree.map(jnp.add, carry[1], metrics)

  shapes = jax.eval_shape(lambda: train_step(spec, key, state, data, None))[1]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  state, sums = lax.fori_loop(0, n, add_step, (state, zeros))
  d_updates = sums.pop('d_updates')
  # Without an update of D the means of d_* are 0: NaN would be taken for divergence.
  d_weight = 1 / jnp.maximum(d_updates, 1)
  means = {name: x * d_weight if name.startswith('d_') else x / n for name, x in sums.items()}
  return state, {**means, 'k': d_updates / n}


def train_step(
  spec: TrainSpec, key: Array, state: GanState, data: DeviceData, axis_name: BatchAxis
) -> tuple[GanState, Metrics]:
  """Updates D and G by the update rule of `spec`, then adapts k; arguments as of `run_steps`."""
  gan = spec.gan
  data_key, noise_key, held_out_key = split_run_key(key)
  if gan.ratio_controller is None:
    assert spec.k is not None
    n_d = spec.k.updates_at(state.step)
  else:
    n_d, control = gan.ratio_controller.next_updates(state.controls['k'])
    state = state.replace(controls=state.controls | {'k': control})
  step_key = jax.random.fold_in(noise_key, state.step)
  get_batch = lambda i: get_train_batch(spec, data_key, data.train, i, axis_name)
  rule = UPDATE_RULES[spec.update]
  state, metrics = rule(gan, step_key, state, get_batch, n_d, axis_name=axis_name)
  if gan.ratio_controller is not None:
    control = adapt_update_ratio(spec, held_out_key, state, data.held_out, get_batch, axis_name)
    state = state.replace(controls=state.controls | {'k': control})
    metrics = metrics | {'gain': control.gain, 'undone': control.undone}
  if gan.ada is not None:
    metrics = metrics | {'augment_p': state.controls['augment'].p}
  return state, metrics


def split_run_key(key: Array) -> RunKeys:
  """Splits a run's root key by purpose."""
  return RunKeys(*jax.random.split(key, 3))


def get_train_batch(
  spec: TrainSpec, key: Array, data: Any, i: Array, axis_name: BatchAxis
) -> Batch:
  """Returns this device's share of the i-th minibatch of a run, counted in updates of D.

  `key` is `RunKeys.data`, `data` is `DeviceData.train`.
  """
  axis = randomness.collective_axis_name(axis_name)
  n = spec.batch_size // (1 if axis is None else lax.axis_size(axis))
  start = i.astype(jnp.uint32) * jnp.uint32(spec.batch_size)
  positions = start + randomness.global_example_indices(n, axis_name).astype(jnp.uint32)
  return spec.train_examples(key, positions, data)


def adapt_update_ratio(
  spec: TrainSpec, key: Array, state: GanState, held_out: Any, get_batch: GetBatch, axis: BatchAxis
) -> update_ratio.Control:
  """Returns the ratio controller's state, with k adapted if a measurement is due at `state.step`.

  It measures how `n_lookahead` updates of D alone, and of G alone, change D's cross-entropy on held-out data.
  `key` is `RunKeys.held_out`, `held_out` is `DeviceData.held_out`; `get_batch(i)` returns the i-th minibatch.
  """
  gan, controller = spec.gan, spec.gan.ratio_controller
  assert controller is not None
  n, n_lookahead = controller.n_examples, controller.n_lookahead
  step = state.step.astype(jnp.uint32)
  held_out_key, z_key, d_key, g_key = jax.random.split(key, 4)

  def look_ahead(update: Callable[..., tuple[GanState, Metrics]], key: Array) -> GanState:
    """Applies `n_lookahead` updates of one player to a copy of the state, for measuring only."""
    key = jax.random.fold_in(key, step)

    def body(i: Array, state: GanState) -> GanState:
      batch = get_batch(state.d.count)
      return update(gan, jax.random.fold_in(key, i), state, batch, axis_name=axis)[0]

    return lax.fori_loop(0, n_lookahead, body, state)

  def measure() -> update_ratio.Control:
    positions = step * jnp.uint32(n) + jnp.arange(n, dtype=jnp.uint32)
    batch = spec.held_out_examples(held_out_key, positions, held_out)
    latents = sample_latents(gan.latent, example_keys(jax.random.fold_in(z_key, step), n, None))
    cost = functools.partial(_cross_entropy, gan, latents, batch)
    d, g = state.d.weights, state.g.weights
    now = cost(d, g)
    gain = now - cost(look_ahead(update_discriminator, d_key).d.weights, g)
    undone = cost(d, look_ahead(update_generator, g_key).g.weights) - now
    return controller.adapt(state.controls['k'], gain / n_lookahead, undone / n_lookahead)

  return lax.cond(controller.is_due(state.step), measure, lambda: state.controls['k'])


def _cross_entropy(gan: Gan, latents: Array, batch: Batch, d: Weights, g: Weights) -> Array:
  """Returns D's cross-entropy [nats] on `batch` and the samples of `latents`, in evaluation mode."""
  fakes = gan_lib.sample(gan, g, latents, batch.labels)
  real, fake = (gan_lib.logits(gan, d, x, batch.labels) for x in (batch.images, fakes))
  return update_ratio.log_odds_cross_entropy(*gan.loss.log_odds(real, fake))
