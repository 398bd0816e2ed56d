"""Builds the train spec of a run, and its initial state, from its settings and its task."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import dynamic_hyperparameters, gan_factory
from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import GanState
from gan_jax.gan.train_step import Hyperparameters, TrainSpec

InitFn = Callable[[Hyperparameters, jax.Array], GanState]


def build_train_spec(
  config: Config,
  task: Task,
  hyperparameters: Hyperparameters | None = None,
  streaming: bool = False,
) -> TrainSpec:
  """Returns the Gan, update rule, k, batch size and batch functions of a run; raises UserError.

  `hyperparameters` replace the numbers of `config`, as tracers inside a compiled program. With `streaming`
  minibatches come from a window of a stream and not from all examples on the device.
  """
  values = hyperparameters or dynamic_hyperparameters.hyperparameter_values(config, task.n_train)
  data = (task.shape, task.n_train, task.n_classes, task.mean_image)
  gan = gan_factory.build_gan(config, *data, values)
  ratio = gan_factory.fixed_ratio(config, values)
  batch_fn = task.window_batch_fn(config.batch_size) if streaming else task.train_batch_fn
  return TrainSpec(gan, config.update, ratio, config.batch_size, batch_fn, task.held_out_batch_fn)


def initial_state_fn(config: Config, task: Task) -> InitFn:
  """Returns a function (hyperparameters, root key) -> state before the first update.

  The hyperparameters are arguments, not constants: the compiler would fold constants with another rounding.
  """

  def init(hyperparameters: Hyperparameters, key: jax.Array) -> GanState:
    gan = build_train_spec(config, task, hyperparameters).gan
    return gan_lib.init(gan, jax.random.fold_in(key, 0), jnp.zeros((1, *task.shape)))

  return init


@dataclasses.dataclass(frozen=True)
class TrainSpecFn:
  """Maps hyperparameters to a train spec; equal for all runs that share one compiled program."""

  config: Config = dataclasses.field(compare=False, repr=False)
  task: Task = dataclasses.field(compare=False, repr=False)
  program_key: tuple[Any, ...]
  streaming: bool = False

  def __call__(self, hyperparameters: Hyperparameters) -> TrainSpec:
    """Returns the train spec with these hyperparameters."""
    return build_train_spec(self.config, self.task, hyperparameters, self.streaming)


def train_spec_fn(config: Config, task: Task, streaming: bool = False) -> TrainSpecFn:
  """Returns the hashable function from hyperparameters to the train spec of runs like `config`."""
  key = (dynamic_hyperparameters.program_key(config), task.fingerprint)
  return TrainSpecFn(config, task, key, streaming)
