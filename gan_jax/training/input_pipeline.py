"""Where a run's minibatches come from: images that lie on every device, or a stream of them from the host."""

import bisect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from gan_jax.data.device_batches import Data, Images, Window
from gan_jax.data.host_loader import Stream, rows
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed import device_memory, pmap, sharding
from gan_jax.evaluation.tasks import Task
from gan_jax.gan import train_step
from gan_jax.gan.gan import GanState, Metrics
from gan_jax.gan.update_ratio import Balance, Ratio
from gan_jax.utils.errors import UserError

STREAM = ('auto', 'yes', 'no')
PARTS: pmap.Parts = {3: Data(Window(True, True, False), False)}  # of a program over a stream
_SHARE = 0.25  # of the free memory of a device, above which a data set is not put there
_BYTES = 64 * 2**20  # of a window, on each device
_MOST = 128  # minibatches of a window: more would make the first step late, and spare little

Call = Callable[[GanState, Data, np.int32], tuple[GanState, Metrics]]
Calls = Sequence[tuple[int, Metrics]]  # steps of each call, and their means


class Supply(Protocol):
  """Leads a run from one step to another, with the minibatches that are due."""

  @property
  def data(self) -> Data:
    """What programs were last called with, or are next."""
    ...

  @property
  def shown(self) -> Data:
    """What a look at the state needs, where `placement.seen` has it."""
    ...

  def advance(self, call: Call, state: GanState, step: int, n: int) -> tuple[GanState, Calls]:
    """The state `n` steps after `step`."""
    ...

  def close(self) -> None:
    """Let go of whatever loads minibatches."""
    ...


class Resident:
  """All images on every device."""

  def __init__(self, data: Data, devices: Sequence[jax.Device], mapped: str):
    self.data = sharding.replicate(data, devices)
    self.shown: Data = sharding.seen(self.data, mapped)

  def advance(self, call: Call, state: GanState, step: int, n: int) -> tuple[GanState, Calls]:
    """One call."""
    del step
    state, means = call(state, self.data, np.int32(n))
    return state, [(n, means)]

  def close(self) -> None:
    """Nothing."""


class Streamed:
  """A window of the next minibatches on each device, of which each process loads its own devices' rows.

  They are those of `Resident`, bit for bit, whatever is held; the state's count of updates of D says
  which come next.
  """

  def __init__(
    self,
    data: Data,
    key: jax.Array,
    batch_size: int,
    pace: Ratio | Balance,
    devices: Sequence[jax.Device],
    mapped: str,
  ):
    """`data` are on the host, `key` is the root of the run, `pace` tells how many updates of D are due."""
    self._devices, self._mapped, self._pace = devices, mapped, pace
    self._n = width(batch_size // len(devices) * data.train.images[0].nbytes, pace)
    places = sharding.local_rows(batch_size, devices)
    self._stream = Stream(data.train, train_step.keys(key).data, batch_size, places, self._n)
    self._first = 0
    self.data = Data((), sharding.replicate(data.held_out, devices))
    self.shown = Data(_examined(data.train, key), sharding.seen(self.data.held_out, mapped))
    self._before: Any = ()  # what the last call gave that used the window before this one
    self._last: Any = ()

  def advance(self, call: Call, state: GanState, step: int, n: int) -> tuple[GanState, Calls]:
    """As many calls as windows are needed; the next one is loaded and copied while the device works."""
    calls = []
    while n:
      count = self._count(state, step)
      steps = self._fitting(count, step, n)
      if not steps:
        self._turn(count)
        steps = self._fitting(count, step, n)
      state, self._last = call(state, self.data, np.int32(steps))
      calls.append((steps, self._last))
      step, n = step + steps, n - steps
    return state, calls

  def close(self) -> None:
    """Let Grain's threads end."""
    self._stream.close()

  def _count(self, state: GanState, step: int) -> int:
    """Updates of D so far: only a controlled k has to be asked for, which waits for the device."""
    if isinstance(self._pace, Ratio):
      return int(self._pace.before(step))
    return int(sharding.local(state.d.count))

  def _fitting(self, count: int, step: int, n: int) -> int:
    """How many of the next n steps need no minibatch behind the window."""
    if not isinstance(self.data.train, Window) or count < self._first:
      return 0
    # One more than there are updates: G and the controller look at the next one, too.
    room = self._first + self._n - 1 - count
    due = lambda steps: _due(self._pace, step, steps)
    return bisect.bisect_right(range(1, n + 1), room, key=due)

  def _turn(self, count: int) -> None:
    """Make minibatch `count` the first of the window."""
    # The window before this one has to go first: there are never more than two.
    jax.block_until_ready(self._before)
    self._before = self._last
    images, labels = sharding.split(
      self._stream.window(count, self._n), self._devices, self._mapped
    )
    self._first = count
    self.data = Data(Window(images, labels, np.int32(count)), self.data.held_out)


def _due(pace: Ratio | Balance, step: int, n: int) -> int:
  """Updates of D in the n steps after `step`, or no fewer."""
  if isinstance(pace, Ratio):
    return int(pace.before(step + n) - pace.before(step))
  return pace.most(n)


def width(n_bytes: int, pace: Ratio | Balance) -> int:
  """Minibatches of a window of which a device has so many bytes each: no fewer than a step needs."""
  least = 1 + max(_due(pace, step, 1) for step in range(_period(pace)))
  return max(least, min(_MOST, _BYTES // n_bytes))


def _period(pace: Ratio | Balance) -> int:
  return int(pace.denominator) if isinstance(pace, Ratio) else 1


def _examined(data: Images, key: jax.Array) -> Window:
  """The training examples of every look at a run, as a window of one."""
  look_key = training_monitors.keys(jax.random.fold_in(key, training_monitors.STREAM))[0]
  found = rows(data, look_key, np.arange(training_monitors.N, dtype=np.uint32))
  images, labels = jax.tree.map(lambda x: x[:, None], found)
  return Window(images, labels, np.int32(0))


def streams(choice: str, task: Task, devices: Sequence[jax.Device]) -> bool:
  """Whether to stream, by --stream and by what fits on this process's devices; raises UserError."""
  needed = sum(x.nbytes for x in jax.tree.leaves(task.data(held_out=False)))
  free = device_memory.free_on(sharding.local_devices(devices))
  return chosen(choice, task.name, task.streamable, needed, free)


def chosen(choice: str, name: str, streamable: bool, n_bytes: int, free: float) -> bool:
  """Whether to stream images of so many bytes to devices with so many free, by --stream; raises UserError."""
  if choice == 'yes' and not streamable:
    raise UserError(
      f'--stream=yes: the examples of {name} are made on the device; give --stream=auto'
    )
  if choice != 'auto' or not streamable:
    return choice == 'yes'
  return n_bytes > _SHARE * free


def mean_of(calls: Calls) -> dict[str, float]:
  """What one call would report of all these steps."""
  found = [(n, {name: float(x) for name, x in means.items()}) for n, means in jax.device_get(calls)]
  if len(found) == 1:
    return found[0][1]
  n_steps, n_updates = (
    sum(each) for each in zip(*((n, round(n * x['k'])) for n, x in found), strict=True)
  )
  total = lambda name, weight: sum(n * weight(means) * means[name] for n, means in found)
  return {
    name: total(name, lambda means: means['k']) / max(n_updates, 1)
    if name.startswith('d_')
    else total(name, lambda means: 1) / n_steps
    for name in found[0][1]
  }
