"""Image sets prepared and read through TFDS, from array_record files and without TensorFlow."""

import contextlib
import io
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from etils import epath

from gan_jax.data import array_cache, dataset, downloads, preparation, resizing
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

# Of train[0:50000], train[50000:60000] and test, decoded from the original files in their order.
FINGERPRINTS = {
  'fashion_mnist': 'bd345859a79c956a38410dd5925bb818418678537ea40023df2da3e809f9169c',
  'mnist': '18277b023d91946a12f9d1b15bf4b1c350a95b1ed90e2d0610c2b381936cc2a4',
}
_CHUNK = 1000  # records read at once
_INFO = 'dataset_info.json'  # TFDS writes it last
_MEND = 'remove its folder and prepare it again, or name another --data_dir'


class PreparedDataset(NamedTuple):
  """A data set, the folder of its array_record files, and where its original files came from."""

  dataset: dataset.Dataset
  folder: epath.Path
  origin: str


class _PreparationTask(NamedTuple):
  """What to prepare, where to put it, and who is asked for the original files."""

  name: str
  data_dir: epath.Path
  image_size: int
  progress: Progress
  origins: Mapping[str, downloads.DownloadSource]
  work: pathlib.Path


def load_tfds(
  name: str, data_dir: epath.Path, progress: Progress, image_size: int = 0
) -> dataset.Dataset:
  """The data set from its decoded arrays, prepared first where needed; raises UserError."""
  try:
    cached = _read_cache(name, data_dir, image_size)
  except array_cache.DamagedCacheError:
    cached = None  # `prepare` says so
  if cached:
    return cached.dataset
  return prepare_tfds(name, data_dir, progress, image_size=image_size).dataset


def prepare_tfds(
  name: str,
  data_dir: epath.Path,
  progress: Progress,
  origins: Mapping[str, downloads.DownloadSource] = downloads.DOWNLOAD_SOURCES,
  image_size: int = 0,
) -> PreparedDataset:
  """Make what is missing of the array_record folder and of the decoded arrays; raises UserError.

  Each appears under its name only when it is complete, the decoded arrays last. An `image_size`
  other than 0 cuts and resamples the images by `resizing.fit`.
  """
  with contextlib.suppress(array_cache.DamagedCacheError):
    found = _find(name, data_dir, image_size)
    if found:
      preparation.remove_abandoned_work(data_dir, name)
      return found
  with _quiet():
    from gan_jax.data import tfds_builders  # imports TFDS

    cls = tfds_builders.tensorflow_free_builder(name, progress)
    try:
      with preparation.locked_work_dir(data_dir, name, progress) as work:
        builder = cls(data_dir=work, config=name.partition('/')[2] or None)
        return _prepare(
          _PreparationTask(name, data_dir, image_size, progress, origins, work), builder
        )
    except (OSError, ImportError) as error:  # a full disk; a builder made of TensorFlow
      raise UserError(f'{name} cannot be prepared in --data_dir={data_dir} ({error})') from error


def _read_cache(
  name: str, data_dir: epath.Path, image_size: int
) -> array_cache.CachedDataset | None:
  """The decoded arrays, if they are those of this data set; raises cache.DamagedError."""
  cached = array_cache.read_cache(array_cache.cache_path(data_dir, name, image_size))
  if cached is None:
    return None
  if image_size:
    expected = cached.dataset.name == name and cached.dataset.shape[:2] == (image_size, image_size)
  else:
    expected = _is_expected(cached.dataset, name)
  if not expected:
    raise array_cache.DamagedCacheError('they are not those of the original files')
  return cached


def _is_expected(decoded: dataset.Dataset, name: str) -> bool:
  return decoded.name == name and decoded.fingerprint == FINGERPRINTS.get(name, decoded.fingerprint)


def _find(name: str, data_dir: epath.Path, image_size: int) -> PreparedDataset | None:
  """What is prepared already, without asking TFDS; raises cache.DamagedError."""
  cached = _read_cache(name, data_dir, image_size)
  if cached is None or not (data_dir / cached.folder / _INFO).exists():
    return None
  return PreparedDataset(cached.dataset, data_dir / cached.folder, 'already there')


