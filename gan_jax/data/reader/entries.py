"""Defines the files of a source one by one, and which names are never data."""

import hashlib
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from gan_jax.data.reader.summary import ReadSummary

_SYSTEM_NAMES = {'thumbs.db', 'ehthumbs.db', 'desktop.ini', '__macosx', '@eadir', '$recycle.bin'}
_SPLIT_WORDS = {
  **dict.fromkeys(('train', 'training', 'trn'), 'train'),
  **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'validation'),
  **dict.fromkeys(('test', 'testing', 'tst'), 'test'),
}


DAMAGE = (
  OSError,
  EOFError,
  ValueError,
  zlib.error,
  lzma.LZMAError,
  tarfile.TarError,
)  # of archives


class UnreadableFileError(Exception):
  """Reports a single file of a source that cannot be read."""


class Entry(NamedTuple):
  """Holds one file of a source.

  Args:
    name: the path relative to the source, for messages.
    load: returns the content; raises UnreadableFileError or OSError.
    size: of the content in bytes.
    path: the path inside the innermost container, by which classes and splits are found.
    split: a split that the container's own name gives, or ''.
    label: a label that the container gives, or None.
  """

  name: str
  load: Callable[[], bytes]
  size: int
  path: str
  split: str = ''
  label: int | str | None = None


class Source(Protocol):
  """Lists the files of a folder, an archive or a table; `class_names` are those of integer labels."""

  class_names: tuple[str, ...]
  n_files: int | None  # None where the source must be read to count them

  def stamp(self) -> str:
    """Returns the SHA-256 of names, sizes and modification times: equal as long as nothing has changed."""
    ...

  def entries(self, summary: ReadSummary) -> Iterator[Entry]:
    """Yields the files in a fixed order and counts what is left out; raises UserError."""
    ...


def file_stamp(path: Path) -> str:
  """Returns the SHA-256 of a file's size and modification time."""
  status = path.stat()
  return hashlib.sha256(f'{status.st_size} {status.st_mtime_ns}'.encode()).hexdigest()


def short_reason(error: BaseException) -> str:
  """Returns the message of an error on one line of at most 100 characters."""
  return ' '.join(str(error).split())[:100] or type(error).__name__


def is_hidden(part: str) -> bool:
  """Returns whether a file or folder of this name is hidden or belongs to an operating system or a tool."""
  return part.startswith('.') or part.lower() in _SYSTEM_NAMES


def clean_path(path: str) -> str:
  """Returns a path of an archive without leading slashes, drive letters and parent folders."""
  parts = path.replace('\\', '/').split('/')
  return '/'.join(part for part in parts if part not in ('', '.', '..') and not part.endswith(':'))


def split_of_word(word: str) -> str:
  """Returns `train`, `validation` or `test` for the usual names of splits, else ''."""
  return _SPLIT_WORDS.get(word.lower(), '')


def split_of_file(name: str) -> str:
  """Returns the split that a word of a file's name gives, as in train-00000-of-00002.parquet, else ''."""
  found = {split_of_word(word) for word in re.split(r'[^A-Za-z]+', name)} - {''}
  return found.pop() if len(found) == 1 else ''


def natural_key(name: str) -> tuple[object, ...]:
  """Returns a sort key by which digits in names are ordered as numbers: 1, 2, 10."""
  parts = re.split(r'([0-9]+)', name)
  return (*((int(p), '') if p.isdecimal() and p.isascii() else (-1, p) for p in parts), name)
