"""Finds the arrays of image folders that version 2 of the cache decoded, for runs that were begun with them.

Version 2 read .png and .jpg files only and split them by the hash of their paths.
"""

import hashlib
import os
from pathlib import Path

from etils import epath

from gan_jax.data import array_cache
from gan_jax.data.dataset import Dataset

_SUFFIXES = ('.png', '.jpg', '.jpeg')


def load(data_dir: epath.Path, folder: Path, image_size: int, fingerprint: str) -> Dataset | None:
  """Returns the arrays of this fingerprint if the files of `folder` are those that they were decoded from."""
  digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
  cache = data_dir / 'folders' / f'{folder.name}-{digest}'
  file = cache / (f'decoded-{image_size}.npz' if image_size else 'decoded.npz')
  try:
    cached = array_cache.read_cache(file)
  except array_cache.DamagedCacheError:
    return None
  if cached is None or cached.dataset.fingerprint != fingerprint:
    return None
  return cached.dataset if cached.contents == _hash_file_list(folder) else None


def _hash_file_list(folder: Path) -> str:
  """Returns the SHA-256 of path, size and modification time of each file, as version 2 computed it."""
  digest = hashlib.sha256(b'version 2\n')
  for file in _list_images(folder):
    status = (folder / file).stat() if (folder / file).exists() else None
    about = (status.st_size, status.st_mtime_ns) if status else None
    digest.update(os.fsencode(f'{file!r} {about}\n'))
  return digest.hexdigest()


def _list_images(folder: Path) -> list[str]:
  paths = []
  ancestors = {str(folder): {folder}}  # of each folder to visit: itself and its parents, resolved
  for parent, folders, files in os.walk(folder, followlinks=True):
    parents, names = ancestors.pop(parent), [each for each in folders if not each.startswith('.')]
    resolved = {each: Path(parent, each).resolve() for each in names}
    folders[:] = [each for each in names if resolved[each] not in parents]
    ancestors |= {str(Path(parent, each)): parents | {resolved[each]} for each in folders}
    for each in files:
      if each.lower().endswith(_SUFFIXES) and not each.startswith('.'):
        paths.append(Path(parent, each).relative_to(folder).as_posix())
  return sorted(paths)
