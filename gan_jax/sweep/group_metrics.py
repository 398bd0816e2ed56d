"""Keeps the metrics of all members of a group in one metrics.jsonl."""

import math
from pathlib import Path
from typing import Any

from gan_jax.training.metric_writers import SCORE_KEY, json_line, read_metrics
from gan_jax.utils.files import write_atomically

_NOT_METRICS = ('member', 'at', 'step')


class GroupMetrics:
  """Holds the records of a group and appends new ones to its file.

  A record has the member's name, the group's step ('at'), the member's step, and metrics by name.
  """

  def __init__(self, path: Path, step: int):
    """Reads the records up to the group's step `step`, that of its checkpoint, and deletes later ones."""
    records = [r for r in read_metrics(path) if 'at' in r and 'member' in r]
    self.records = [r for r in records if r['at'] <= step]
    write_atomically(path, ''.join(map(json_line, self.records)).encode())
    self._file = path.open('a')

  def write(self, name: str, at: int, step: int, values: dict[str, float]) -> None:
    """Appends a record of the member called `name`."""
    self.records.append({'member': name, 'at': at, 'step': step, **values})
    self._file.write(json_line(self.records[-1]))

  def of_member(self, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Returns the member's step and metrics of each record of one member."""
    metrics = lambda r: {k: v for k, v in r.items() if k not in _NOT_METRICS}
    return [(r['step'], metrics(r)) for r in self.records if r['member'] == name]

  def evaluations(self) -> list[dict[str, Any]]:
    """Returns the records that have a score."""
    return [r for r in self.records if SCORE_KEY in r]

  def best_score(self, name: str) -> float:
    """Returns the highest finite score of a member, -inf without one."""
    scores = [r[SCORE_KEY] for r in self.evaluations() if r['member'] == name]
    return max((x for x in scores if math.isfinite(x)), default=-math.inf)

  def last_step(self, name: str) -> int:
    """Returns the step of the last record of a member, 0 without one."""
    return max((r['step'] for r in self.records if r['member'] == name), default=0)

  def last_values(self, name: str) -> tuple[float, dict[str, float]]:
    """Returns the last score of a member (NaN without one), and its last evaluation and training metrics."""
    records = [values for _, values in self.of_member(name)]
    values: dict[str, float] = next((r for r in reversed(records) if SCORE_KEY in r), {})
    trained: dict[str, float] = next((r for r in reversed(records) if 'g_loss' in r), {})
    trained.pop('steps_per_second', None)
    return values.pop(SCORE_KEY, math.nan), values | trained

  def flush(self) -> None:
    """Writes all records to the file, so that no checkpoint is newer than the records."""
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()
