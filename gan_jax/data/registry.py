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
from gan_jax.data import image_folder, preparation, stacked_mnist, tfds_reader
from gan_jax.data.dataset import Dataset, UnknownNameError
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

Loader = Callable[[epath.Path, Progress, int], Dataset]


def _stacked_mnist(data_dir: epath.Path, progress: Progress, image_size: int) -> Dataset:
  return stacked_mnist.stacked(
    tfds_reader.load('mnist', data_dir, progress, image_size), 'stacked_mnist'
  )


DATASETS: dict[str, Loader] = {
  'fashion_mnist': functools.partial(tfds_reader.load, 'fashion_mnist'),
  'mnist': functools.partial(tfds_reader.load, 'mnist'),
  'stacked_mnist': _stacked_mnist,
}


def load(
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
  if image_folder.is_path(name):
    return image_folder.load(name, path, progress, image_size, strict)
  if name in DATASETS:
    return DATASETS[name](path, progress, image_size)
  with _known(name):
    return tfds_reader.load(name, path, progress, image_size)


def prepare(
  name: str,
  data_dir: str | os.PathLike,
  progress: Progress | None = None,
  sources: Mapping[str, sources_lib.Source] = sources_lib.SOURCES,
  image_size: int = 0,
  strict: bool = False,
) -> epath.Path:
  """Prepare a data set once, say where its files came from, and return its folder.

  `sources` are asked for the original files in their order. Raises UserError.
  """
  path, progress = _path(data_dir), progress or Progress()
  _check(name, image_size, strict)
  if image_folder.is_path(name):
    image_folder.load(name, path, progress, image_size, strict)
    return image_folder.cache_folder(name, path)
  if name in DATASETS and name not in tfds_reader.FINGERPRINTS:
    DATASETS[name](path, progress, image_size)
    return path
  with _known(name):
    prepared = tfds_reader.prepare(name, path, progress, sources, image_size)
  progress.say(f'{name}: {prepared.folder} ({prepared.origin})')
  return prepared.folder


def default_data_dir() -> epath.Path:
  """The folder that GAN_JAX_DATA_DIR names in the environment, else `data`."""
  return epath.Path(os.environ.get('GAN_JAX_DATA_DIR') or 'data')


def _path(data_dir: str | os.PathLike) -> epath.Path:
  """The path, of a bucket that answers; raises UserError."""
  try:
    path = epath.Path(data_dir)
    if not preparation.is_local(path):
      path.exists()
  except Exception as error:  # a missing package, or whatever a cloud's client raises
    reason = f'{type(error).__name__}: {error}'
    raise UserError(f'--data_dir={data_dir} cannot be reached ({reason})') from error
  return path


def _check(name: str, image_size: int, strict: bool) -> None:
  if image_size < 0:
    raise UserError(f'--image_size={image_size}: give pixels a side, or 0 for images as they are')
  if strict and not image_folder.is_path(name):
    raise UserError(
      f'--strict: it acts with folders of images only, and every file of {name} is verified; leave it out'
    )


@contextlib.contextmanager
def _known(name: str) -> Iterator[None]:
  """Raises UserError with the nearest names for one that TFDS does not have."""
  known: list[str] = [*DATASETS]
  try:
    if not re.fullmatch(r'\w+(/\w[\w.-]*)?', name):  # it becomes a part of paths
      raise UnknownNameError([])
    yield
  except UnknownNameError as error:
    known += [each for each in error.known if each not in known]
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.7)
    mend = f'near names: {", ".join(near)}'
    if not near:
      mend = f'give one of {", ".join(DATASETS)}, an image set of TFDS by its name, or folder:PATH'
    if pathlib.Path(name).is_dir():
      mend = f'a folder of images is written --dataset=folder:{name}'
    raise UserError(f'--dataset={name} is unknown; {mend}') from None
