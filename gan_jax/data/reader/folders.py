"""Lists the files of a folder, in which archives and Parquet files may stand for files."""

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from gan_jax.data.reader import parquet, tar_archives, zip_archives
from gan_jax.data.reader.entries import (
  Entry,
  Source,
  UnreadableFileError,
  is_hidden,
  natural_key,
  split_of_file,
)
from gan_jax.data.reader.options import MAX_FILE_BYTES
from gan_jax.data.reader.summary import HIDDEN, NOT_IMAGES, TOO_LARGE, ReadSummary
from gan_jax.utils.errors import UserError

_MAX_LINKS = 10_000  # links to folders that are followed


class FolderSource:
  """Lists the files below a folder; a folder with nothing but archives or Parquet files lists their content.

  Symbolic links are followed unless they lead to a folder that contains them. Raises UserError.
  """

  def __init__(self, given: str, folder: Path) -> None:
    self._given, self._folder = given, folder
    self._files, self._left_out = _list_files(given, folder)
    self._refuse_tfds()
    self._containers = self._open_containers()
    self.n_files = None if self._containers else len(self._files)
    names = [each.class_names for each in self._containers.values()]
    self.class_names: tuple[str, ...] = (
      names[0] if names and names.count(names[0]) == len(names) else ()
    )

  def _refuse_tfds(self) -> None:
    is_tfds = any(name.endswith('dataset_info.json') for name in self._files)
    if is_tfds and any('.array_record' in name or '.tfrecord' in name for name in self._files):
      mend = 'give --dataset=NAME with the --data_dir that holds it, or tfds:NAME/SPLIT for a set of examples'
      raise UserError(f'{self._given}: this folder is a data set that TFDS prepared; {mend}')

  def _open_containers(self) -> dict[str, Source]:
    """Opens the archives and Parquet files of a folder that holds nothing else but small notes."""
    openers = {name: _container_opener(name) for name in self._files}
    if not any(openers.values()):
      return {}
    others = [name for name, opener in openers.items() if not opener and not _is_note(name)]
    if others:
      return {}
    return {
      name: opener(f'{self._given}: {name}', self._folder / name)
      for name, opener in openers.items()
      if opener
    }

  def stamp(self) -> str:
    """Returns the SHA-256 of path, size and modification time of each file."""
    digest = hashlib.sha256()
    for name, status in self._files.items():
      about = (status.st_size, status.st_mtime_ns) if status else None
      digest.update(os.fsencode(f'{name!r} {about}\n'))
    return digest.hexdigest()

  def entries(self, summary: ReadSummary) -> Iterator[Entry]:
    """Yields the files in alphabetical order."""
    for name in self._left_out:
      summary.leave_out(HIDDEN, name)
    for name, status in self._files.items():
      if name in self._containers:
        yield from self._contained(name, summary)
      elif status is None:
        summary.leave_out(NOT_IMAGES, name)
      elif not stat.S_ISREG(status.st_mode):
        summary.leave_out('pipes, sockets or devices', name)
      elif status.st_size > MAX_FILE_BYTES:
        summary.leave_out(TOO_LARGE, name)
      else:
        path = os.path.join(self._folder, name)  # noqa: PTH118
        yield Entry(name, functools.partial(_read_file, path, status.st_size), status.st_size, name)

  def _contained(self, name: str, summary: ReadSummary) -> Iterator[Entry]:
    split = split_of_file(Path(name).stem)
    parent = name.rpartition('/')[0]
    for entry in self._containers[name].entries(summary):
      path = f'{parent}/{entry.path}' if parent else entry.path
      yield entry._replace(name=f'{name}/{entry.name}', path=path, split=entry.split or split)


def _read_file(path: str, size: int) -> bytes:
  try:
    file = os.open(
      path, os.O_RDONLY
    )  # without the buffers of open(), which cost as much as a small image
    try:
      return os.read(file, size)
    finally:
      os.close(file)
  except OSError as error:
    raise UnreadableFileError(error.strerror) from error


def _is_note(name: str) -> bool:
  return name.lower().endswith(('.md', '.txt', '.json', '.csv', '.yaml', '.yml', '.parquet.crc'))


def _container_opener(name: str) -> Callable[[str, Path], Source] | None:
  lower = name.lower()
  if lower.endswith('.zip'):
    return zip_archives.ZipSource
  if lower.endswith(tar_archives.TAR_SUFFIXES):
    return tar_archives.TarSource
  return parquet.ParquetSource if lower.endswith('.parquet') else None


def _list_files(given: str, folder: Path) -> tuple[dict[str, os.stat_result | None], list[str]]:
  """Returns the status of each file by relative path, None for a dangling link; and the hidden paths."""

  def raise_unreadable(error: OSError) -> None:
    reason = f'{error.filename} cannot be read ({error.strerror})'
    raise UserError(f'{given}: {reason}; change its permissions, or move it away') from error

  files: list[str] = []
  hidden: list[str] = []
  n_links, root = 0, os.fspath(folder)
  ancestors = {root: {os.path.realpath(root)}}  # of each folder to visit: itself and its parents
  for parent, folders, names in os.walk(root, onerror=raise_unreadable, followlinks=True):
    parents, prefix = ancestors.pop(parent), os.path.relpath(parent, root)
    prefix = '' if prefix == '.' else f'{prefix}/'
    hidden += [f'{prefix}{each}' for each in (*folders, *names) if is_hidden(each)]
    kept = []
    for each in folders:
      path = os.path.join(parent, each)  # noqa: PTH118
      resolved = os.path.realpath(path)
      n_links += os.path.islink(path)  # noqa: PTH114
      if not is_hidden(each) and resolved not in parents:
        kept.append(each)
        ancestors[path] = parents | {resolved}
    if n_links > _MAX_LINKS:
      raise UserError(f'{given}: more than {_MAX_LINKS:,} links to folders; take some away')
    folders[:] = sorted(kept, key=natural_key)
    files += [f'{prefix}{each}' for each in names if not is_hidden(each)]
  return {name: _status(os.path.join(root, name)) for name in sorted(files)}, sorted(hidden)  # noqa: PTH118


def _status(path: str) -> os.stat_result | None:
  try:
    return os.stat(path)  # noqa: PTH116
  except OSError:
    return None
