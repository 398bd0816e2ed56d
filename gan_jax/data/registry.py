"""Data sets by name, and the functions by which everything else gets them."""

import contextlib
import difflib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping

from etils import epath

from gan_jax.data import sources as sources_lib
from gan_jax.data import tfds_reader, workspace
from gan_jax.data.dataset import Dataset, UnknownNameError
from gan_jax.data.progress import Progress
from gan_jax.errors import UserError

Loader = Callable[[epath.Path, Progress], Dataset]

DATASETS: dict[str, Loader] = {
  'fashion_mnist': functools.partial(tfds_reader.load, 'fashion_mnist'),
  'mnist': functools.partial(tfds_reader.load, 'mnist'),
}


def load(name: str, data_dir: str | os.PathLike, progress: Progress | None = None) -> Dataset:
  """A registered data set or any image set of TFDS, prepared first where needed.

  `data_dir` is a folder or a bucket (`gs://...`). Raises UserError.
  """
  path, progress = _path(data_dir), progress or Progress()
  if name in DATASETS:
    return DATASETS[name](path, progress)
  with _known(name):
    return tfds_reader.load(name, path, progress)


def prepare(
  name: str,
  data_dir: str | os.PathLike,
  progress: Progress | None = None,
  sources: Mapping[str, sources_lib.Source] = sources_lib.SOURCES,
) -> epath.Path:
  """Prepare a data set once, say where its files came from, and return its folder.

  `sources` are asked for the original files in their order. Raises UserError.
  """
  path, progress = _path(data_dir), progress or Progress()
  if name in DATASETS and name not in tfds_reader.FINGERPRINTS:
    DATASETS[name](path, progress)
    return path
  with _known(name):
    prepared = tfds_reader.prepare(name, path, progress, sources)
  progress.say(f'{name}: {prepared.folder} ({prepared.origin})')
  return prepared.folder


def default_data_dir() -> epath.Path:
  """The folder that GAN_JAX_DATA_DIR names in the environment, else `data`."""
  return epath.Path(os.environ.get('GAN_JAX_DATA_DIR') or 'data')


def _path(data_dir: str | os.PathLike) -> epath.Path:
  """The path, of a bucket that answers; raises UserError."""
  try:
    path = epath.Path(data_dir)
    if not workspace.is_local(path):
      path.exists()
  except Exception as error:  # a missing package, or whatever a cloud's client raises
    reason = f'{type(error).__name__}: {error}'
    raise UserError(f'--data_dir={data_dir} cannot be reached ({reason})') from error
  return path


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
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or sorted(DATASETS)
    raise UserError(f'--dataset={name} is unknown; near names: {", ".join(near)}') from None
