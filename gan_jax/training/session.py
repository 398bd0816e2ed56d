"""Holds what one process needs to train one run: data, compiled programs and the initial state."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax

from gan_jax.config import dynamic_hyperparameters, validation
from gan_jax.config.run_config import Config
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed import pmap, processes, sharding
from gan_jax.distributed.processes import ProcessGroup
from gan_jax.distributed.sharding import Devices
from gan_jax.evaluation.tasks import Task, load_task
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.train_step import make_run_steps
from gan_jax.training import data_placement, input_pipeline, run_description
from gan_jax.training.input_pipeline import InputPipeline, ProgramCalls
from gan_jax.training.train_spec import build_train_spec, initial_state_fn, train_spec_fn


@dataclasses.dataclass(frozen=True)
class Session:
  """Holds one run in one process."""

  config: Config
  folder: Path
  task: Task
  gan: Gan
  devices: Devices
  pipeline: InputPipeline
  run_steps: Callable[..., tuple[GanState, Metrics]]  # compiled: (key, state, data, n)
  monitor_fn: Callable[..., Metrics]  # compiled: (key, state, data)
  mapped: str = 'pmap'
  group: ProcessGroup = processes.SINGLE_PROCESS

  @property
  def key(self) -> jax.Array:
    """Returns the root key, from which every random number of the run derives."""
    return jax.random.key(self.config.seed)

  def initial_state(self) -> GanState:
    """Returns the state before the first update: on every device, or sharded over the devices."""
    init = initial_state_fn(self.config, self.task)
    values = dynamic_hyperparameters.hyperparameter_arrays(self.config, self.task.n_train)
    if self.mapped == sharding.SHARDED_PARAMS:
      shards = sharding.param_shardings(jax.eval_shape(init, values, self.key), self.devices)
      return cast(GanState, jax.jit(init, out_shardings=shards)(values, self.key))
    return cast(GanState, sharding.replicate(jax.jit(init)(values, self.key), self.devices))

  def advance(self, state: GanState, step: int, n: int) -> tuple[GanState, ProgramCalls]:
    """Trains `n` steps from `step` on; returns the new state and the mean metrics of each program call.

    A resident data set needs one call; a stream needs one call for each window of minibatches.
    """
    calls = []
    stop = step + n
    while step < stop:
      data, n_steps = self.pipeline.next_data(state, step, stop - step)
      state, means = self.run_steps(self.key, state, data, n_steps)
      self.pipeline.dispatched(means)
      calls.append((int(n_steps), means))
      step += int(n_steps)
    return state, calls

  def monitor(self, state: GanState) -> Metrics:
    """Computes the training monitors of an `eval_state`, on the same examples and latents every time."""
    # A key that training does not use.
    key = jax.random.fold_in(self.key, training_monitors.MONITOR_STREAM)
    return self.monitor_fn(key, state, self.pipeline.monitor_data)

  def eval_state(self, state: GanState) -> GanState:
    """Returns the state where work outside the training step can use it; a collective call.

    The copy is on one device; with --shard_params sharded over the devices of a single process, or on the
    host of each of several processes.
    """
    if self.mapped == sharding.SHARDED_PARAMS and jax.process_count() > 1:
      return cast(GanState, sharding.allgather_to_host(state))
    return cast(GanState, sharding.eval_copy(state, self.mapped))


def open_session(
  config: Config,
  folder: Path,
  devices: Devices,
  cache: Path | None = None,
  mapped: str = 'pmap',
  stream: str = 'auto',
  group: ProcessGroup = processes.SINGLE_PROCESS,
) -> Session:
  """Loads the data, builds the Gan and puts both where training needs them; a collective call.

  Args:
    config: the settings of the run.
    folder: the run directory.
    devices: those of all processes.
    cache: folder for what depends on the data alone, such as classifiers.
    mapped: a name in `pmap.STEP_MAPS`, or `sharding.SHARDED_PARAMS`.
    stream: a choice of `data_placement.STREAM`.
    group: the processes of the run.

  Raises:
    UserError: in every process, where settings, devices and data do not fit together.
  """
  task = group.run_on_all(lambda: _open_task(config, folder, devices, cache))
  wanted = group.run_on_all(lambda: data_placement.should_stream(stream, task, devices))
  # If the images do not fit into one host, all hosts must run the program that streams.
  streaming = 'yes' in group.allgather('yes' if wanted else 'no')
  spec = group.run_on_all(lambda: build_train_spec(config, task, streaming=streaming))
  pipeline = group.run_on_all(
    lambda: input_pipeline.open_pipeline(config, task, spec.gan, devices, mapped, streaming)
  )
  step = make_run_steps(train_spec_fn(config, task, streaming))
  sharded_args = input_pipeline.STREAMED_ARGUMENTS if streaming else {}
  run_steps = pmap.step_map_by_name(mapped)(step, devices, 5, 2, sharded_args)
  values = dynamic_hyperparameters.hyperparameter_arrays(config, task.n_train)
  run_steps = functools.partial(run_steps, values)
  monitor_fn = jax.jit(functools.partial(training_monitors.compute_monitors, spec))
  fixed = (config, folder, task, spec.gan, devices)
  return Session(*fixed, pipeline, run_steps, monitor_fn, mapped, group)


def _open_task(config: Config, folder: Path, devices: Devices, cache: Path | None) -> Task:
  validation.check_batch(config, len(devices))
  begun = run_description.has_description(folder)
  fingerprint = run_description.read_description(folder).fingerprint if begun else None
  task = load_task(config, cache, fingerprint=fingerprint)
  validation.check_batch_size(config, task.n_train)
  return task
