"""Writes files atomically, and makes values valid JSON."""

import math
import os
import re
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r'\..+\.\d+\.gan_jax_tmp')


def temporary_path(path: Path) -> Path:
  """Returns the hidden path, of this process, at which a file is written before it replaces `path`."""
  return path.with_name(f'.{path.name}.{os.getpid()}.gan_jax_tmp')


def is_temporary(path: Path) -> bool:
  """Returns whether this is a path of `temporary_path`, of any process."""
  return bool(_TEMPORARY.fullmatch(path.name))


def write_atomically(path: Path, data: bytes) -> None:
  """Replaces the file at `path` by `data`; if killed, leaves the complete old or new file. Raises OSError."""
  temporary = temporary_path(path)
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
