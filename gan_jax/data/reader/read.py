"""Reads images or points from a folder, an archive, an array or a table, told apart by their content."""

import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from gan_jax.data.progress import Progress
from gan_jax.data.reader import array_files
from gan_jax.data.reader.entries import Source, file_stamp
from gan_jax.data.reader.folders import FolderSource
from gan_jax.data.reader.image_set import ImageSet
from gan_jax.data.reader.options import ReadOptions
from gan_jax.data.reader.parquet import ParquetSource
from gan_jax.data.reader.read_arrays import read_arrays
from gan_jax.data.reader.read_files import read_files
from gan_jax.data.reader.summary import ReadSummary
from gan_jax.data.reader.tar_archives import TarSource, is_tar
from gan_jax.data.reader.zip_archives import ZipSource
from gan_jax.utils.errors import UserError

PREFIXES = ('folder:', 'zip:', 'tar:', 'webdataset:', 'npz:', 'npy:', 'parquet:')


def strip_prefix(name: str) -> str:
  """Returns the path of `folder:PATH`, `zip:PATH` and the like; the content decides what it is."""
  prefix = next((each for each in PREFIXES if name.startswith(each)), '')
  return name.removeprefix(prefix)


def resolve_path(given: str, name: str) -> Path:
  """Returns the absolute path that a name means; raises UserError if nothing is there."""
  text = strip_prefix(name)
  try:
    path = Path(text).expanduser()
    exists = bool(text) and path.exists()
  except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown user
    exists = False
  if not exists:
    what = 'there is no such file or folder' if text else 'it names no path'
    raise UserError(f'{given}: {what}; name a folder, .zip, .tar, .npz, .npy or .parquet')
  return path.resolve()


class DataPath:
  """Opens a path for reading: what it is, whether it has changed, and what it holds.

  Args:
    given: names the path in errors, as in `--dataset=folder:photos`.
    path: an existing file or folder.

  Raises UserError where the path is none of the kinds that can be read.
  """

  def __init__(self, given: str, path: Path) -> None:
    self._given, self._path = given, path
    self._source = _open_source(given, path)

  def stamp(self) -> str:
    """Returns a SHA-256 that is equal as long as no file has changed."""
    return self._source.stamp() if self._source else file_stamp(self._path)

  def read(
    self,
    options: ReadOptions,
    progress: Progress,
    image_size: int = 0,
    work: Path | None = None,
    drop_nonfinite: bool = False,
  ) -> ImageSet | tuple[np.ndarray, ReadSummary]:
    """Returns images, or points float32 [n, ...] with a summary; raises UserError.

    Args:
      options: how to read.
      progress: shows a bar.
      image_size: if not 0, images are cropped and resized to squares of this many pixels a side.
      work: folder for the decoded images, by default that of temporary files.
      drop_nonfinite: leaves out rows of an array that are not finite.
    """
    options.check()
    if self._source is None:
      return read_arrays(self._given, self._path, options, image_size, work, drop_nonfinite)
    return read_files(self._given, self._source, options, progress, image_size, work)


def _open_source(given: str, path: Path) -> Source | None:
  """Returns the source of image files of a path, None for a file of arrays; raises UserError."""
  if path.is_dir():
    return FolderSource(given, path)
  try:
    with path.open('rb') as file:
      start = file.read(8)
  except OSError as error:
    raise UserError(
      f'{given}: it cannot be read ({error.strerror}); change its permissions'
    ) from None
  if path.suffix.lower() in ('.npz', '.npy') or start.startswith(b'\x93NUMPY'):
    return None
  if start.startswith(b'PK') and (zipfile.is_zipfile(path) or path.suffix.lower() == '.zip'):
    return None if array_files.is_npz(path) else ZipSource(given, path)
  if start.startswith(b'PAR1'):
    return ParquetSource(given, path)
  if path.name.lower().endswith(('.tar', '.tgz')) or is_tar(path):
    return TarSource(given, path)
  if path.suffix.lower() in PIL.Image.registered_extensions():
    raise UserError(f'{given}: it is one image; name the folder or the archive of all of them')
  found = f'it begins with {start!r}' if start else 'it is empty'
  mend = 'give a folder of images, or a .zip, .tar, .npz, .npy or .parquet'
  raise UserError(f'{given}: {found}, which is no kind of data that can be read; {mend}')
