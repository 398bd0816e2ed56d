"""Caches the decoded arrays of a data set in one .npz file, so that loading needs no TFDS and no decoding."""

import json
import os
import pathlib
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from numpy.lib import format as npy

from gan_jax.data import dataset as dataset_lib, preparation


class DamagedCacheError(Exception):
  """Reports a cache file that is unreadable or whose SHA-256 is wrong."""


class CachedDataset(NamedTuple):
  """Holds a data set and a description of the files that it was decoded from."""

  dataset: dataset_lib.Dataset
  folder: str  # of the source files; relative to the data folder if inside it
  contents: str = ''  # of an image folder only: SHA-256 of the file list
  skipped: tuple[str, ...] = ()  # of an image folder only: files that are not images
  summary: dict[str, Any] = {}  # noqa: RUF012  of files only: what was read, converted and left out


def cache_path(data_dir: epath.Path, name: str, image_size: int = 0) -> epath.Path:
  """Returns the path of a data set's cache file; one file per `image_size`, 0 for the original size."""
  return data_dir / name / (f'decoded-{image_size}.npz' if image_size else 'decoded.npz')


def write_cache(path: pathlib.Path, cached: CachedDataset) -> None:
  """Writes the arrays uncompressed; equal arrays give equal bytes, since NumPy stores no date in an .npz."""
  dataset, folder, contents, skipped, summary = cached
  about: dict[str, Any] = dict(name=dataset.name, folder=folder, fingerprint=dataset.fingerprint)
  if contents:
    about |= dict(contents=contents, skipped=skipped, summary=summary)
    about |= dict(class_names=dataset.class_names)
  np.savez(path, about=np.array(json.dumps(about)), **dataset.arrays())  # type: ignore


def read_cache(path: epath.Path) -> CachedDataset | None:
  """Reads a cache file and verifies its SHA-256; returns None if there is no file.

  Images in a local file are memory-mapped. Raises DamagedCacheError.
  """
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      about = json.loads(str(arrays['about']))
      keys = [key for key in arrays.files if key in dataset_lib.ARRAY_NAMES]
      mapped = _memory_map(pathlib.Path(path), keys) if preparation.is_local_path(path) else {}
      loaded = {key: mapped[key] if key in mapped else arrays[key] for key in keys}
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile) as error:
    raise DamagedCacheError(str(error)) from error
  dataset = dataset_lib.from_arrays(about['name'], loaded, class_names=about.get('class_names', ()))
  if dataset.fingerprint != about['fingerprint']:
    raise DamagedCacheError('its sha256 differs from the recorded one')
  skipped = tuple(about.get('skipped', ()))
  return CachedDataset(
    dataset, about['folder'], about.get('contents', ''), skipped, about.get('summary', {})
  )


def read_about(path: epath.Path) -> dict[str, Any]:
  """Returns the description in a cache file; raises OSError where there is none."""
  with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
    return dict(json.loads(str(arrays['about'])))


def _memory_map(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
  """Memory-maps, read-only, the uncompressed uint8 arrays among `names` in an .npz file."""
  mapped = {}
  with zipfile.ZipFile(path) as archive, path.open('rb') as file:
    for name in names:
      member = archive.getinfo(f'{name}.npy')
      if member.compress_type != zipfile.ZIP_STORED:
        continue
      # A zip member: a header of 30 bytes, whose last four are the lengths of the name and the extra
      # field that follow, then the content.
      file.seek(member.header_offset + 26)
      file.seek(sum(struct.unpack('<HH', file.read(4))), os.SEEK_CUR)
      is_first_version = npy.read_magic(file) == (1, 0)
      read = npy.read_array_header_1_0 if is_first_version else npy.read_array_header_2_0
      shape, is_fortran, dtype = read(file)
      if dtype == np.uint8 and not is_fortran and 0 not in shape:
        mapped[name] = np.memmap(file, dtype, 'r', file.tell(), shape).view(np.ndarray)
  return mapped
