"""A place to prepare data in, so that a killed or a second process leaves nothing broken."""

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

_LAST = 'dataset_info.json'  # a TFDS folder counts as prepared once this file is there


def is_local_path(path: epath.Path) -> bool:
  """Whether the path lies on this machine's file system, where renames are atomic."""
  return '://' not in os.fspath(path)


@contextlib.contextmanager
def locked_work_dir(data_dir: epath.Path, name: str, progress: Progress) -> Iterator[pathlib.Path]:
  """A temporary folder, beside the data where that is local; one process per data set at a time.

  A process that is killed releases its lock with its life, and the next one removes what it left.
  Raises UserError where the data folder cannot be written.
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
    reason = error.strerror or error
    raise UserError(
      f'--data_dir={data_dir} cannot be written ({reason}): name a folder that can be'
    ) from error
  with lock:
    if _acquire(lock, name, progress):
      _remove_leftovers(prefix)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f'{prefix.name}.tmp-', dir=data_dir))
    try:
      yield work
    finally:
      shutil.rmtree(work, ignore_errors=True)


def disk_backed_zeros(work: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
  """Zeros uint8 in a nameless file of the workspace, so that they may be more than fit into memory."""
  if 0 in shape:
    return np.zeros(shape, np.uint8)
  with tempfile.TemporaryFile(dir=work) as file:
    if hasattr(os, 'posix_fallocate'):  # on a full disk an error here, and not a signal later
      os.posix_fallocate(file.fileno(), 0, math.prod(shape))
    return np.memmap(file, np.uint8, 'w+', shape=shape).view(np.ndarray)


def remove_abandoned_work(data_dir: epath.Path, name: str) -> None:
  """Remove what a killed process left beside complete data, unless another is at work."""
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
  """Wait for the lock; False on a file system without locks, where `publish` bears a rival."""
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    progress.log(f'{name}: waiting for another process that prepares it')
    fcntl.flock(lock, fcntl.LOCK_EX)
  except OSError:
    return False
  return True


def move_into_place(source: pathlib.Path, target: epath.Path) -> None:
  """Put a finished file or folder in its place: a rename where local, copies to a bucket."""
  if not is_local_path(target):
    copy_files(epath.Path(source), target)
    return
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    source.replace(target)
  except OSError:
    if not (target / _LAST).exists():  # else a rival has put the same folder there
      raise


def copy_files(source: epath.Path, target: epath.Path) -> None:
  """Copy a file or a flat folder between file systems, the file that completes it last."""
  if not source.is_dir():
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return
  for file in sorted(source.iterdir(), key=lambda file: (file.name == _LAST, file.name)):
    copy_files(file, target / file.name)
