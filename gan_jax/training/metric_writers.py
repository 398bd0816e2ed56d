"""Writes the metrics of a run to metrics.jsonl, to TensorBoard and to a progress bar."""

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

SCORE_KEY = 'score'  # key of the score that selects the best checkpoint; higher is better
_LINE_EVERY = 15.0  # seconds between progress lines where there is no terminal


def json_line(record: dict[str, Any]) -> str:
  """Returns a record as a line of metrics.jsonl."""
  return json.dumps(record) + '\n'


def read_metrics(path: Path) -> list[dict[str, Any]]:
  """Reads the records of a metrics.jsonl; ignores a last line that a kill cut short."""
  records = []
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


def read_scores(path: Path) -> dict[int, float]:
  """Reads the score of each evaluated step from a metrics.jsonl."""
  return {r['step']: r[SCORE_KEY] for r in read_metrics(path) if SCORE_KEY in r}


class MetricWriter:
  """Appends records to metrics.jsonl and TensorBoard, after deleting the records of steps after `step`."""

  def __init__(self, folder: Path, step: int):
    path = folder / 'metrics.jsonl'
    kept = [record for record in read_metrics(path) if record['step'] <= step]
    write_atomically(path, ''.join(map(json_line, kept)).encode())
    self._file = path.open('a')
    # Not SummaryWriter: its thread ends on a full disk, and later records wait for it without end.
    self._events = EventsWriter(str(folder / 'events'))
    restart = SessionLog(status=SessionLog.START)  # TensorBoard drops the events of later steps
    self._events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=restart))

  def write(self, step: int, values: dict[str, float]) -> None:
    """Writes and flushes one record: the step and its numbers."""
    self.note(step, **values)
    for name, value in values.items():
      event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
      self._events.write_event(event)
    self._events.flush()

  def note(self, step: int, **values: Any) -> None:
    """Writes a record with texts, such as an alarm, to metrics.jsonl only."""
    self._file.write(json_line({'step': step, **values}))
    self._file.flush()

  def flush(self) -> None:
    """Flushes the events, so that no checkpoint is newer than the records."""
    self._events.flush()

  def close(self) -> None:
    """Flushes and closes both files."""
    self._file.close()
    self._events.close()


class NullWriter:
  """Stands in for `MetricWriter` and `ProgressBar` in processes that do not write."""

  def write(self, *args: Any, **values: Any) -> None:
    """Does nothing."""

  update = note = say = flush = close = write


class ProgressBar:
  """Shows progress: a bar on a terminal, elsewhere a line every 15 seconds."""

  def __init__(self, step: int, steps: int, stream: TextIO | None = None):
    stream = stream or sys.stderr
    self._terminal = stream.isatty()
    self._stream, self._steps = stream, steps
    self._last_line = float('-inf')
    self._first: tuple[float, int] | None = None  # time and step of the update after compilation
    style = {'unit': 'step', 'dynamic_ncols': True, 'smoothing': 0.1, 'disable': not self._terminal}
    self._bar = tqdm(total=steps, initial=step, file=stream, **style)

  def update(self, step: int, values: dict[str, float]) -> None:
    """Shows the step, and d_loss, g_loss, d_real and d_fake where `values` has them."""
    labels = {'d_loss': 'D {:.3f}', 'g_loss': 'G {:.3f}'}
    labels |= {'d_real': 'D(x) {:.2f}', 'd_fake': 'D(G(z)) {:.2f}'}
    text = '  '.join(x.format(values[name]) for name, x in labels.items() if name in values)
    if self._terminal:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(step - self._bar.n)
      return
    now = time.monotonic()
    self._first = self._first or (now, step)
    if now - self._last_line >= _LINE_EVERY or step == self._steps:
      self._last_line = now
      self.say(f'step {step}/{self._steps}  {text}{self._time_left(step, now)}')

  def _time_left(self, step: int, now: float) -> str:
    began, first_step = self._first or (now, step)
    if step == first_step:
      return ''
    rate = (step - first_step) / max(now - began, 1e-9)
    return f'  {rate:.1f} steps/s  {tqdm.format_interval((self._steps - step) / rate)} left'

  def say(self, line: str) -> None:
    """Prints a line above the bar."""
    if self._terminal:
      self._bar.write(line, file=self._stream)
    else:
      with contextlib.suppress(BrokenPipeError):  # a closed pipe must not end training
        print(line, file=self._stream, flush=True)

  def close(self) -> None:
    """Closes the bar."""
    self._bar.close()
