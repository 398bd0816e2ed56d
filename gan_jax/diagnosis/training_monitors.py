"""Computes cheap statistics of a state during training, on a few hundred training and held-out examples."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.data.device_batches import Batch, DeviceData
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.train_step import TrainSpec
from gan_jax.metrics.nearest_neighbours import squared_distances

MONITOR_STREAM = 0x10DC  # folded into the run's key, so that training draws different numbers
N_EXAMPLES = 512  # training examples, held-out examples and samples of one measurement


class MonitorHistory(NamedTuple):
  """Holds the monitors of a run by step, under their names in `monitors_of_batches` without watch_."""

  steps: list[int]
  gap: list[float]
  near: list[float]
  drift: list[float]
  slope: list[float]
  own: list[float]


def split_monitor_key(key: jax.Array) -> jax.Array:
  """Returns the keys of the training examples, of the held-out examples and of the latents: [3]."""
  return jax.random.split(key, 3)


def compute_monitors(spec: TrainSpec, key: jax.Array, state: GanState, data: DeviceData) -> Metrics:
  """Computes `monitors_of_batches` on `N_EXAMPLES` examples and latents that depend on `key` alone."""
  train_key, held_out_key, latent_key = split_monitor_key(key)
  positions = jnp.arange(N_EXAMPLES, dtype=jnp.uint32)
  train = spec.train_examples(train_key, positions, data.train)
  held_out = spec.held_out_examples(held_out_key, positions, data.held_out)
  return monitors_of_batches(spec.gan, latent_key, state, train, held_out)


def monitors_of_batches(
  gan: Gan, key: jax.Array, state: GanState, train: Batch, held_out: Batch
) -> Metrics:
  """Computes monitors of a state from n training examples, n held-out examples and n samples.

  Distances are in units of the mean distance between two held-out examples. Returns scalars:

  watch_gap      energy distance of samples to held-out data: 0 for equal distributions
  watch_near     mean nearest-neighbour distance between samples and held-out examples, over the one between
                 training and held-out examples, less 1: 0 for a perfect sampler; sees finer detail than the gap
  watch_spread   mean distance between two samples: 0 for a generator of one sample
  watch_drift    mean distance of samples to those of the averaged weights at the same latents
  watch_slope    mean |d loss / d output| of the generator loss: 0 where gradients have vanished
  watch_own      probability that D ranks a held-out example above a sample: 1/2 for an uninformed D
  watch_overfit  probability that D ranks a training example above a held-out one: 1/2 without overfitting
  """
  n = held_out.images.shape[0]
  latents = sample_latents(gan.latent, example_keys(key, n, None))
  fake = gan_lib.sample(gan, state.g.weights, latents, held_out.labels)
  average = gan_lib.sample(gan, state.g_ema, latents, held_out.labels)
  rows = lambda x: x.reshape(n, -1).astype(jnp.float32)
  real_rows, fake_rows = rows(held_out.images), rows(fake)
  real_to_fake = jnp.sqrt(squared_distances(real_rows, fake_rows))
  between, within = jnp.mean(real_to_fake), _mean_distance(fake_rows)
  unit = jnp.maximum(_mean_distance(real_rows), 1e-12)
  real_to_train = jnp.sqrt(squared_distances(real_rows, rows(train.images)))
  sets = (train, held_out, Batch(fake, held_out.labels))
  outputs = [gan_lib.logits(gan, state.d.weights, *batch) for batch in sets]
  train_logits, real_logits, fake_logits = outputs
  nearest = _mean_nearest(real_to_fake) / jnp.maximum(_mean_nearest(real_to_train), 1e-12)
  return {
    'watch_gap': (2 * between - within - unit) / unit,
    'watch_near': nearest - 1,
    'watch_spread': within / unit,
    'watch_drift': jnp.mean(jnp.linalg.norm(fake_rows - rows(average), axis=1)) / unit,
    'watch_slope': generator_loss_slope(gan, real_logits, fake_logits),
    'watch_own': _probability_above(real_logits, fake_logits),
    'watch_overfit': _probability_above(train_logits, real_logits),
  }


def generator_loss_slope(gan: Gan, real: jax.Array, fake: jax.Array) -> jax.Array:
  """Computes the mean |d generator loss / d output| over outputs `fake` [n] of D, with `real` [n] beside."""
  return jnp.sum(jnp.abs(jax.grad(gan.loss.generator, argnums=1)(real, fake)))


def monitor_history_from_records(
  records: Sequence[dict[str, Any]], ema_decay: float = 0.0
) -> MonitorHistory | None:
  """Collects the monitors among the records of a metrics.jsonl; None without any.

  The drift is NaN for the first 3 / (1 - ema_decay) steps, in which the average still holds initial weights.
  """
  monitored = [r for r in records if 'watch_gap' in r]
  if not monitored:
    return None
  steps = [int(r['step']) for r in monitored]
  column = lambda name: [float(r[f'watch_{name}']) for r in monitored]
  history = MonitorHistory(steps, *map(column, MonitorHistory._fields[1:]))
  first = 3 / (1 - ema_decay)
  drift = [x if step >= first else math.nan for step, x in zip(steps, history.drift, strict=True)]
  return history._replace(drift=drift)


def _mean_nearest(distances: jax.Array) -> jax.Array:
  """Returns the mean distance to the nearest of the other set, over both sets of `distances` [n, m]."""
  return (jnp.mean(distances.min(axis=0)) + jnp.mean(distances.min(axis=1))) / 2


def _mean_distance(rows: jax.Array) -> jax.Array:
  """Returns the mean distance between two different rows [n, d]."""
  n = rows.shape[0]
  # The mask removes the rounding error in the distance of a row to itself.
  distances = jnp.sqrt(squared_distances(rows, rows)) * (1 - jnp.eye(n))
  return jnp.sum(distances) / (n * (n - 1))


def _probability_above(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the probability that a value of `a` [n] exceeds one of `b` [m]; ties count half."""
  return jnp.mean((jnp.sign(a[:, None] - b[None]) + 1) / 2)
