"""Provides locked working folders and atomic moves for data preparation by killed or concurrent processes."""

import contextlib
import fcntl
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
from etils import epath

from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

_COMPLETION_FILE = 'dataset_info.json'  # TFDS writes it last; a folder with it is complete


def is_local_path(path: epath.Path) -> bool:
  """Returns whether the path is on a local file system, where renames are atomic, and not in a bucket."""
  return '://' not in os.fspath(path)


@contextlib.contextmanager
def locked_work_dir(data_dir: epath.Path, name: str, progress: Progress) -> Iterator[pathlib.Path]:
  """Yields a temporary folder under a lock that admits one process per data set at a time.

  If `data_dir` is local, the folder is inside it. The system releases the lock of a killed process; the next
  process removes its temporary folder. Raises UserError if `data_dir` cannot be written.
  """
  if not is_local_path(data_dir):
    with tempfile.TemporaryDirectory(prefix='gan_jax-') as folder:
      yield pathlib.Path(folder)
    return
  prefix = _prefix(data_dir, name)
  try:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = prefix.with_name(f'{prefix.name}.lock').open('w')
  except OSError as error:
    reason = f'cannot be written ({error.strerror or error})'
    raise UserError(f'--data_dir={data_dir} {reason}: name a writable folder') from error
  with lock:
    if _acquire(lock, name, progress):
      _remove_leftovers(prefix)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f'{prefix.name}.tmp-', dir=data_dir))
    try:
      yield work
    finally:
      shutil.rmtree(work, ignore_errors=True)


def disk_backed_zeros(work: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
  """Returns uint8 zeros, memory-mapped from an unnamed file in `work`: a buffer that may exceed the memory."""
  if 0 in shape:
    return np.zeros(shape, np.uint8)
  with tempfile.TemporaryFile(dir=work) as file:
    if hasattr(os, 'posix_fallocate'):  # raises on a full disk; a later write would be a SIGBUS
      os.posix_fallocate(file.fileno(), 0, math.prod(shape))
    return np.memmap(file, np.uint8, 'w+', shape=shape).view(np.ndarray)


def remove_abandoned_work(data_dir: epath.Path, name: str) -> None:
  """Deletes the temporary folders of killed processes, unless another process holds the lock."""
  prefix = _prefix(data_dir, name)
  if is_local_path(data_dir) and any(prefix.parent.glob(f'{prefix.name}.tmp-*')):
    lock_file = prefix.with_name(f'{prefix.name}.lock')
    with contextlib.suppress(OSError), lock_file.open('w') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      _remove_leftovers(prefix)


def _prefix(data_dir: epath.Path, name: str) -> pathlib.Path:
  return pathlib.Path(data_dir) / f'.preparing-{name.replace("/", ".")}'


def _remove_leftovers(prefix: pathlib.Path) -> None:
  for leftover in prefix.parent.glob(f'{prefix.name}.tmp-*'):
    shutil.rmtree(leftover, ignore_errors=True)


def _acquire(lock: IO[str], name: str, progress: Progress) -> bool:
  """Waits for the lock; returns False if the file system has no locks (`move_into_place` resolves races)."""
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    progress.log(f'{name}: waiting for another process that is preparing it')
    fcntl.flock(lock, fcntl.LOCK_EX)
  except OSError:
    return False
  return True


def move_into_place(source: pathlib.Path, target: epath.Path) -> None:
  """Moves a finished file or folder to `target`: by an atomic rename if local, by copying to a bucket."""
  if not is_local_path(target):
    return copy_files(epath.Path(source), target)
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    source.replace(target)
  except OSError:
    if not (target / _COMPLETION_FILE).exists():  # another process has moved the same folder there
      raise


def copy_files(source: epath.Path, target: epath.Path) -> None:
  """Copies a file or a flat folder between file systems; the completion file comes last."""
  if not source.is_dir():
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return
  for file in sorted(source.iterdir(), key=lambda file: (file.name == _COMPLETION_FILE, file.name)):
    copy_files(file, target / file.name)
