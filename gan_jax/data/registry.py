"""Data sets by name, and the functions by which everything else gets them."""

import contextlib
import difflib
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

from etils import epath

from gan_jax.data import downloads as sources_lib
from gan_jax.data import image_folder, preparation, stacked_mnist, tfds_preparation
from gan_jax.data.dataset import Dataset, UnknownDatasetError
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

DatasetLoader = Callable[[epath.Path, Progress, int], Dataset]


def _stacked_mnist(data_dir: epath.Path, progress: Progress, image_size: int) -> Dataset:
  return stacked_mnist.stack_dataset(
    tfds_preparation.load_tfds('mnist', data_dir, progress, image_size), 'stacked_mnist'
  )


DATASETS: dict[str, DatasetLoader] = {
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
) -> Dataset:
  """A registered data set, any image set of TFDS or a folder of images, prepared first where needed.

  `data_dir` is a folder or a bucket (`gs://...`). With an `image_size` other than 0, images are cut
  and resampled to squares of so many pixels a side. `strict` refuses a folder with a file that is
  no image instead of skipping it. Raises UserError.
  """
  path, progress = _path(data_dir), progress or Progress()
  _check(name, image_size, strict)
  if image_folder.is_image_folder_name(name):
    return image_folder.load_image_folder(name, path, progress, image_size, strict)
  if name in DATASETS:
    return DATASETS[name](path, progress, image_size)
  with _known(name):
    return tfds_preparation.load_tfds(name, path, progress, image_size)


def prepare_dataset(
  name: str,
  data_dir: str | os.PathLike,
  progress: Progress | None = None,
  sources: Mapping[str, sources_lib.DownloadSource] = sources_lib.DOWNLOAD_SOURCES,
  image_size: int = 0,
  strict: bool = False,
) -> epath.Path:
  """Prepare a data set once, say where its files came from, and return its folder.

  `sources` are asked for the original files in their order. Raises UserError.
  """
  path, progress = _path(data_dir), progress or Progress()
  _check(name, image_size, strict)
  if image_folder.is_image_folder_name(name):
    image_folder.load_image_folder(name, path, progress, image_size, strict)
    return image_folder.image_folder_cache(name, path)
  if name in DATASETS and name not in tfds_preparation.FINGERPRINTS:
    DATASETS[name](path, progress, image_size)
    return path
  with _known(name):
    prepared = tfds_preparation.prepare_tfds(name, path, progress, sources, image_size)
  progress.log(f'{name}: {prepared.folder} ({prepared.origin})')
  return prepared.folder


def default_data_dir() -> epath.Path:
  """The folder that GAN_JAX_DATA_DIR names in the environment, else `data`."""
  return epath.Path(os.environ.get('GAN_JAX_DATA_DIR') or 'data')


def _path(data_dir: str | os.PathLike) -> epath.Path:
  """The path, of a bucket that answers; raises UserError."""
  try:
    path = epath.Path(data_dir)
    if not preparation.is_local_path(path):
      path.exists()
  except Exception as error:  # a missing package, or whatever a cloud's client raises
    reason = f'{type(error).__name__}: {error}'
    raise UserError(f'--data_dir={data_dir} cannot be reached ({reason})') from error
  return path


def _check(name: str, image_size: int, strict: bool) -> None:
  if image_size < 0:
    raise UserError(f'--image_size={image_size}: give pixels a side, or 0 for images as they are')
  if strict and not image_folder.is_image_folder_name(name):
    raise UserError(
      f'--strict: it acts with folders of images only, and every file of {name} is verified; leave it out'
    )


@contextlib.contextmanager
def _known(name: str) -> Iterator[None]:
  """Raises UserError with the nearest names for one that TFDS does not have."""
  known: list[str] = [*DATASETS]
  try:
    if not re.fullmatch(r'\w+(/\w[\w.-]*)?', name):  # it becomes a part of paths
      raise UnknownDatasetError([])
    yield
  except UnknownDatasetError as error:
    known += [each for each in error.known if each not in known]
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.7)
    mend = f'near names: {", ".join(near)}'
    if not near:
      mend = f'give one of {", ".join(DATASETS)}, an image set of TFDS by its name, or folder:PATH'
    if pathlib.Path(name).is_dir():
      mend = f'a folder of images is written --dataset=folder:{name}'
    raise UserError(f'--dataset={name} is unknown; {mend}') from None
