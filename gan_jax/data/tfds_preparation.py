"""Prepares image sets of TFDS as array_record files and cached arrays, without TensorFlow."""

import contextlib
import io
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from absl import logging
from etils import epath

from gan_jax.data import array_cache, dataset, downloads, preparation, tfds_decoding
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

# Fingerprints of train[0:50000], train[50000:60000] and test in the order of the original files.
FINGERPRINTS = {
  'fashion_mnist': 'bd345859a79c956a38410dd5925bb818418678537ea40023df2da3e809f9169c',
  'mnist': '18277b023d91946a12f9d1b15bf4b1c350a95b1ed90e2d0610c2b381936cc2a4',
}
_INFO_FILE = 'dataset_info.json'  # TFDS writes it last
_ALREADY_PREPARED = 'already prepared'


class PreparedDataset(NamedTuple):
  """Holds a data set, the folder of its array_record files, and the source of its original files."""

  dataset: dataset.Dataset
  folder: epath.Path
  origin: str


class _PreparationTask(NamedTuple):
  """Holds the arguments of one preparation, and its working folder."""

  name: str
  data_dir: epath.Path
  image_size: int
  progress: Progress
  sources: Mapping[str, downloads.DownloadSource]
  work: pathlib.Path


def load_tfds(
  name: str, data_dir: epath.Path, progress: Progress, image_size: int = 0
) -> dataset.Dataset:
  """Loads a data set from its array cache and prepares it first if needed; raises UserError."""
  with contextlib.suppress(array_cache.DamagedCacheError):  # `prepare_tfds` logs the damage
    if cached := _read_cache(name, data_dir, image_size):
      return cached.dataset
  return prepare_tfds(name, data_dir, progress, image_size=image_size).dataset


def prepare_tfds(
  name: str,
  data_dir: epath.Path,
  progress: Progress,
  sources: Mapping[str, downloads.DownloadSource] = downloads.DOWNLOAD_SOURCES,
  image_size: int = 0,
) -> PreparedDataset:
  """Prepares the array_record folder and the array cache, as far as they are missing; raises UserError.

  Both are moved into place only when complete, the cache last. The arguments are those of
  `registry.prepare_dataset`.
  """
  with contextlib.suppress(array_cache.DamagedCacheError):
    if prepared := _find_prepared(name, data_dir, image_size):
      preparation.remove_abandoned_work(data_dir, name)
      return prepared
  with _silence_tfds():
    from gan_jax.data import tfds_without_tensorflow  # imports TFDS

    cls = tfds_without_tensorflow.tensorflow_free_builder(name, progress)
    try:
      with preparation.locked_work_dir(data_dir, name, progress) as work:
        builder = cls(data_dir=work, config=name.partition('/')[2] or None)
        task = _PreparationTask(name, data_dir, image_size, progress, sources, work)
        return _prepare(task, builder)
    except (OSError, ImportError) as error:  # a full disk; a builder that needs TensorFlow
      raise UserError(f'{name} cannot be prepared in --data_dir={data_dir} ({error})') from error


def _read_cache(name: str, data_dir: epath.Path, size: int) -> array_cache.CachedDataset | None:
  """Reads the array cache, or returns None; raises DamagedCacheError if it holds other data."""
  cached = array_cache.read_cache(array_cache.cache_path(data_dir, name, size))
  if cached and not _is_expected(cached.dataset, name, size):
    raise array_cache.DamagedCacheError('they differ from the original files')
  return cached


def _is_expected(decoded: dataset.Dataset, name: str, image_size: int = 0) -> bool:
  """Returns whether arrays are those of `name`, by their fingerprint or, if resized, by their size."""
  if image_size:
    return decoded.name == name and decoded.shape[:2] == (image_size, image_size)
  return decoded.name == name and decoded.fingerprint == FINGERPRINTS.get(name, decoded.fingerprint)


def _find_prepared(name: str, data_dir: epath.Path, image_size: int) -> PreparedDataset | None:
  """Returns a complete earlier preparation, without importing TFDS; raises DamagedCacheError."""
  cached = _read_cache(name, data_dir, image_size)
  if cached is None or not (data_dir / cached.folder / _INFO_FILE).exists():
    return None
  return PreparedDataset(cached.dataset, data_dir / cached.folder, _ALREADY_PREPARED)


