"""Feeds training with minibatches: of examples that lie on the devices, or streamed from the host."""

import bisect
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.data.device_batches import BatchWindow, DeviceData, Images
from gan_jax.data.host_loader import HostLoader, take_shuffled
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed import pmap, sharding
from gan_jax.distributed.sharding import Devices
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import train_step
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.update_ratio import RatioController, UpdateRatio

# Which arguments of a streaming program hold rows that are split over the devices.
STREAMED_ARGUMENTS: pmap.ShardedArgs = {3: DeviceData(BatchWindow(True, True, False), False)}
_WINDOW_BYTES = 64 * 2**20  # of a window, on each device
_MAX_WINDOW = 128  # minibatches of a window: more would delay the first step and save little

Ratio = UpdateRatio | RatioController  # of discriminator updates to generator updates
ProgramCalls = Sequence[tuple[int, Metrics]]  # steps of each program call, and their mean metrics


class InputPipeline(Protocol):
  """Provides the training data of the next call of the compiled program."""

  @property
  def data(self) -> DeviceData:
    """Returns the arguments of the last call, or of the first one before there was any."""

  @property
  def monitor_data(self) -> DeviceData:
    """Returns the examples that training monitors use, beside an `eval_state`."""

  def next_data(self, state: GanState, step: int, n: int) -> tuple[DeviceData, np.int32]:
    """Returns data for the steps from `step` on, and for how many of the next `n` steps they suffice."""

  def dispatched(self, means: Metrics) -> None:
    """Records the outputs of the call that uses the data which `next_data` returned last."""

  def close(self) -> None:
    """Stops the threads that load minibatches."""


class ResidentPipeline:
  """Keeps all examples on every device."""

  def __init__(self, data: DeviceData, devices: Devices, mapped: str):
    self.data = sharding.replicate(data, devices)
    self.monitor_data: DeviceData = sharding.eval_copy(self.data, mapped)

  def next_data(self, state: GanState, step: int, n: int) -> tuple[DeviceData, np.int32]:
    """Returns all examples, which suffice for any number of steps."""
    del state, step
    return self.data, np.int32(n)

  def dispatched(self, means: Metrics) -> None:
    """Does nothing: no buffer is reused."""

  def close(self) -> None:
    """Does nothing: there are no threads."""


class StreamingPipeline:
  """Keeps a window of the next minibatches on the devices, of which each process loads its own rows.

  The minibatches equal those of `ResidentPipeline` bit for bit. The state's count of discriminator updates
  says which minibatch comes next, so a resumed run needs no position of its own.
  """

  def __init__(
    self,
    data: DeviceData,
    key: jax.Array,
    batch_size: int,
    ratio: Ratio,
    devices: Devices,
    mapped: str,
  ):
    """Opens the stream.

    Args:
      data: training and held-out examples, on the host.
      key: the root key of the run.
      batch_size: examples of a minibatch, over all devices.
      ratio: tells how many discriminator updates come in the next steps.
      devices: those of all processes.
      mapped: a name in `pmap.STEP_MAPS`, or `sharding.SHARDED_PARAMS`.
    """
    self._devices, self._mapped, self._ratio = devices, mapped, ratio
    n_bytes = batch_size // len(devices) * data.train.images[0].nbytes
    self._n = minibatches_per_window(n_bytes, ratio)
    rows = sharding.local_row_indices(batch_size, devices)
    data_key = train_step.split_run_key(key).data
    self._loader = HostLoader(data.train, data_key, batch_size, rows, self._n)
    self._first = 0  # number of the window's first minibatch
    # Updates of D that a fixed ratio does not explain: a fork may begin from a run with another one.
    self._surplus: int | None = None
    self.data = DeviceData((), sharding.replicate(data.held_out, devices))
    held_out = sharding.eval_copy(self.data.held_out, mapped)
    self.monitor_data = DeviceData(_monitor_examples(data.train, key), held_out)
    # Outputs of the last call that used the window before this one, and of the last call of all.
    self._outputs_before: Any = ()
    self._last_outputs: Any = ()

  def next_data(self, state: GanState, step: int, n: int) -> tuple[DeviceData, np.int32]:
    """Returns the window, moved on where the next step needs minibatches behind its end."""
    count = self._d_updates(state, step)
    steps = self._steps_in_window(count, step, n)
    if not steps:
      self._move_window(count)
      steps = self._steps_in_window(count, step, n)
    return self.data, np.int32(steps)

  def dispatched(self, means: Metrics) -> None:
    """Keeps the outputs, to wait for them before their window is replaced."""
    self._last_outputs = means

  def close(self) -> None:
    """Stops Grain's threads."""
    self._loader.close()

  def _d_updates(self, state: GanState, step: int) -> int:
    """Returns the discriminator updates before `step`; with a controlled k this waits for the device."""
    if not isinstance(self._ratio, UpdateRatio):
      return int(sharding.local_copy(state.d.count))
    explained = int(self._ratio.updates_before(step))
    if self._surplus is None:
      self._surplus = int(sharding.local_copy(state.d.count)) - explained
    return explained + self._surplus

  def _steps_in_window(self, count: int, step: int, n: int) -> int:
    """Returns how many of the next n steps need no minibatch behind the window."""
    if not isinstance(self.data.train, BatchWindow) or count < self._first:
      return 0
    # One more than there are updates: G and the controller of k use the next minibatch, too.
    room = self._first + self._n - 1 - count
    due = lambda steps: _d_updates_due(self._ratio, step, steps)
    return bisect.bisect_right(range(1, n + 1), room, key=due)

  def _move_window(self, count: int) -> None:
    """Makes minibatch `count` the first of the window."""
    # Frees the window before this one: there are never more than two on a device.
    jax.block_until_ready(self._outputs_before)
    self._outputs_before = self._last_outputs
    window = self._loader.window(count, self._n)
    images, labels = sharding.shard_rows(window, self._devices, self._mapped)
    self._first = count
    self.data = DeviceData(BatchWindow(images, labels, np.int32(count)), self.data.held_out)