def _prepare(task: _PreparationTask, builder: Any) -> PreparedDataset:
  """Build or take the array_record folder, decode it, and put both in their places."""
  name, data_dir, image_size, progress, _, work = task
  file = array_cache.cache_path(data_dir, name, image_size)
  try:
    found = _find(name, data_dir, image_size)  # another process may have been faster
    if found:
      return found
  except array_cache.DamagedCacheError as error:
    progress.log(f'{name}: the decoded arrays in {file} are damaged ({error}), decoding again')
  relative = builder.data_path.relative_to(work)
  folder, built = data_dir / relative, work / relative
  origin = 'already there'
  if not _is_complete(folder):
    origin = _build(task, builder)
  elif not preparation.is_local_path(folder):
    preparation.copy_files(folder, epath.Path(built))
  local = built if built.exists() else pathlib.Path(folder)
  decoded = dataset.from_arrays(name, _decode(task, local, folder))
  if not _is_expected(decoded, name):
    raise UserError(
      f'{folder} holds other images than {name}, or in another order than the original files '
      '(prepared by other software?): name another --data_dir'
    )
  if origin != 'already there':
    preparation.move_into_place(built, folder)
  if image_size:
    decoded = _resized(decoded, image_size, progress, work)
  array_cache.write_cache(work / file.name, array_cache.CachedDataset(decoded, str(relative)))
  preparation.move_into_place(work / file.name, file)
  return PreparedDataset(decoded, folder, origin)


def _resized(
  decoded: dataset.Dataset, image_size: int, progress: Progress, work: pathlib.Path
) -> dataset.Dataset:
  """The data set with images of another size; those that have it already stay as they are."""
  arrays = decoded.arrays()
  for split in ('train', 'validation', 'test'):
    images = arrays[split]
    if images.shape[1:3] != (image_size, image_size):
      tracked = progress.track(images, len(images), f'resizing {split}')
      fitted = preparation.disk_backed_zeros(
        work, (len(images), image_size, image_size, images.shape[-1])
      )
      for row, image in zip(fitted, tracked, strict=True):
        row[:] = resizing.crop_and_resize_array(image, image_size)
      arrays[split] = fitted
  return dataset.from_arrays(decoded.name, arrays)


def _is_complete(folder: epath.Path) -> bool:
  """Whether TFDS has prepared this folder, in array_record; raises UserError for half of that."""
  info = folder / _INFO
  if not info.exists():
    if folder.exists():
      raise UserError(f'{folder} is not complete: {_MEND}')
    return False
  try:
    file_format = json.loads(info.read_text()).get('fileFormat')
  except ValueError as error:
    raise UserError(f'{info} cannot be read ({error}): {_MEND}') from error
  if file_format != 'array_record':
    raise UserError(
      f'{folder} was prepared by other software as {file_format}, which needs TensorFlow: '
      'name another --data_dir'
    )
  return True


def _build(task: _PreparationTask, builder: Any) -> str:
  """Let the builder write its folder into the workspace; returns where its files came from."""
  import tensorflow_datasets as tfds

  from gan_jax.data import tfds_builders

  name, data_dir, _, progress, origins, work = task
  registered = (builder.url_infos or {}).items()
  files = tuple(
    downloads.OriginalFile(u, i.filename, int(i.size), i.checksum) for u, i in registered
  )
  manual = work / 'originals'
  manual.mkdir()
  request = downloads.DownloadRequest(name, files, data_dir, manual, progress)
  origin = (
    downloads.fetch_originals(request, origins)
    if builder.in_order
    else downloads.require_tfds_download(request)
  )
  progress.log(f'{name}: original files from {origin}; writing array_record files')
  config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
  try:
    with tfds_builders.deterministic_records():
      builder.download_and_prepare(
        download_dir=work / 'downloads', download_config=config, file_format='array_record'
      )
  except OSError:  # a full disk, which the caller names
    raise
  except Exception as error:  # whatever one of TFDS's hundreds of builders may raise
    raise UserError(
      f'{name} cannot be prepared here ({_first_line(error)}): prepare it with '
      f"TensorFlow and file_format='array_record', and copy it into --data_dir={data_dir}"
    ) from error
  return origin


