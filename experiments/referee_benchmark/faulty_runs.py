"""Trains small runs with a known fault, with the monitors of the training loop."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import gan_factory, run_config
from gan_jax.data import device_batches, shuffle
from gan_jax.data.device_batches import Batch, BatchFn, DeviceData, Images
from gan_jax.diagnosis import training_monitors
from gan_jax.diagnosis.discriminator_calibration import DiscriminatorOutputs
from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.evaluation import sampling
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import GanState
from gan_jax.gan.train_step import TrainSpec, run_steps

from .benchmark_data import BenchmarkData

_N_RECORDS = 20  # of the monitors
_N_OUTPUTS = 4000  # examples of each set


class FaultyRunSpec(NamedTuple):
  """Holds the settings of a run, and what settings do not cover."""

  settings: dict[str, Any]  # fields of Config
  steps: int
  n_train: int | None = None  # training examples; None for all
  discriminator_head_start: int = 0  # steps of D alone before the first step


class FaultyRun(NamedTuple):
  """Holds the result of a run."""

  train: np.ndarray
  fake: np.ndarray
  outputs: DiscriminatorOutputs
  history: MonitorHistory
  losses: np.ndarray  # of D and of G [records, 2]


def _point_batch(key: jax.Array, positions: jax.Array, data: jax.Array) -> Batch:
  return Batch(data[shuffle.shuffled_indices(key, positions, data.shape[0])])


def _train_spec(data: BenchmarkData, run: FaultyRunSpec, n_train: int) -> TrainSpec:
  settings: dict[str, Any] = {'steps': run.steps, 'r1': 0.0, 'ema_decay': 0.99}
  if data.is_images:
    settings |= {'dataset': 'mnist', 'network': 'mlp', 'g_width': 256, 'd_width': 64}
    settings |= {'latent_size': 50, 'batch_size': 64, 'g_lr': 5e-4, 'd_lr': 5e-4}
  else:
    settings |= {'dataset': 'ring', 'network': 'relu', 'g_width': 64, 'd_width': 64}
    settings |= {'g_depth': 3, 'd_depth': 3, 'latent': 'normal', 'latent_size': 4}
    settings |= {'batch_size': 128, 'g_lr': 1e-3, 'd_lr': 1e-3, 'scale': float(data.train.std())}
  chosen = run_config.Config(**(settings | run.settings))
  mean = data.train.mean(axis=0) / 255 if data.is_images else None
  gan = gan_factory.build_gan(chosen, data.train.shape[1:], n_train, 0, mean)
  batch_fn: BatchFn = device_batches.image_batches() if data.is_images else _point_batch
  return TrainSpec(gan, chosen.update, chosen.ratio, chosen.batch_size, batch_fn, batch_fn)


def train_faulty_run(data: BenchmarkData, run: FaultyRunSpec, seed: int) -> FaultyRun:
  """Trains a run and computes its monitors `_N_RECORDS` times, until one is not finite."""
  train = data.train[: run.n_train]
  spec = _train_spec(data, run, len(train))
  put = (lambda x: Images(jnp.asarray(x))) if data.is_images else jnp.asarray
  device_data = DeviceData(put(train), put(data.held_out))
  key = jax.random.key(seed)
  state = gan_lib.init(spec.gan, jax.random.fold_in(key, 0), jnp.zeros((1, *train.shape[1:])))
  if run.discriminator_head_start:
    frozen_g = spec._replace(gan=spec.gan._replace(g_rate=jnp.zeros_like))
    advance_d = jax.jit(functools.partial(run_steps, frozen_g))
    state = state.replace(d=advance_d(key, state, device_data, run.discriminator_head_start)[0].d)
  advance = jax.jit(functools.partial(run_steps, spec))
  monitor = jax.jit(functools.partial(training_monitors.compute_monitors, spec))
  records: list[dict[str, Any]] = []
  losses: list[list[float]] = []
  interval = max(run.steps // _N_RECORDS, 1)
  for i in range(_N_RECORDS):
    state, means = advance(key, state, device_data, interval)
    losses.append([float(means['d_loss']), float(means['g_loss'])])
    monitors = monitor(jax.random.key(1), state, device_data)
    values = {name: float(x) for name, x in monitors.items()}
    if not all(np.isfinite(list(values.values()))):
      break
    records.append({'step': (i + 1) * interval} | values)
  history = training_monitors.monitor_history_from_records(records)
  assert history is not None
  fake, outputs = _samples_and_outputs(data, spec, state, device_data, len(train))
  return FaultyRun(train, fake, outputs, history, np.asarray(losses))


def _samples_and_outputs(
  data: BenchmarkData, spec: TrainSpec, state: GanState, device_data: DeviceData, n_train: int
) -> tuple[np.ndarray, DiscriminatorOutputs]:
  """Returns samples, and the discriminator's outputs on training data, held-out data and samples."""
  gan = spec.gan
  latents = sampling.fixed_latents(gan.latent, 5, 10_000 if data.is_images else 20_000)
  generate = sampling.generate_images if data.is_images else sampling.generate_samples
  fake = generate(gan, state.g.weights, latents)
  positions = jnp.arange(_N_OUTPUTS, dtype=jnp.uint32)
  key = jax.random.key(0)
  logits = jax.jit(lambda x: gan_lib.logits(gan, state.d.weights, x, None))
  on_train = logits(spec.train_examples(key, positions[:n_train], device_data.train).images)
  on_held_out = logits(spec.held_out_examples(key, positions, device_data.held_out).images)
  sample = jax.jit(functools.partial(gan_lib.sample, gan))
  on_fake = logits(sample(state.g.weights, latents[:_N_OUTPUTS], None))
  slope = float(training_monitors.generator_loss_slope(gan, on_held_out, on_fake))
  return fake, DiscriminatorOutputs(
    np.asarray(on_train), np.asarray(on_held_out), np.asarray(on_fake), slope
  )
