"""Small runs that go wrong in a known way: trained here, watched as the training loop watches them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.referee_benchmark.benchmark_data import BenchmarkData
from gan_jax.config import config, gan_factory
from gan_jax.data import device_batches, shuffle
from gan_jax.data.device_batches import Batch, BatchFn, DeviceData, Images
from gan_jax.diagnosis import diagnostic_statistics, training_monitors
from gan_jax.diagnosis.diagnostic_statistics import MonitorHistory
from gan_jax.diagnosis.discriminator_bound import DiscriminatorOutputs
from gan_jax.evaluation import sampling
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import GanState
from gan_jax.gan.train_step import TrainSpec, run_steps

_LOOKS = 20
_SHOWN = 4000


class FaultyRunSpec(NamedTuple):
  """A run: settings as flags have them, and what flags cannot say."""

  settings: dict[str, Any]
  steps: int
  n_train: int | None = None  # so many training examples only
  head_start: int = 0  # steps that D learns alone before the first


class FaultyRun(NamedTuple):
  """What came of a plan."""

  train: np.ndarray
  fake: np.ndarray
  outputs: DiscriminatorOutputs
  history: MonitorHistory
  losses: np.ndarray  # of D and of G at each look [looks, 2]


def _points_feed(key: jax.Array, positions: jax.Array, data: jax.Array) -> Batch:
  return Batch(data[shuffle.shuffled_indices(key, positions, data.shape[0])])


def recipe_of(world: BenchmarkData, plan: FaultyRunSpec, n_train: int) -> TrainSpec:
  """The plan's recipe on this world."""
  common: dict[str, Any] = {'steps': plan.steps, 'r1': 0.0, 'ema_decay': 0.99}
  if world.is_images:
    common |= {'dataset': 'mnist', 'network': 'mlp', 'g_width': 256, 'd_width': 64}
    common |= {'latent_size': 50, 'batch_size': 64, 'g_lr': 5e-4, 'd_lr': 5e-4}
  else:
    common |= {'dataset': 'ring', 'network': 'relu', 'g_width': 64, 'd_width': 64}
    common |= {'g_depth': 3, 'd_depth': 3, 'latent': 'normal', 'latent_size': 4}
    common |= {'batch_size': 128, 'g_lr': 1e-3, 'd_lr': 1e-3, 'scale': float(world.train.std())}
  chosen = config.Config(**(common | plan.settings))
  mean = world.train.mean(axis=0) / 255 if world.is_images else None
  gan = gan_factory.build_gan(chosen, world.train.shape[1:], n_train, 0, mean)
  feed: BatchFn = device_batches.image_batches() if world.is_images else _points_feed
  return TrainSpec(gan, chosen.update, chosen.ratio, chosen.batch_size, feed, feed)


def train_faulty_run(world: BenchmarkData, plan: FaultyRunSpec, seed: int) -> FaultyRun:
  """Train the plan and look at it `_LOOKS` times."""
  train = world.train[: plan.n_train]
  recipe = recipe_of(world, plan, len(train))
  load = (lambda x: Images(jnp.asarray(x))) if world.is_images else jnp.asarray
  data = DeviceData(load(train), load(world.held_out))
  key = jax.random.key(seed)
  state = gan_lib.init(recipe.gan, jax.random.fold_in(key, 0), jnp.zeros((1, *train.shape[1:])))
  stretch = jax.jit(functools.partial(run_steps, recipe))
  if plan.head_start:
    still = recipe.gan._replace(g_rate=jnp.zeros_like)
    alone = recipe._replace(gan=still)
    ahead = jax.jit(functools.partial(run_steps, alone))(key, state, data, plan.head_start)[0]
    state = state.replace(d=ahead.d)
  look = jax.jit(functools.partial(training_monitors.compute_monitors, recipe))
  records: list[dict[str, Any]] = []
  losses: list[list[float]] = []
  each = max(plan.steps // _LOOKS, 1)
  for i in range(_LOOKS):
    state, means = stretch(key, state, data, each)
    losses.append([float(means['d_loss']), float(means['g_loss'])])
    seen = {name: float(x) for name, x in look(jax.random.key(1), state, data).items()}
    records.append({'step': (i + 1) * each} | seen)
    if not all(np.isfinite(list(seen.values()))):
      break
  records = [r for r in records if all(np.isfinite(list(r.values())))]
  history = diagnostic_statistics.monitor_history_from_records(records)
  assert history is not None
  return FaultyRun(
    train, *_ended(world, recipe, state, data, len(train)), history, np.asarray(losses)
  )


def _ended(
  world: BenchmarkData, recipe: TrainSpec, state: GanState, data: DeviceData, n_train: int
) -> tuple[np.ndarray, DiscriminatorOutputs]:
  """Samples of the trained G, and what its D says of them and of data."""
  gan = recipe.gan
  latents = sampling.fixed_latents(gan.latent, 5, 10_000 if world.is_images else 20_000)
  make = sampling.generate_images if world.is_images else sampling.generate_samples
  fake = make(gan, state.g.weights, latents)
  positions = jnp.arange(_SHOWN, dtype=jnp.uint32)
  key = jax.random.key(0)
  judge = jax.jit(lambda x: gan_lib.logits(gan, state.d.weights, x, None))
  train = judge(recipe.train_examples(key, positions[:n_train], data.train).images)
  held_out = judge(recipe.held_out_examples(key, positions, data.held_out).images)
  sample = jax.jit(functools.partial(gan_lib.sample, gan))
  theirs = judge(sample(state.g.weights, latents[:_SHOWN], None))
  slope = float(training_monitors.generator_loss_slope(gan, held_out, theirs))
  return fake, DiscriminatorOutputs(
    np.asarray(train), np.asarray(held_out), np.asarray(theirs), slope
  )
