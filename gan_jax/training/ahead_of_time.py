"""The very program that training calls, traced and compiled for devices that need not exist."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import checks, dynamic_hyperparameters, gan_factory
from gan_jax.config.config import Config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import BatchWindow, DeviceData, Images
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.distributed import pmap, sharding
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import update_ratio
from gan_jax.gan.train_step import Hyperparameters, TrainSpec, make_run_steps
from gan_jax.training import input_pipeline
from gan_jax.utils.errors import UserError


class DataSpec(NamedTuple):
  """What a step has to know of a data set."""

  shape: tuple[int, ...]
  n: int | None  # None for a game
  n_classes: int = 0
  stack: int = 1
  n_held_out: int = 10_000


KNOWN_DATASETS = {
  'mnist': DataSpec((28, 28, 1), 50_000, 10),
  'fashion_mnist': DataSpec((28, 28, 1), 50_000, 10),
  'stacked_mnist': DataSpec((28, 28, 3), 50_000, 1000, 3),
  'cifar10': DataSpec((32, 32, 3), 40_000, 10),
}


class DoesNotFitError(Exception):
  """The program needs more memory than a chip has."""

  def __init__(self, needed: float, has: float):
    self.needed, self.has = needed, has
    super().__init__(f'{needed:.0f} bytes needed, {has:.0f} there')


def data_spec_of(name: str, shape: tuple[int, ...] = (), n: int = 0) -> DataSpec:
  """The examples of a data set by its name, or of `shape` and number; raises UserError."""
  if name in SYNTHETIC:
    return DataSpec(SYNTHETIC[name].shape, None)
  if shape and n:
    return DataSpec(shape, n)
  if name not in KNOWN_DATASETS:
    raise UserError(
      f'--dataset={name}: give --shape=HEIGHTxWIDTHxCHANNELS and --n_train of it; known are '
      f'{", ".join([*KNOWN_DATASETS, *SYNTHETIC])}'
    )
  return KNOWN_DATASETS[name]


class TracedStep(NamedTuple):
  """The step of a run for some devices, traced but not compiled."""

  lowered: Any
  jaxpr: Any
  state: gan_lib.GanState  # shapes
  data: DeviceData  # shapes, of one device
  idle: Any  # data that lie on the device beside the program


def trace_training_step(
  settings: Config,
  examples: DataSpec,
  devices: Sequence[jax.Device],
  mapped: str = 'pmap',
  streamed: bool = False,
) -> TracedStep:
  """The very program that training calls, for arrays that exist in shape only; raises UserError."""
  model = gan_factory.build_gan(settings, examples.shape, examples.n, examples.n_classes)
  checks.check_batch(settings, len(devices))
  feed = images = device_batches.image_batches(
    examples.stack, round(examples.n_classes ** (1 / examples.stack)), settings.contrast
  )
  if streamed:
    feed = device_batches.window_batches(settings.batch_size, settings.contrast)
  if examples.n is None:
    feed = images = device_batches.synthetic_batches(SYNTHETIC[settings.dataset].sample)

  def recipe_of(numbers: Hyperparameters) -> TrainSpec:
    gan = gan_factory.build_gan(
      settings, examples.shape, examples.n, examples.n_classes, hyperparameters=numbers
    )
    k = gan_factory.fixed_ratio(settings, numbers)
    return TrainSpec(gan, settings.update, k, settings.batch_size, feed, images)

  zeros = jnp.zeros((1, *examples.shape))
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(lambda key: gan_lib.init(model, key, zeros), key)
  given = there = _data(settings, examples)
  idle: Any = () if settings.k == 'auto' else there.held_out
  if streamed:
    window = _window(settings, there.train, len(devices))
    there = DeviceData(window, there.held_out)
    images_, labels = sharding.row_sharded_shapes((window.images, window.labels), devices, mapped)
    given = DeviceData(BatchWindow(images_, labels, window.first), there.held_out)
    idle = (idle, window)  # the next one comes while the device works
  if mapped == sharding.SHARDED_PARAMS:
    state, given, key = sharding.sharded_arg_shapes(state, given, key, devices)
  parts = input_pipeline.STREAMED_ARGUMENTS if streamed else {}
  call = pmap.lowerable_map(make_run_steps(recipe_of), devices, 5, 2, mapped, parts)
  numbers = dynamic_hyperparameters.as_arrays(
    dynamic_hyperparameters.hyperparameter_values(settings, examples.n)
  )
  args = (numbers, key, state, given, jax.ShapeDtypeStruct((), jnp.int32))
  return TracedStep(call.lower(*args), call.trace(*args), state, there, idle)


def would_stream(choice: str, settings: Config, examples: DataSpec, memory: float) -> bool:
  """Whether training would stream to devices of so many bytes, by --stream; raises UserError."""
  streamable = examples.n is not None and examples.stack == 1
  needed = bytes_per_device(_data(settings, examples).train)
  return input_pipeline.should_stream_bytes(choice, settings.dataset, streamable, needed, memory)


def bytes_per_device(tree: Any) -> int:
  """Bytes of arrays on one device."""
  numbers = lambda x: math.prod(x.sharding.shard_shape(x.shape) if x.sharding else x.shape)
  return sum(numbers(x) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _data(settings: Config, examples: DataSpec) -> DeviceData:
  if examples.n is None:
    return DeviceData(())
  *sides, channels = examples.shape

  def images(n: int) -> Images:
    shape = (n, *sides, channels // examples.stack)
    labels = jax.ShapeDtypeStruct((n,), jnp.int32) if settings.conditional else None
    return Images(jax.ShapeDtypeStruct(shape, jnp.uint8), labels)

  watched = settings.k == 'auto' or settings.referee_every
  return DeviceData(images(examples.n), images(examples.n_held_out) if watched else ())


def _window(settings: Config, train: Images, n_devices: int) -> BatchWindow:
  """What one device has of a stream of these images."""
  n_rows = settings.batch_size // n_devices
  pace = settings.ratio or update_ratio.RatioController()
  n = input_pipeline.minibatches_per_window(n_rows * math.prod(train.images.shape[1:]), pace)
  rows = lambda x: jax.ShapeDtypeStruct((n_rows, n, *x.shape[1:]), x.dtype)
  labels = None if train.labels is None else rows(train.labels)
  return BatchWindow(rows(train.images), labels, jax.ShapeDtypeStruct((), jnp.int32))


def compile_step(program: TracedStep, quickly: bool = False) -> Any:
  """The compiled step; raises DoesNotFitError. `quickly` saves minutes for convolutions."""
  options = {'exec_time_optimization_effort': -1.0} if quickly else None
  try:
    return program.lowered.compile(compiler_options=options)
  except Exception as error:
    sizes = re.search(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm', str(error))
    if 'RESOURCE_EXHAUSTED' not in str(error) or not sizes:
      raise
    scale = {'': 0, 'K': 10, 'M': 20, 'G': 30, 'T': 40}
    needed, has = (float(sizes[i]) * 2 ** scale[sizes[i + 1]] for i in (1, 3))
    raise DoesNotFitError(needed, has) from error
