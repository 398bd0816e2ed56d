"""What a run says: a line per record in metrics.jsonl, TensorBoard events, and a progress bar."""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from tqdm import tqdm

from gan_jax.utils.files import write_atomically

BEST_BY = 'score'  # of a task's measurement; higher is better
_LINE_EVERY = 15.0  # seconds between progress lines where there is no terminal


def line(record: dict[str, Any]) -> str:
  """A record as a line of metrics.jsonl."""
  return json.dumps(record) + '\n'


def read_metrics(path: Path) -> list[dict[str, Any]]:
  """The records of a metrics.jsonl; a last line that a kill cut short is passed over."""
  records = []
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


def read_scores(path: Path) -> dict[int, float]:
  """The score of each evaluated step of a metrics.jsonl, by which the best checkpoint is chosen."""
  return {r['step']: r[BEST_BY] for r in read_metrics(path) if BEST_BY in r}


class Metrics:
  """Appends records to metrics.jsonl and TensorBoard, from `step` on: what came later is forgotten."""

  def __init__(self, folder: Path, step: int):
    path = folder / 'metrics.jsonl'
    kept = [record for record in read_metrics(path) if record['step'] <= step]
    write_atomically(path, ''.join(map(line, kept)).encode())
    self._file = path.open('a')
    # Not SummaryWriter: its thread ends where the disk is full, and the next records wait for it for good.
    self._events = EventsWriter(str(folder / 'events'))
    forget = SessionLog(status=SessionLog.START)  # what came from this step on
    self._events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=forget))

  def write(self, step: int, values: dict[str, float]) -> None:
    """One record: the step and its numbers, flushed at once."""
    self._file.write(line({'step': step, **values}))
    self._file.flush()
    for name, value in values.items():
      summary = scalar(name, value)
      self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
    self._events.flush()

  def note(self, step: int, **values: Any) -> None:
    """A record of what is no number, such as an alarm: in metrics.jsonl only."""
    self._file.write(line({'step': step, **values}))
    self._file.flush()

  def flush(self) -> None:
    """Hand everything to the system, so that a checkpoint never knows more than the records."""
    self._events.flush()

  def close(self) -> None:
    """Flush both."""
    self._file.close()
    self._events.close()


class Silent:
  """In place of `Metrics` and `Progress` in a process that leaves writing to another."""

  def write(self, step: int, values: dict[str, float]) -> None:
    """Nothing."""

  update = write

  def note(self, step: int, **values: Any) -> None:
    """Nothing."""

  def say(self, line: str) -> None:
    """Nothing."""

  def close(self) -> None:
    """Nothing."""

  flush = close


class Progress:
  """A bar on a terminal; elsewhere a line now and then."""

  def __init__(self, step: int, steps: int, stream: TextIO | None = None):
    stream = stream or sys.stderr
    self._terminal = stream.isatty()
    self._stream, self._steps = stream, steps
    self._last_line = float('-inf')
    self._first: tuple[float, int] | None = None  # when the first update came: compiled by then
    self._bar = tqdm(
      total=steps,
      initial=step,
      file=stream,
      disable=not self._terminal,
      unit='step',
      dynamic_ncols=True,
      smoothing=0.1,
    )

  def update(self, step: int, values: dict[str, float]) -> None:
    """Show the step and its losses: those of d_loss, g_loss, d_real and d_fake that `values` has."""
    names = {'d_loss': 'D', 'g_loss': 'G', 'd_real': 'D(x)', 'd_fake': 'D(G(z))'}
    digits = {'d_loss': 3, 'g_loss': 3, 'd_real': 2, 'd_fake': 2}
    text = '  '.join(
      f'{label} {values[name]:.{digits[name]}f}' for name, label in names.items() if name in values
    )
    if self._terminal:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(step - self._bar.n)
      return
    now = time.monotonic()
    self._first = self._first or (now, step)
    if now - self._last_line >= _LINE_EVERY or step == self._steps:
      self._last_line = now
      self.say(f'step {step}/{self._steps}  {text}{self._pace(step, now)}')

  def _pace(self, step: int, now: float) -> str:
    began, first = self._first or (now, step)
    if step == first:
      return ''
    rate = (step - first) / max(now - began, 1e-9)
    return f'  {rate:.1f} steps/s  {tqdm.format_interval((self._steps - step) / rate)} left'

  def say(self, line: str) -> None:
    """Print a line above the bar."""
    if self._terminal:
      self._bar.write(line, file=self._stream)
    else:
      with contextlib.suppress(BrokenPipeError):  # nobody reads any more; training matters more
        print(line, file=self._stream, flush=True)

  def close(self) -> None:
    """Leave the bar where it stands."""
    self._bar.close()
