"""Traces and compiles the training program of a run for devices that need not be present."""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import dynamic_hyperparameters, gan_factory, validation
from gan_jax.config.run_config import Config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import BatchWindow, DeviceData, Images
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.distributed import pmap, sharding
from gan_jax.distributed.sharding import Devices
from gan_jax.gan import gan as gan_lib, update_ratio
from gan_jax.gan.train_step import Hyperparameters, TrainSpec, make_run_steps
from gan_jax.training import data_placement, input_pipeline
from gan_jax.utils.errors import UserError


class DataSpec(NamedTuple):
  """Holds what the training program depends on in a data set: shapes and numbers, no examples."""

  shape: tuple[int, ...]
  n: int | None  # training examples; None for a synthetic distribution
  n_classes: int = 0
  stack: int = 1
  n_held_out: int = 10_000


KNOWN_DATASETS = {
  'mnist': DataSpec((28, 28, 1), 50_000, 10),
  'fashion_mnist': DataSpec((28, 28, 1), 50_000, 10),
  'stacked_mnist': DataSpec((28, 28, 3), 50_000, 1000, 3),
  'cifar10': DataSpec((32, 32, 3), 40_000, 10),
  'emoji': DataSpec((64, 64, 3), 3027, 9, n_held_out=377),
}


class DoesNotFitError(Exception):
  """Reports that the program needs more memory than a chip has; both in bytes."""

  def __init__(self, needed: float, has: float):
    self.needed, self.has = needed, has
    super().__init__(f'{needed:.0f} bytes needed, {has:.0f} available')


def data_spec_of(name: str, shape: tuple[int, ...] = (), n: int = 0) -> DataSpec:
  """Returns the spec of a known data set, for other names that of n examples of `shape`; raises UserError."""
  if name in SYNTHETIC:
    return DataSpec(SYNTHETIC[name].shape, None)
  if shape and n:
    return DataSpec(shape, n)
  if name not in KNOWN_DATASETS:
    known = ', '.join([*KNOWN_DATASETS, *SYNTHETIC])
    raise UserError(
      f'--dataset={name}: give --shape=HEIGHTxWIDTHxCHANNELS and --n_train of it; known are {known}'
    )
  return KNOWN_DATASETS[name]


class TracedStep(NamedTuple):
  """Holds the training program of a run for some devices, traced and not compiled."""

  lowered: Any
  jaxpr: Any
  state: gan_lib.GanState  # shapes
  data: DeviceData  # shapes on one device
  resident: Any  # shapes of data on the device that are no argument of the program


def trace_training_step(
  settings: Config, data: DataSpec, devices: Devices, mapped: str = 'pmap', streamed: bool = False
) -> TracedStep:
  """Traces the training program of a run for arrays that have shapes only.

  `devices` may be descriptions of absent ones; `mapped` is a name in `pmap.STEP_MAPS` or
  `sharding.SHARDED_PARAMS`; `streamed` minibatches come from a window of a stream. Raises UserError where
  settings, data and devices do not fit together.
  """
  gan = gan_factory.build_gan(settings, data.shape, data.n, data.n_classes)
  validation.check_batch(settings, len(devices))
  base = round(data.n_classes ** (1 / data.stack))  # classes of one stacked image
  train_fn = held_out_fn = device_batches.image_batches(data.stack, base, settings.contrast)
  if streamed:
    train_fn = device_batches.window_batches(settings.batch_size, settings.contrast)
  if data.n is None:
    train_fn = held_out_fn = device_batches.synthetic_batches(SYNTHETIC[settings.dataset].sample)

  def spec_fn(hyperparameters: Hyperparameters) -> TrainSpec:
    gan = gan_factory.build_gan(settings, *data[:3], hyperparameters=hyperparameters)
    k = gan_factory.fixed_ratio(settings, hyperparameters)
    return TrainSpec(gan, settings.update, k, settings.batch_size, train_fn, held_out_fn)

  zeros = jnp.zeros((1, *data.shape))
  key = jax.eval_shape(lambda: jax.random.key(0))
  state = jax.eval_shape(lambda key: gan_lib.init(gan, key, zeros), key)
  arguments = device_data = _data(settings, data)
  resident: Any = () if settings.k == 'auto' else device_data.held_out
  if streamed:
    window = _window(settings, device_data.train, len(devices))
    device_data = DeviceData(window, device_data.held_out)
    images, labels = sharding.row_sharded_shapes((window.images, window.labels), devices, mapped)
    arguments = DeviceData(BatchWindow(images, labels, window.first), device_data.held_out)
    resident = (resident, window)  # the next window is copied while the device computes
  if mapped == sharding.SHARDED_PARAMS:
    state, arguments, key = sharding.sharded_arg_shapes(state, arguments, key, devices)
  parts = input_pipeline.STREAMED_ARGUMENTS if streamed else {}
  call = pmap.lowerable_map(make_run_steps(spec_fn), devices, 5, 2, mapped, parts)
  numbers = dynamic_hyperparameters.hyperparameter_arrays(settings, data.n)
  args = (numbers, key, state, arguments, jax.ShapeDtypeStruct((), jnp.int32))
  return TracedStep(call.lower(*args), call.trace(*args), state, device_data, resident)


def would_stream(choice: str, settings: Config, examples: DataSpec, memory: float) -> bool:
  """Returns whether training would stream to devices with `memory` bytes, by --stream; raises UserError."""
  streamable = examples.n is not None and examples.stack == 1
  needed = bytes_per_device(_data(settings, examples).train)
  return data_placement.should_stream_bytes(choice, settings.dataset, streamable, needed, memory)


def bytes_per_device(tree: Any) -> int:
  """Returns the bytes that the arrays of a tree occupy on one device."""
  elements = lambda x: math.prod(x.sharding.shard_shape(x.shape) if x.sharding else x.shape)
  return sum(elements(x) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _data(settings: Config, examples: DataSpec) -> DeviceData:
  if examples.n is None:
    return DeviceData(())
  *sides, channels = examples.shape

  def images(n: int) -> Images:
    shape = (n, *sides, channels // examples.stack)
    labels = jax.ShapeDtypeStruct((n,), jnp.int32) if settings.conditional else None
    return Images(jax.ShapeDtypeStruct(shape, jnp.uint8), labels)

  monitored = settings.k == 'auto' or settings.referee_every
  return DeviceData(images(examples.n), images(examples.n_held_out) if monitored else ())


def _window(settings: Config, train: Images, n_devices: int) -> BatchWindow:
  """Returns the shapes of the window of a stream on one device."""
  n_rows = settings.batch_size // n_devices
  pace = settings.ratio or update_ratio.RatioController()
  n = input_pipeline.minibatches_per_window(n_rows * math.prod(train.images.shape[1:]), pace)
  rows = lambda x: jax.ShapeDtypeStruct((n_rows, n, *x.shape[1:]), x.dtype)
  labels = None if train.labels is None else rows(train.labels)
  return BatchWindow(rows(train.images), labels, jax.ShapeDtypeStruct((), jnp.int32))


def compile_step(program: TracedStep, quickly: bool = False) -> Any:
  """Compiles a traced program; raises DoesNotFitError. `quickly` optimises less and saves minutes."""
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