def _decode(
  task: _PreparationTask, local: pathlib.Path, folder: epath.Path
) -> dict[str, np.ndarray]:
  """The splits as arrays; the last sixth of the training images validates where no split does.

  If training is the only split, tenths validate and test. `local` is read, an error names `folder`.
  """
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(local)
    splits = builder.info.splits
  except Exception as error:  # of json, protobuf or TFDS
    raise UserError(f'{folder} cannot be read ({_first_line(error)}): {_MEND}') from error
  arrays: dict[str, np.ndarray] = {}
  for split in ('train', 'validation', 'test'):
    if split in splits:
      images, labels = _read(task, builder, split, folder)
      arrays[split] = images
      if labels is not None:
        arrays[f'{split}_labels'] = labels
  if 'train' in arrays and not {'validation', 'test'} & arrays.keys():
    return _divided(arrays, task.work)
  if not {'train', 'test'} <= arrays.keys():
    raise UserError(f'{task.name} has no train and test split: choose another --dataset')
  if 'validation' not in arrays:
    for key in [key for key in ('train', 'train_labels') if key in arrays]:
      n = len(arrays[key]) - len(arrays[key]) // 6
      arrays[key.replace('train', 'validation')] = arrays[key][n:]
      arrays[key] = arrays[key][:n]
  return arrays


def _divided(arrays: dict[str, np.ndarray], work: pathlib.Path) -> dict[str, np.ndarray]:
  """Training arrays as three splits, 8 : 1 : 1, by an order that never changes."""
  n = len(arrays['train'])
  # A bit generator's stream is the same in every version of NumPy; its Generator's is not.
  order, tenth = np.argsort(np.random.PCG64(0).random_raw(n), kind='stable'), max(n // 10, 2)
  parts = dict(train=order[2 * tenth :], validation=order[:tenth], test=order[tenth : 2 * tenth])
  found = {}
  for split, chosen in parts.items():
    images = preparation.disk_backed_zeros(work, (len(chosen), *arrays['train'].shape[1:]))
    # With another mode NumPy would gather them in memory first.
    found[split] = np.take(arrays['train'], chosen, axis=0, out=images, mode='clip')
    if 'train_labels' in arrays:
      found[f'{split}_labels'] = arrays['train_labels'][chosen]
  return found


def _read(
  task: _PreparationTask, builder: Any, split: str, folder: epath.Path
) -> tuple[np.ndarray, np.ndarray | None]:
  """Images [n, h, w, c] and, where there is one per image, labels [n] of a split in file order."""
  name, _, image_size, progress, _, work = task
  features = builder.info.features
  shape = features['image'].shape if 'image' in features else (None,)
  if shape[-1] is None or features['image'].np_dtype != np.uint8:
    raise UserError(f'--dataset={name} holds no 8-bit images: choose another')
  unequal = None in shape
  if unequal:
    if not image_size:
      raise UserError(
        f'--dataset={name} holds images of unequal sizes: give --image_size, such as --image_size=64'
      )
    shape = (image_size, image_size, shape[-1])
  labelled = 'label' in features and features['label'].shape == ()
  n = builder.info.splits[split].num_examples
  images, labels = preparation.disk_backed_zeros(work, (n, *shape)), np.empty(n, np.int64)
  starts = range(0, n, _CHUNK)
  try:
    records = builder.as_data_source(split=split)
    for start in progress.track(starts, len(starts), f'decoding {split}'):
      chunk = range(start, min(start + _CHUNK, n))
      for i, record in zip(chunk, records.__getitems__(chunk), strict=True):
        image = record['image']
        images[i] = resizing.crop_and_resize_array(image, image_size) if unequal else image
        if labelled:
          labels[i] = record['label']
  except Exception as error:  # of array_record, protobuf or Pillow
    files = ', '.join(str(folder / path.name) for path in builder.info.splits[split].filepaths)
    raise UserError(f'{files} cannot be read ({_first_line(error)}): {_MEND}') from error
  return images, labels if labelled else None


def _first_line(error: Exception) -> str:
  return f'{type(error).__name__}: {error}'.strip().partition('\n')[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keep TFDS's bars and remarks off the terminal; errors still come as exceptions."""
  import tensorflow_datasets as tfds

  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)
