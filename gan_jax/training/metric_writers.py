"""Writes the metrics of a run to metrics.jsonl, to TensorBoard and to a progress bar."""

import json
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.utils.files import write_atomically

_TEXTS = ('alarm', 'says', 'member')
_COUNTS = ('step', 'at')
# Of these a record has all, or none.
_MONITORS = {f'watch_{name}' for name in (*MonitorHistory._fields[1:], 'spread', 'overfit')}
SCORE_KEY = 'score'  # key of the score that selects the best checkpoint; higher is better


def json_line(record: dict[str, Any]) -> str:
  """Returns a record as a line of metrics.jsonl."""
  return json.dumps(record) + '\n'


def read_metrics(path: Path) -> list[dict[str, Any]]:
  """Reads the records of a metrics.jsonl; leaves out damaged lines, as a kill leaves at the end."""
  text = path.read_bytes().decode(errors='replace') if path.exists() else ''
  return [record for line in text.split('\n') if (record := _parse_record(line)) is not None]


def _parse_record(line: str) -> dict[str, Any] | None:
  """Returns the record of a line: texts and numbers, with a step; None for a damaged line."""
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(record, dict) or not all(_is_value(*item) for item in record.items()):
    return None
  if any(name in record for name in _MONITORS) and not record.keys() >= _MONITORS:
    return None
  return record if 'step' in record else None


def _is_value(name: str, value: Any) -> bool:
  """Returns whether an entry of a record has the type that goes with its name."""
  if name in _TEXTS:
    return isinstance(value, str)
  if name in _COUNTS:
    return type(value) is int and 0 <= value < 2**31
  return type(value) is float or (type(value) is int and abs(value) < 2**53)


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
