"""The training loop: many compiled steps per call, and everything slow between the calls."""

import contextlib
import dataclasses
import functools
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import checkpoint, diagnose, evaluate, logs, parallel, pictures, plots, runs
from gan_jax import config as config_lib
from gan_jax import gan as gan_lib
from gan_jax.config import Config
from gan_jax.data import Dataset, default_data_dir, load
from gan_jax.errors import UserError
from gan_jax.gan import Gan, GanState, Metrics
from gan_jax.stretch import run_steps


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How training ended."""

  step: int
  stopped_by: signal.Signals | None = None  # None where it is finished
  already: bool = False  # finished before this process began


@dataclasses.dataclass(frozen=True)
class Session:
  """What one process holds while it trains one run."""

  config: Config
  folder: Path
  dataset: Dataset
  gan: Gan
  devices: Sequence[jax.Device]
  data: jax.Array  # uint8 [n, h, w, c], a copy on every device
  stretch: Callable[..., tuple[GanState, Metrics]]  # run_steps, compiled: (key, state, data, n)

  @property
  def key(self) -> jax.Array:
    """The root of everything random in the run."""
    return jax.random.key(self.config.seed)

  def start(self) -> GanState:
    """The state before the first update, on every device."""
    init = jax.jit(functools.partial(gan_lib.init, self.gan))
    zeros = jnp.zeros((1, *self.data.shape[1:]))
    return parallel.replicate(init(jax.random.fold_in(self.key, 0), zeros), self.devices)


def open_session(config: Config, folder: Path, devices: Sequence[jax.Device]) -> Session:
  """Load the data, build the Gan, and put both where training needs them; raises UserError."""
  if config.batch_size % len(devices):
    fit = math.ceil(config.batch_size / len(devices)) * len(devices)
    raise UserError(
      f'--batch_size={config.batch_size}: {len(devices)} devices cannot share it evenly; '
      f'use --batch_size={fit}'
    )
  dataset = load(config.dataset, config.data_dir or default_data_dir())
  n, *shape = dataset.train.shape
  if config.batch_size > n:
    raise UserError(
      f'--batch_size={config.batch_size}: {config.dataset} has only {n} training images'
    )
  gan = config_lib.build(config, tuple(shape), n, dataset.train.mean(axis=0) / 255)
  stretch = parallel.pmap(functools.partial(run_steps, gan, config), devices, donate_argnum=1)
  data = parallel.replicate(dataset.train, devices)
  return Session(config, folder, dataset, gan, devices, data, stretch)


def train(config: Config, folder: Path, devices: Sequence[jax.Device]) -> Outcome:
  """Train the run in `folder`, from its last checkpoint or from the start, up to `config.steps`.

  SIGTERM or SIGINT saves first and returns early. Raises UserError where the folder or the data will
  not do, and DivergedError on a value that is not finite.
  """
  runs.claim(folder, config)
  with (
    runs.only_writer(folder),
    checkpoint.opened(
      folder / 'checkpoints', config.keep, logs.read_scores(folder / 'metrics.jsonl')
    ) as saved,
    _noticing_signals() as received,
  ):
    done = saved.steps()
    if done and done[-1] >= config.steps:
      return Outcome(done[-1], already=True)
    session = open_session(config, folder, devices)
    kind = f'{len(devices)} x {devices[0].device_kind}'
    runs.describe(folder, config, session.data.shape[1:], kind)
    state = session.start()
    if done:
      state = saved.restore(done[-1], state)
    return _Loop(session, saved, done[-1] if done else 0).run(state, received)


def next_stop(config: Config, step: int) -> int:
  """The next step at which the loop does anything but train: a function of the step alone.

  So a resumed run makes the same calls of the same program as an unbroken one.
  """
  if step == 0:
    return 1  # show early that it moves
  intervals = (config.log_every, config.eval_every, config.checkpoint_every)
  return min(config.steps, *((step // every + 1) * every for every in intervals))


@contextlib.contextmanager
def _noticing_signals() -> Iterator[list[signal.Signals]]:
  """A list that receives SIGTERM and SIGINT; a second one of them ends the process at once."""
  received: list[signal.Signals] = []

  def notice(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(signal.Signals(number))
    signal.signal(number, before[signal.Signals(number)])

  before = {number: signal.signal(number, notice) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


class _Loop:
  """The files that training writes, and the order in which it writes them."""

  def __init__(self, session: Session, saved: checkpoint.Checkpoints, step: int):
    config = session.config
    self._session, self._saved, self._step = session, saved, step
    self._metrics = logs.Metrics(session.folder, step)
    self._progress = logs.Progress(step, config.steps)
    self._unread: tuple[int, Metrics, float] | None = None  # a stretch whose metrics are under way
    if step:
      self._progress.say(f'going on from step {step}')

  def run(self, state: GanState, received: list[signal.Signals]) -> Outcome:
    """Train to the end, or to the first signal."""
    config, session = self._session.config, self._session
    try:
      while self._step < config.steps and not received:
        start, stop = self._step, next_stop(config, self._step)
        state, means = session.stretch(session.key, state, session.data, np.int32(stop - start))
        self._read()
        self._unread, self._step = (start, means, time.monotonic()), stop
        if stop % config.eval_every == 0 or stop == config.steps:
          self._read()
          self._saved.save(stop, state, self._evaluate(state))
        elif stop % config.checkpoint_every == 0:
          self._read()
          self._saved.save(stop, state)
      self._read()
      if received and self._step not in self._saved.steps():
        self._saved.save(self._step, state)
      self._saved.wait()
    finally:
      self._metrics.close()
      self._progress.close()
    return Outcome(self._step, received[0] if self._step < config.steps else None)

  def _read(self) -> None:
    """Fetch and write the metrics of the last stretch, while the device works on the next one."""
    if self._unread is None:
      return
    (start, means, began), self._unread = self._unread, None
    values = {name: float(value) for name, value in jax.device_get(means).items()}
    if not all(math.isfinite(value) for value in values.values()):
      diagnose.raise_diverged(self._session, self._saved, start)
    rate = {
      'steps_per_second': (self._stop_of(start) - start) / max(time.monotonic() - began, 1e-9)
    }
    self._metrics.write(self._stop_of(start), values | rate)
    self._progress.update(self._stop_of(start), values)

  def _stop_of(self, start: int) -> int:
    return next_stop(self._session.config, start)

  def _evaluate(self, state: GanState) -> float:
    """Measure on validation images and paint; returns the score by which the best is chosen."""
    session, config, step = self._session, self._session.config, self._step
    scores = evaluate.parzen_scores(session.gan, state, session.dataset, 'validation', config.seed)
    values = {f'validation_parzen_{which}': score.mean for which, score in scores.items()}
    self._metrics.write(step, values)
    real = self._parzen_of_real
    self._progress.say(
      f'step {step}: validation Parzen log-likelihood {scores["raw"].mean:.1f} nats, '
      f'{scores["ema"].mean:.1f} with averaged weights (10,000 training images: {real:.1f})'
    )
    pictures.save_all(
      session.folder / 'samples', step, session.gan, state, config.seed, session.dataset
    )
    records = logs.read_metrics(session.folder / 'metrics.jsonl')
    plots.curves(session.folder / 'curves.png', records, config.d_loss_weight, real)
    return values[logs.BEST_BY]

  @functools.cached_property
  def _parzen_of_real(self) -> float:
    dataset, seed = self._session.dataset, self._session.config.seed
    return evaluate.references(dataset, 'validation', seed, names=('real',))['real'].mean
