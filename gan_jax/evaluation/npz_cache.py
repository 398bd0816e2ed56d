"""Caches arrays in .npz files that hold a SHA-256 of their content."""

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_jax.utils.files import write_atomically

Arrays = dict[str, np.ndarray]


class DamagedFileError(Exception):
  """Reports that the content of a cache file is not what was written."""


def write_checked_npz(path: Path, arrays: Arrays, sha256: str) -> None:
  """Writes `arrays` and their `sha256` to `path`; ignores a file system that refuses to."""
  file = io.BytesIO()
  np.savez(file, sha256=np.array(sha256), **arrays)  # type: ignore[arg-type]
  with contextlib.suppress(OSError):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())


def read_checked_npz(path: Path, sha256_of: Callable[[Arrays], str]) -> Arrays | None:
  """Returns the arrays in a file; None without a file.

  Raises DamagedFileError where the file cannot be read or `sha256_of` gives another hash than recorded.
  """
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as content:
      arrays = {name: content[name] for name in content.files}
    recorded = str(arrays.pop('sha256'))
    if sha256_of(arrays) != recorded:
      raise DamagedFileError('its sha256 is not the recorded one')
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise DamagedFileError(str(error)) from error
  return arrays
