"""Loads and prepares data sets by name: registered ones, any image set of TFDS, folders and files."""

import contextlib
import difflib
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

from etils import epath

from gan_jax.data import (
  downloads,
  emoji,
  image_files,
  preparation,
  stacked_mnist,
  tfds_preparation,
)
from gan_jax.data.dataset import Dataset, UnknownDatasetError
from gan_jax.data.progress import Progress
from gan_jax.data.reader import ReadOptions
from gan_jax.utils.errors import UserError

DatasetLoader = Callable[[epath.Path, Progress, int], Dataset]


def _stacked_mnist(data_dir: epath.Path, progress: Progress, image_size: int) -> Dataset:
  mnist = tfds_preparation.load_tfds('mnist', data_dir, progress, image_size)
  return stacked_mnist.stack_dataset(mnist, 'stacked_mnist')


DATASETS: dict[str, DatasetLoader] = {
  'emoji': emoji.load_emoji,
  'fashion_mnist': functools.partial(tfds_preparation.load_tfds, 'fashion_mnist'),
  'mnist': functools.partial(tfds_preparation.load_tfds, 'mnist'),
  'stacked_mnist': _stacked_mnist,
}


def load_dataset(
  name: str,
  data_dir: str | os.PathLike,
  progress: Progress | None = None,
  image_size: int = 0,
  strict: bool = False,
  options: ReadOptions = ReadOptions(),  # noqa: B008
  fingerprint: str = '',
) -> Dataset:
  """Loads a data set by name and prepares it first if needed; raises UserError.

  Args:
    name: a key of DATASETS, the name of an image set of TFDS, or a path (`folder:PATH`, `zip:PATH`, ...).
    data_dir: the folder or bucket (`gs://...`) of prepared data.
    progress: receives log lines and progress bars.
    image_size: if not 0, images are cropped and resized to squares of this many pixels a side.
    strict: refuses an image file of a path that cannot be read, instead of leaving it out.
    options: how a path is read: labels, background, splits and so on.
    fingerprint: of the data of a run that goes on; loads a folder as an earlier version split it, if that
      version cached arrays of this fingerprint.
  """
  path, progress = _open_data_dir(data_dir), progress or Progress()
  name = name.removeprefix('tfds:')
  _check_arguments(name, image_size, strict, options)
  if image_files.is_path_name(name):
    return image_files.load_image_files(
      name, path, progress, image_size, strict, options, fingerprint
    )
  if name in DATASETS:
    return DATASETS[name](path, progress, image_size)
  with _suggest_names(name):
    return tfds_preparation.load_tfds(name, path, progress, image_size)


def prepare_dataset(
  name: str,
  data_dir: str | os.PathLike,
  progress: Progress | None = None,
  sources: Mapping[str, downloads.DownloadSource] = downloads.DOWNLOAD_SOURCES,
  image_size: int = 0,
  strict: bool = False,
  options: ReadOptions = ReadOptions(),  # noqa: B008
) -> epath.Path:
  """Prepares a data set if needed, logs the source of its files, and returns its folder.

  The arguments are those of `load_dataset`, and `sources`, which are tried in order for the original files of
  a TFDS set. Raises UserError.
  """
  path, progress = _open_data_dir(data_dir), progress or Progress()
  name = name.removeprefix('tfds:')
  _check_arguments(name, image_size, strict, options)
  if image_files.is_path_name(name):
    image_files.load_image_files(name, path, progress, image_size, strict, options)
    return image_files.image_files_cache(name, path)
  if name in DATASETS and name not in tfds_preparation.FINGERPRINTS:
    DATASETS[name](path, progress, image_size)
    return path
  with _suggest_names(name):
    prepared = tfds_preparation.prepare_tfds(name, path, progress, sources, image_size)
  progress.log(f'{name}: {prepared.folder} ({prepared.origin})')
  return prepared.folder


def default_data_dir() -> epath.Path:
  """Returns the folder in the environment variable GAN_JAX_DATA_DIR, by default `data`."""
  return epath.Path(os.environ.get('GAN_JAX_DATA_DIR') or 'data')


def _open_data_dir(data_dir: str | os.PathLike) -> epath.Path:
  """Converts `data_dir` to a path; raises UserError if a bucket cannot be reached."""
  try:
    path = epath.Path(data_dir)
    if not preparation.is_local_path(path):
      path.exists()
  except Exception as error:  # a missing package, or any error of a cloud client
    reason = f'{type(error).__name__}: {error}'
    raise UserError(f'--data_dir={data_dir} cannot be reached ({reason})') from error
  return path


def _check_arguments(name: str, image_size: int, strict: bool, options: ReadOptions) -> None:
  if image_size < 0:
    raise UserError(f'--image_size={image_size}: give the pixels a side, or 0 to keep the size')
  if image_files.is_path_name(name):
    return
  if strict:
    raise UserError(f'--strict: it applies to folders of images only, not to {name}; leave it out')
  for field, value, default in zip(ReadOptions._fields, options, ReadOptions(), strict=True):
    if value != default:
      reason = f'it applies to folders and files only, not to {name}'
      raise UserError(f'--{field}={value}: {reason}; leave it out')


@contextlib.contextmanager
def _suggest_names(name: str) -> Iterator[None]:
  """Converts an UnknownDatasetError of its block to a UserError that suggests similar names."""
  known: list[str] = [*DATASETS]
  try:
    if not re.fullmatch(r'\w+(/\w[\w.-]*)?', name):  # the name becomes part of paths
      raise UnknownDatasetError([])
    yield
  except UnknownDatasetError as error:
    known += [each for each in error.known if each not in known]
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.7)
    mend = f'give one of {", ".join(DATASETS)}, an image set of TFDS by its name, or folder:PATH'
    if near:
      mend = f'near names: {", ".join(near)}'
    if pathlib.Path(name).exists():
      mend = f'a folder or file of images is written --dataset=folder:{name}'
    raise UserError(f'--dataset={name} is unknown; {mend}') from None
