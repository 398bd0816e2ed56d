"""Trains real runs within one process: one compiled program for all runs of equal structure and data shape.

Rates, betas, penalties, k and seeds are arguments of a program, and so are the data: sets of images of one
shape share programs, the few images of a small set repeated to the number of the others. Points come from a
pool of draws.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import dynamic_hyperparameters, gan_factory
from gan_jax.config.run_config import Config
from gan_jax.data import device_batches, load_dataset, shuffle
from gan_jax.data.device_batches import Batch, BatchFn, DeviceData, Images
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import training_monitors
from gan_jax.evaluation import classifier
from gan_jax.evaluation.sampling import fixed_latents
from gan_jax.evaluation.tasks import Task, load_task
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState, Weights
from gan_jax.gan.train_step import TrainSpec, make_run_steps
from gan_jax.gan.update_ratio import UpdateRatio, ratio_from_float
from gan_jax.sweep import compute_budget

from . import held_out_distances
from .held_out_distances import Measure

_N_POOL = 2**16  # points to train on
_N_IMAGES = 50_000  # training images, as many as MNIST has
_N_VALIDATION = 5_000
_LATENT_SEED = 4242  # of the samples that are measured
_SAMPLE_CHUNK = 1024
# Settings that no program depends on.
_OUTSIDE = frozenset(
  {
    *('dataset', 'data_dir', 'image_size', 'strict', 'k', 'accumulate', 'keep', 'stop_on'),
    *('log_every', 'eval_every', 'referee_every', 'checkpoint_every'),
  }
)

_OF_G = ('network', 'g_width', 'g_depth', 'g_norm', 'latent', 'latent_size', 'scale', 'dtype')


class WorldData(NamedTuple):
  """Holds the data of a world on the device, and the distances to its held-out data."""

  task: Task
  data: DeviceData
  batch_fn: BatchFn  # of training examples
  held_out_fn: BatchFn
  measure: Measure
  kind: str  # of the batch functions: programs of one kind and shape are shared


def _pool_batch(key: jax.Array, positions: jax.Array, data: jax.Array) -> Batch:
  return Batch(data[shuffle.shuffled_indices(key, positions, data.shape[0])])


@functools.cache
def open_world(dataset: str, image_size: int, data_dir: str, cache: Path | None) -> WorldData:
  """Loads the data of the runs on `dataset`; raises UserError where they are missing."""
  config = Config(dataset=dataset, image_size=image_size, data_dir=data_dir)
  task = load_task(config, cache)
  if dataset in SYNTHETIC:
    n_held_out = 5 * held_out_distances.N_POINTS
    sample = jax.jit(jax.vmap(SYNTHETIC[dataset].sample))
    drawn = np.asarray(sample(jax.random.split(jax.random.key(77), _N_POOL + n_held_out + 2**14)))
    train, pool, held_out = np.split(drawn, [_N_POOL, _N_POOL + 2**14])
    data = DeviceData(jnp.asarray(train), jnp.asarray(pool))
    measure = held_out_distances.point_measure(held_out)
    return WorldData(task, data, _pool_batch, _pool_batch, measure, 'points')
  assert isinstance(task, ImageTask)
  dataset_ = task.dataset
  repeat = lambda images, n: images[np.arange(n) % len(images)]
  n_train = _N_IMAGES if task.shape[0] < 32 else len(dataset_.train)
  train, validation = (
    repeat(dataset_.train, n_train),
    repeat(dataset_.validation, _N_VALIDATION),
  )
  data = jax.tree.map(jnp.asarray, DeviceData(Images(train), Images(validation)))
  batch_fn = device_batches.image_batches(dataset_.stack, dataset_.n_base_classes)
  held_out_fn = device_batches.image_batches()
  measure = _image_measure(task, image_size, data_dir, cache)
  return WorldData(task, data, batch_fn, held_out_fn, measure, f'images {dataset_.stack}')


def _image_measure(task: ImageTask, image_size: int, data_dir: str, cache: Path | None) -> Measure:
  """Returns the distances to images that training never saw: for a folder of few, those of the whole set."""
  dataset = task.dataset
  for part, whole in (('digits', 'mnist'), ('clothes', 'fashion_mnist')):
    if Path(dataset.name).name.startswith(part):
      dataset = load_dataset(whole, data_dir, image_size=image_size)
  if dataset.train_labels is None:
    return held_out_distances.image_measure(
      np.concatenate([dataset.validation, dataset.test]), None
    )
  network = classifier.load_or_train(dataset, cache)
  return held_out_distances.image_measure(dataset.test, network)


def hyperparameters(config: Config, world: WorldData) -> dict[str, np.ndarray]:
  """Returns the arguments of a run's program that are not data: rates, penalties, k, ..."""
  values = dynamic_hyperparameters.hyperparameter_arrays(config, world.task.n_train)
  ratio = ratio_from_float(float(config.k))
  numbers = {'k_numerator': ratio.numerator, 'k_denominator': ratio.denominator}
  return values | {name: np.asarray(value, np.int32) for name, value in numbers.items()}