def _d_updates_due(ratio: Ratio, step: int, n: int) -> int:
  """Returns an upper bound of the discriminator updates in the n steps after `step`; exact for a fixed k."""
  if isinstance(ratio, UpdateRatio):
    return int(ratio.updates_before(step + n) - ratio.updates_before(step))
  return ratio.max_updates(n)


def minibatches_per_window(n_bytes: int, ratio: Ratio) -> int:
  """Returns how many minibatches a window holds, of which each device stores `n_bytes` each.

  A window never holds fewer than one step needs.
  """
  period = int(ratio.denominator) if isinstance(ratio, UpdateRatio) else 1
  least = 1 + max(_d_updates_due(ratio, step, 1) for step in range(period))
  return max(least, min(_MAX_WINDOW, _WINDOW_BYTES // n_bytes))


def _monitor_examples(data: Images, key: jax.Array) -> BatchWindow:
  """Returns the training examples that every monitor computation uses, as a window of one minibatch."""
  key = jax.random.fold_in(key, training_monitors.MONITOR_STREAM)
  rows = np.arange(training_monitors.N_EXAMPLES, dtype=np.uint32)
  examples = take_shuffled(data, training_monitors.split_monitor_key(key)[0], rows)
  images, labels = jax.tree.map(lambda x: x[:, None], examples)
  return BatchWindow(images, labels, np.int32(0))


def open_pipeline(
  config: Config, task: Task, gan: Gan, devices: Devices, mapped: str, streaming: bool
) -> InputPipeline:
  """Opens the pipeline of a run, with held-out examples where a controller of k or monitors need them."""
  data = task.training_data(held_out=gan.ratio_controller is not None or config.referee_every > 0)
  if not gan.n_classes:
    data = data.without_labels()
  if not streaming:
    return ResidentPipeline(data, devices, mapped)
  ratio = config.ratio if gan.ratio_controller is None else gan.ratio_controller
  assert ratio is not None
  key = jax.random.key(config.seed)
  return StreamingPipeline(data, key, config.batch_size, ratio, devices, mapped)


def mean_metrics(calls: ProgramCalls) -> dict[str, float]:
  """Returns the mean metrics that a single call for the steps of all `calls` would have returned."""
  to_floats = lambda means: {name: float(x) for name, x in means.items()}
  fetched = [(n, to_floats(means)) for n, means in jax.device_get(calls)]
  if len(fetched) == 1:
    return fetched[0][1]
  n_steps = sum(n for n, _ in fetched)
  n_updates = max(sum(round(n * means['k']) for n, means in fetched), 1)
  per_step = lambda name: sum(n * means[name] for n, means in fetched) / n_steps
  per_update = lambda name: sum(n * x['k'] * x[name] for n, x in fetched) / n_updates
  names = fetched[0][1]
  return {name: (per_update if name.startswith('d_') else per_step)(name) for name in names}