def _prepare(task: _PreparationTask, builder: Any) -> PreparedDataset:
  """Builds the array_record folder unless it exists, decodes it, and moves folder and cache into place."""
  name, data_dir, image_size, progress, _, work = task
  cache = array_cache.cache_path(data_dir, name, image_size)
  try:
    if prepared := _find_prepared(name, data_dir, image_size):  # by another process meanwhile
      return prepared
  except array_cache.DamagedCacheError as error:
    progress.log(f'{name}: the decoded arrays in {cache} are damaged ({error}), decoding again')
  relative = builder.data_path.relative_to(work)
  folder, built = data_dir / relative, work / relative
  origin = _ALREADY_PREPARED
  if not _is_complete(folder):
    origin = _build_records(task, builder)
  elif not preparation.is_local_path(folder):
    preparation.copy_files(folder, epath.Path(built))
  source = built if built.exists() else pathlib.Path(folder)
  arrays = tfds_decoding.decode_splits(name, source, folder, work, progress, image_size)
  decoded = dataset.from_arrays(name, arrays)
  if not _is_expected(decoded, name):
    raise UserError(
      f'{folder} holds other images than {name}, or in another order than the original files '
      '(prepared by other software?): name another --data_dir'
    )
  if origin != _ALREADY_PREPARED:
    preparation.move_into_place(built, folder)
  if image_size:
    decoded = tfds_decoding.resize_dataset(decoded, image_size, progress, work)
  array_cache.write_cache(work / cache.name, array_cache.CachedDataset(decoded, str(relative)))
  preparation.move_into_place(work / cache.name, cache)
  return PreparedDataset(decoded, folder, origin)


def _is_complete(folder: epath.Path) -> bool:
  """Returns whether TFDS has prepared this folder; raises UserError if it is partial or no array_record."""
  info = folder / _INFO_FILE
  if not info.exists():
    if folder.exists():
      raise UserError(f'{folder} is not complete: {tfds_decoding.REMEDY}')
    return False
  try:
    file_format = json.loads(info.read_text()).get('fileFormat')
  except ValueError as error:
    raise UserError(f'{info} cannot be read ({error}): {tfds_decoding.REMEDY}') from error
  if file_format != 'array_record':
    raise UserError(
      f'{folder} was prepared by other software as {file_format}, which needs TensorFlow: '
      'name another --data_dir'
    )
  return True


def _build_records(task: _PreparationTask, builder: Any) -> str:
  """Runs the builder in the working folder and returns the name of the source of its original files."""
  import tensorflow_datasets as tfds

  from gan_jax.data import tfds_without_tensorflow

  name, data_dir, _, progress, sources, work = task
  originals = tuple(
    downloads.OriginalFile(url, info.filename, int(info.size), info.checksum)
    for url, info in (builder.url_infos or {}).items()
  )
  manual = work / 'originals'
  manual.mkdir()
  request = downloads.DownloadRequest(name, originals, data_dir, manual, progress)
  if builder.in_order:
    origin = downloads.fetch_originals(request, sources)
  else:
    origin = downloads.require_tfds_download(request)
  progress.log(f'{name}: original files from {origin}; writing array_record files')
  config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
  try:
    with tfds_without_tensorflow.deterministic_records():
      builder.download_and_prepare(
        download_dir=work / 'downloads', download_config=config, file_format='array_record'
      )
  except OSError:  # a full disk, which `prepare_tfds` reports
    raise
  except Exception as error:  # TFDS builders raise many kinds
    raise UserError(
      f'{name} cannot be prepared without TensorFlow ({tfds_decoding.first_line(error)}): prepare it '
      f"with TensorFlow and file_format='array_record', and copy it into --data_dir={data_dir}"
    ) from error
  return origin


@contextlib.contextmanager
def _silence_tfds() -> Iterator[None]:
  """Suppresses the progress bars and log lines of TFDS; its errors are still raised."""
  import tensorflow_datasets as tfds

  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)