def _structure(config: Config, world: WorldData) -> tuple[Any, ...]:
  key = dynamic_hyperparameters.program_key(config)
  return (tuple(item for item in key if item[0] not in _OUTSIDE), world.task.shape, world.kind)


class RunPrograms:
  """Compiles and keeps the programs of training, monitoring and sampling."""

  def __init__(self) -> None:
    self._train: dict[Any, Any] = {}
    self._monitor: dict[Any, Any] = {}
    self._sample: dict[Any, Any] = {}
    self._flops: dict[Any, compute_budget.UpdateFlops] = {}
    self._latents: dict[Any, jax.Array] = {}

  def initial_state(self, config: Config, world: WorldData) -> GanState:
    """Returns the state before the first update, as a run of its own has it."""
    task = world.task
    values = hyperparameters(config, world)
    gan = gan_factory.build_gan(config, task.shape, task.n_train, 0, task.mean_image, values)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    return gan_lib.init(gan, key, jnp.zeros((1, *task.shape)))

  def advance(
    self, config: Config, world: WorldData, state: GanState, n: int
  ) -> tuple[GanState, dict[str, float]]:
    """Trains `n` steps, whose state is given away; returns the new state and the mean metrics."""
    key = _structure(config, world)
    if key not in self._train:
      make_spec = functools.partial(_train_spec, config, world)
      self._train[key] = jax.jit(make_run_steps(make_spec), donate_argnums=2)
    values, seed = hyperparameters(config, world), jax.random.key(config.seed)
    state, means = self._train[key](values, seed, state, world.data, np.int32(n))
    return state, {name: float(value) for name, value in jax.device_get(means).items()}

  def monitor(self, config: Config, world: WorldData, state: GanState) -> dict[str, float]:
    """Returns the training monitors of a state."""
    key = _structure(dataclasses.replace(config, batch_size=64), world)
    if key not in self._monitor:
      spec = _train_spec(config, world, hyperparameters(config, world))
      self._monitor[key] = jax.jit(functools.partial(training_monitors.compute_monitors, spec))
    stream = jax.random.fold_in(jax.random.key(config.seed), training_monitors.MONITOR_STREAM)
    values = jax.device_get(self._monitor[key](stream, state, world.data))
    return {name: float(value) for name, value in values.items()}

  def samples(self, config: Config, world: WorldData, weights: Weights) -> np.ndarray:
    """Returns the samples that are measured: those of the same latents for all states."""
    points = world.kind == 'points'
    n = held_out_distances.N_POINTS if points else held_out_distances.N_IMAGES
    gan = gan_factory.build_gan(config, world.task.shape, world.task.n_train)
    latents_key = (config.latent, config.latent_size, n)
    if latents_key not in self._latents:
      self._latents[latents_key] = fixed_latents(gan.latent, _LATENT_SEED, n)
    key = (*(getattr(config, name) for name in _OF_G), world.task.shape)
    if key not in self._sample:
      self._sample[key] = jax.jit(functools.partial(gan_lib.sample, gan))
    latents = self._latents[latents_key]
    chunks = (latents[i : i + _SAMPLE_CHUNK] for i in range(0, n, _SAMPLE_CHUNK))
    return np.concatenate([np.asarray(self._sample[key](weights, chunk)) for chunk in chunks])

  def distances(self, config: Config, world: WorldData, weights: Weights) -> dict[str, float]:
    """Returns the distances of samples of G to held-out data."""
    return world.measure.measure(self.samples(config, world, weights))

  def flops(self, config: Config, world: WorldData, steps: int) -> float:
    """Returns the FLOPs of `steps` training steps."""
    key = _structure(config, world)
    if key not in self._flops:
      gan: Gan = gan_factory.build_gan(config, world.task.shape, world.task.n_train)
      counted = compute_budget.count_update_flops(config, gan, world.task.shape)
      self._flops[key] = counted
    d_updates = steps * (float(config.k) if config.update == 'alternating' else 1)
    return compute_budget.run_cost(config, self._flops[key], steps, d_updates).flops


def _train_spec(config: Config, world: WorldData, values: Any) -> TrainSpec:
  gan = gan_factory.build_gan(config, world.task.shape, world.task.n_train, 0, None, values)
  ratio = UpdateRatio(values['k_numerator'], values['k_denominator'])
  fns = (world.batch_fn, world.held_out_fn)
  return TrainSpec(gan, config.update, ratio, config.batch_size, *fns)


def all_finite(values: dict[str, float]) -> bool:
  """Returns whether no value is infinite or NaN."""
  return all(math.isfinite(value) for value in values.values())
