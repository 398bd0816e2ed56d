"""The decoded arrays in one file beside the prepared folder: a start without TFDS and PNGs."""

import json
import os
import pathlib
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from gan_jax.data import dataset as dataset_lib
from gan_jax.data import preparation


class DamagedCacheError(Exception):
  """The file is not what was written; the message says in which way."""


class CachedDataset(NamedTuple):
  """A data set, and what it was decoded from."""

  dataset: dataset_lib.Dataset
  folder: str  # relative to the data folder where it lies there
  contents: str = ''  # of an image folder: the sha256 of its list of files
  skipped: tuple[str, ...] = ()  # of an image folder: the files that are not images


def cache_path(data_dir: epath.Path, name: str, image_size: int = 0) -> epath.Path:
  """Where the decoded arrays of a data set lie, those of images of another size by themselves."""
  return data_dir / name / (f'decoded-{image_size}.npz' if image_size else 'decoded.npz')


def write_cache(path: pathlib.Path, cached: CachedDataset) -> None:
  """Write the arrays uncompressed, equal bytes for equal arrays (NumPy's npz carries no date)."""
  about: dict[str, Any] = {'name': cached.dataset.name, 'folder': cached.folder}
  about['fingerprint'] = cached.dataset.fingerprint
  if cached.contents:
    about |= {'contents': cached.contents, 'skipped': cached.skipped}
  np.savez(path, about=np.array(json.dumps(about)), **cached.dataset.arrays())  # type: ignore


def read_cache(path: epath.Path) -> CachedDataset | None:
  """The cached data set, None where there is none; DamagedError unless its sha256 is right.

  Images in a local file stay there: their pages come into memory as they are looked at, and may go again.
  """
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      about = json.loads(str(arrays['about']))
      known = [key for key in arrays.files if key in dataset_lib.ARRAY_NAMES]
      pages = _pages(pathlib.Path(path), known) if preparation.is_local_path(path) else {}
      found = {key: pages[key] if key in pages else arrays[key] for key in known}
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile) as error:
    raise DamagedCacheError(str(error)) from error
  dataset = dataset_lib.from_arrays(about['name'], found)
  if dataset.fingerprint != about['fingerprint']:
    raise DamagedCacheError('its sha256 is not the recorded one')
  skipped = tuple(about.get('skipped', ()))
  return CachedDataset(dataset, about['folder'], about.get('contents', ''), skipped)


def _pages(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
  """Those of the arrays in a file that are bytes, read-only and without being read."""
  found = {}
  with zipfile.ZipFile(path) as archive, path.open('rb') as file:
    for name in names:
      member = archive.getinfo(f'{name}.npy')
      if member.compress_type != zipfile.ZIP_STORED:
        continue
      # The name and a further field stand between a member's header of 30 bytes and its content.
      file.seek(member.header_offset + 26)
      file.seek(sum(struct.unpack('<HH', file.read(4))), os.SEEK_CUR)
      version = np.lib.format.read_magic(file)
      read_header = np.lib.format.read_array_header_1_0
      if version != (1, 0):
        read_header = np.lib.format.read_array_header_2_0
      shape, is_fortran, dtype = read_header(file)
      if dtype == np.uint8 and not is_fortran and 0 not in shape:
        pages = np.memmap(file, dtype, 'r', file.tell(), shape)
        found[name] = pages.view(np.ndarray)
  return found
