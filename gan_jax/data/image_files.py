"""Loads images of a folder, an archive, an array or a table as a data set with splits, and caches them."""

import hashlib
import os
from pathlib import Path
from typing import Any

from etils import epath

from gan_jax.data import (
  array_cache,
  dataset as dataset_lib,
  earlier_folder_cache,
  preparation,
  reader,
)
from gan_jax.data.progress import Progress
from gan_jax.data.reader import ReadOptions
from gan_jax.data.reader.content_splits import split_by_content
from gan_jax.data.reader.options import SPLITS
from gan_jax.data.reader.summary import enumerate_names, from_json, plural
from gan_jax.utils.errors import UserError

_VERSION = 3  # increased when the same files give other arrays


def is_path_name(name: str) -> bool:
  """Returns whether a data set name is a path: `folder:PATH` and the like, or begins with / ./ ../ or ~."""
  return name.startswith((*reader.PREFIXES, '/', './', '../', '~')) or name in ('.', '..')


def image_files_cache(name: str, data_dir: epath.Path) -> epath.Path:
  """Returns the folder that caches the decoded arrays of a path; raises UserError if nothing is there."""
  return data_dir / _cache_name(reader.resolve_path(f'--dataset={name}', name))


def load_image_files(
  name: str,
  data_dir: epath.Path,
  progress: Progress,
  image_size: int = 0,
  strict: bool = False,
  options: ReadOptions = ReadOptions(),  # noqa: B008
  fingerprint: str = '',
) -> dataset_lib.Dataset:
  """Loads the images of a path from a cache, which is rebuilt if a file has changed.

  Images of the splits that the path brings stay there. Of the others, sorted by the SHA-256 of their pixels,
  a tenth is for validation, a tenth for test (at least 2 each) and the rest for training, or as
  `options.split_fractions` says; duplicates are on one side. `strict` refuses unreadable image files. A
  `fingerprint` of arrays that an earlier version cached by other rules loads those. Raises UserError.
  """
  given = f'--dataset={name}'
  options.check()
  path = reader.resolve_path(given, name)
  folder = data_dir / _cache_name(path)
  if fingerprint and path.is_dir():
    earlier = earlier_folder_cache.load(data_dir, path, image_size, fingerprint)
    if earlier is not None:
      progress.log(
        f'{name}: the splits by file name of an earlier version, with which this run was begun'
      )
      return earlier._replace(name=name)
  data = reader.DataPath(given, path)
  contents, cached = _contents(data, options), None
  file = folder / _cache_file_name(options, image_size)
  try:
    cached = array_cache.read_cache(file)
  except array_cache.DamagedCacheError as error:
    progress.log(f'{name}: the decoded arrays in {file} are damaged ({error}), decoding again')
  if cached is None or cached.contents != contents:
    with preparation.locked_work_dir(data_dir, _cache_name(path), progress) as work:
      cached = _decode(name, data, options, progress, image_size, strict, work)
      cached = cached._replace(folder=str(path), contents=contents)
      array_cache.write_cache(work / file.name, cached)
      preparation.move_into_place(work / file.name, file)
  if cached.skipped and strict:
    raise _unreadable_error(given, cached.skipped[0])
  progress.log(f'{name}: {from_json(cached.summary).line()}')
  return cached.dataset._replace(name=name)


def load_summary(
  name: str,
  data_dir: epath.Path,
  image_size: int = 0,
  options: ReadOptions = ReadOptions(),  # noqa: B008
) -> reader.ReadSummary:
  """Returns what was read, converted and left out when the arrays of a path were cached."""
  file = image_files_cache(name, data_dir) / _cache_file_name(options, image_size)
  return from_json(array_cache.read_about(file)['summary'])


def _cache_name(path: Path) -> str:
  """Returns the cache folder, relative to the data folder, unique per absolute path."""
  plain = ''.join(c if c.isalnum() or c in '-_. ' else '_' for c in path.name)[:80]
  return f'folders/{plain}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}'


def _cache_file_name(options: ReadOptions, image_size: int) -> str:
  """Returns one name per image size and options."""
  size = f'-{image_size}' if image_size else ''
  digest = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
  return f'images{size}.npz' if options == ReadOptions() else f'images{size}-{digest}.npz'


def _contents(data: reader.DataPath, options: ReadOptions) -> str:
  """Returns the SHA-256 of all that the arrays depend on."""
  digest = hashlib.sha256(f'version {_VERSION}\n{options}\n{data.stamp()}\n'.encode())
  if options.labels not in ('auto', 'none', 'folders') and os.path.isfile(options.labels):  # noqa: PTH113
    digest.update(Path(options.labels).read_bytes())
  return digest.hexdigest()


def _decode(
  name: str,
  data: reader.DataPath,
  options: ReadOptions,
  progress: Progress,
  image_size: int,
  strict: bool,
  work: Path,
) -> array_cache.CachedDataset:
  """Reads, splits and stacks images; the arrays are memory-mapped, since they may exceed the memory."""
  given = f'--dataset={name}'
  images = data.read(options, progress, image_size, work)
  if not isinstance(images, reader.ImageSet):
    found = f'points {list(images[0].shape)}'
    mend = 'training takes images: give [n, h, w, c], or --dataset=ring and the like for points'
    raise UserError(f'{given}: it holds {found}, and {mend}')
  if strict and images.damaged:
    raise _unreadable_error(given, images.damaged[0])
  h, w, c = images.common_shape(given, image_size)
  hashes, summary = images.content_hashes(), images.summary
  parts, notes = split_by_content(given, hashes, images.splits, options.fractions())
  if n := summary.n_duplicates:
    notes.append(plural(n, 'duplicate'))
  summary.notes += notes
  arrays: dict[str, Any] = {}
  for split in SPLITS:
    shape = (len(parts[split]), h, w, c)
    arrays[split] = images.stack(parts[split], preparation.disk_backed_zeros(work, shape))
    if images.labels is not None:
      arrays[f'{split}_labels'] = images.labels[parts[split]]
  dataset = dataset_lib.from_arrays(name, arrays, class_names=images.class_names)
  return array_cache.CachedDataset(dataset, '', '', tuple(images.damaged[:100]), summary.as_json())


def _unreadable_error(given: str, file: str) -> UserError:
  mend = 'repair or remove it, or skip such files without --strict'
  return UserError(
    f'{given}: {enumerate_names([file])} is not an image that Pillow can read; {mend}'
  )
