"""One run in one process: its data, its compiled programs, and the state it begins with."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from gan_jax.config import checks, dynamic_hyperparameters, gan_factory
from gan_jax.config.config import Config
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed import pmap, processes, sharding
from gan_jax.distributed.processes import Group
from gan_jax.evaluation.tasks import Task, open_task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.train_step import Hyperparameters, Recipe, as_program
from gan_jax.training import input_pipeline as supply_lib
from gan_jax.training.input_pipeline import Calls, Resident, Streamed, Supply
from gan_jax.utils.errors import UserError


@dataclasses.dataclass(frozen=True)
class Session:
  """What one process holds while it trains one run."""

  config: Config
  folder: Path
  task: Task
  gan: Gan
  devices: Sequence[jax.Device]
  supply: Supply
  stretch: Callable[..., tuple[GanState, Metrics]]  # run_steps, compiled: (key, state, data, n)
  watch: Callable[..., Metrics]  # signals.look, compiled: (key, state, data)
  mapped: str = 'pmap'

  @property
  def key(self) -> jax.Array:
    """The root of everything random in the run."""
    return jax.random.key(self.config.seed)

  def start(self) -> GanState:
    """The state before the first update, on every device, or in parts over all of them."""
    init = first_state(self.config, self.task)
    numbers = dynamic_hyperparameters.arrays(
      dynamic_hyperparameters.of(self.config, self.task.n_train)
    )
    if self.mapped == sharding.SHARDED:
      parts = sharding.partition(jax.eval_shape(init, numbers, self.key), self.devices)
      return cast(GanState, jax.jit(init, out_shardings=parts)(numbers, self.key))
    return cast(GanState, sharding.replicate(jax.jit(init)(numbers, self.key), self.devices))

  def advance(self, state: GanState, step: int, n: int) -> tuple[GanState, Calls]:
    """The state `n` steps after `step`, and what each call of the program said on the way."""
    return self.supply.advance(functools.partial(self.stretch, self.key), state, step, n)

  def look(self, state: GanState) -> Metrics:
    """The referee's look at a state from `here`: the same examples and latents at every look."""
    # Of a key that training does not use.
    return self.watch(
      jax.random.fold_in(self.key, training_monitors.STREAM), state, self.supply.shown
    )

  def here(self, state: GanState) -> GanState:
    """The state for work besides the step; all processes have to ask for it at once.

    It is on one device, or, with --shard_params, in parts over all devices of the one process, or on the
    host of each of several processes.
    """
    if self.mapped == sharding.SHARDED and jax.process_count() > 1:
      return cast(GanState, sharding.gathered(state))
    return cast(GanState, sharding.seen(state, self.mapped))


def recipe_of(
  config: Config, task: Task, numbers: Hyperparameters | None = None, streamed: bool = False
) -> Recipe:
  """How a run with these settings is trained on this task; raises UserError.

  `numbers` are its scalars as a program receives them, by default those of `config` themselves. A run
  that is `streamed` finds its minibatches in a window, and not among all images.
  """
  numbers = dynamic_hyperparameters.of(config, task.n_train) if numbers is None else numbers
  gan = gan_factory.build_gan(
    config, task.shape, task.n_train, task.n_classes, task.mean_image, numbers
  )
  ratio = gan_factory.fixed_ratio(config, numbers)
  feed = task.windowed(config.batch_size) if streamed else task.feed
  return Recipe(gan, config.update, ratio, config.batch_size, feed, task.held_out)


def first_state(config: Config, task: Task) -> Callable[[Hyperparameters, jax.Array], GanState]:
  """The state before the first update of any run of this program: a function of its numbers and its key.

  Of these, and not of constants, which the compiler would fold with another rounding.
  """

  def init(numbers: Hyperparameters, key: jax.Array) -> GanState:
    gan = recipe_of(config, task, numbers).gan
    return gan_lib.init(gan, jax.random.fold_in(key, 0), jnp.zeros((1, *task.shape)))

  return init


@dataclasses.dataclass(frozen=True)
class Rules:
  """`recipe_of` for a run, as a function of its numbers: equal for all runs that share a program."""

  config: Config = dataclasses.field(compare=False, repr=False)
  task: Task = dataclasses.field(compare=False, repr=False)
  shared: tuple[Any, ...]  # what two runs have in common where their programs are the same
  streamed: bool = False

  def __call__(self, numbers: Hyperparameters) -> Recipe:
    """With these numbers."""
    return recipe_of(self.config, self.task, numbers, self.streamed)


def rules(config: Config, task: Task, streamed: bool = False) -> Rules:
  """How runs of this program are trained on this task."""
  return Rules(config, task, (dynamic_hyperparameters.program(config), task.fingerprint), streamed)


def open_session(
  config: Config,
  folder: Path,
  devices: Sequence[jax.Device],
  cache: Path | None = None,
  mapped: str = 'pmap',
  stream: str = 'auto',
  group: Group = processes.ALONE,
) -> Session:
  """Load the data, build the Gan, and put both where training needs them; raises UserError.

  `mapped` is how the step comes to the devices, by its name in `parallel.MAPS`, or `placement.SHARDED`;
  `stream` is in `supply.STREAM`. All processes of the group have to call it at once.
  """
  task = group.together(lambda: _open_task(config, devices, cache))
  wanted = group.together(lambda: supply_lib.streams(stream, task, devices))
  # Where the images do not fit into one host, all have to run the program that does without them.
  streamed = 'yes' in group.gather('yes' if wanted else 'no')
  return group.together(lambda: _open(config, folder, devices, task, mapped, streamed))


def _open_task(config: Config, devices: Sequence[jax.Device], cache: Path | None) -> Task:
  checks.check_batch(config, len(devices))
  task = open_task(config, cache)
  if task.n_train is not None and config.batch_size > task.n_train:
    raise UserError(
      f'--batch_size={config.batch_size}: {config.dataset} has only {task.n_train} training images'
    )
  return task


def _open(
  config: Config,
  folder: Path,
  devices: Sequence[jax.Device],
  task: Task,
  mapped: str,
  streamed: bool,
) -> Session:
  recipe = recipe_of(config, task, streamed=streamed)
  gan = recipe.gan
  step = as_program(rules(config, task, streamed))
  parts = supply_lib.PARTS if streamed else {}
  program = pmap.by_name(mapped)(step, devices, 5, 2, parts)
  stretch = functools.partial(
    program, dynamic_hyperparameters.arrays(dynamic_hyperparameters.of(config, task.n_train))
  )
  data = task.data(held_out=gan.balance is not None or config.referee_every > 0)
  if not gan.n_classes:
    data = data.without_labels()
  supply: Supply
  if streamed:
    pace = config.ratio if gan.balance is None else gan.balance
    assert pace is not None
    key = jax.random.key(config.seed)
    supply = Streamed(data, key, config.batch_size, pace, devices, mapped)
  else:
    supply = Resident(data, devices, mapped)
  watch = jax.jit(functools.partial(training_monitors.look, recipe))
  return Session(config, folder, task, gan, devices, supply, stretch, watch, mapped)
