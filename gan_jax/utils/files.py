"""Writes files atomically, and makes values valid JSON."""

import math
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
  """Replaces the file at `path` by `data`; if killed, leaves the complete old or new file. Raises OSError."""
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    with temporary.open('wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    temporary.replace(path)
  except OSError as error:
    error.filename = str(path)  # not the temporary name
    raise
  finally:
    temporary.unlink(missing_ok=True)


def json_safe(values: Any) -> Any:
  """Returns `values` with None in place of each number that is not finite, which JSON cannot hold."""
  if isinstance(values, dict):
    return {name: json_safe(value) for name, value in values.items()}
  if isinstance(values, (list, tuple)):
    return [json_safe(value) for value in values]
  return None if isinstance(values, float) and not math.isfinite(values) else values
