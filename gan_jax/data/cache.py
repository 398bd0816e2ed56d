"""The decoded arrays in one file beside the prepared folder: a start without TFDS and PNGs."""

import json
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from gan_jax.data import dataset as dataset_lib


class DamagedError(Exception):
  """The file is not what was written; the message says in which way."""


class Cached(NamedTuple):
  """A data set, and what it was decoded from."""

  dataset: dataset_lib.Dataset
  folder: str  # relative to the data folder where it lies there
  contents: str = ''  # of an image folder: the sha256 of its list of files
  skipped: tuple[str, ...] = ()  # of an image folder: the files that are not images


def path_in(data_dir: epath.Path, name: str, image_size: int = 0) -> epath.Path:
  """Where the decoded arrays of a data set lie, those of images of another size by themselves."""
  return data_dir / name / (f'decoded-{image_size}.npz' if image_size else 'decoded.npz')


def write(path: pathlib.Path, cached: Cached) -> None:
  """Write the arrays uncompressed, equal bytes for equal arrays (NumPy's npz carries no date)."""
  about: dict[str, Any] = {'name': cached.dataset.name, 'folder': cached.folder}
  about['fingerprint'] = cached.dataset.fingerprint
  if cached.contents:
    about |= {'contents': cached.contents, 'skipped': cached.skipped}
  np.savez(path, about=np.array(json.dumps(about)), **cached.dataset.arrays())  # type: ignore


def read(path: epath.Path) -> Cached | None:
  """The cached data set, None where there is none; DamagedError unless its sha256 is right."""
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      about = json.loads(str(arrays['about']))
      found = {key: arrays[key] for key in arrays.files if key in dataset_lib.ARRAYS}
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise DamagedError(str(error)) from error
  dataset = dataset_lib.from_arrays(about['name'], found)
  if dataset.fingerprint != about['fingerprint']:
    raise DamagedError('its sha256 is not the recorded one')
  skipped = tuple(about.get('skipped', ()))
  return Cached(dataset, about['folder'], about.get('contents', ''), skipped)
