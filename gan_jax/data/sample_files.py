"""Reads sets of examples to compare: folders, archives, arrays or tables, by the reader of training data."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from gan_jax.data import reader, registry
from gan_jax.data.progress import Progress
from gan_jax.data.reader import ReadOptions
from gan_jax.utils.errors import UserError

_TFDS = 'tfds:'


def load_example_sets(
  paths: Mapping[str, str],
  note: Callable[[str], None] = lambda line: None,
  options: ReadOptions = ReadOptions(),  # noqa: B008
  image_size: int = 0,
) -> dict[str, np.ndarray]:
  """Reads the examples of each flag's path: points float32 [n, ...] or images uint8 [n, h, w, c].

  Args:
    paths: path by flag, or `tfds:NAME/SPLIT`; samples of the flag `fake` that are not finite are left out.
    note: receives a line for what was read, converted and left out.
    options: how to read.
    image_size: if not 0, images are cropped and resized to squares of this many pixels a side.

  Raises UserError if a file is missing, damaged, empty or of unknown format, if two sets differ in shape or
  dtype, or if two sets are equal.
  """
  sets = {
    flag: _read_examples(flag, path, note, options, image_size) for flag, path in paths.items()
  }
  first, *others = sets
  for flag in others:
    a, b = sets[first], sets[flag]
    if a.shape[1:] != b.shape[1:]:
      raise UserError(
        f'--{flag}={paths[flag]}: its examples are {_shape(b)}, those of --{first} {_shape(a)}; '
        'give sets of one shape'
      )
    if a.dtype != b.dtype:
      kinds = f'it holds {_kind(b)}, and --{first} {_kind(a)}'
      raise UserError(f'--{flag}={paths[flag]}: {kinds}; give one kind')
  flag_of_hash: dict[str, str] = {}
  for flag, x in sets.items():
    earlier = flag_of_hash.setdefault(hash_examples(x), flag)
    if earlier != flag:
      raise UserError(
        f'--{flag}={paths[flag]}: it holds the same examples as --{earlier}; '
        'training data, held-out data and samples are three different sets'
      )
  return sets


def hash_examples(examples: np.ndarray) -> str:
  """Returns the first 16 hex digits of the SHA-256 of dtype, shape and bytes."""
  digest = hashlib.sha256(f'{examples.dtype} {examples.shape}'.encode())
  digest.update(np.ascontiguousarray(examples).data)
  return digest.hexdigest()[:16]


def _read_examples(
  flag: str, path: str, note: Callable[[str], None], options: ReadOptions, image_size: int
) -> np.ndarray:
  """Reads one set, images in the order of the source."""
  given = f'--{flag}={path}'
  if path.startswith(_TFDS):
    return _read_tfds(given, path, image_size)
  data = reader.DataPath(given, reader.resolve_path(given, path))
  examples = data.read(options, Progress(), image_size, drop_nonfinite=flag == 'fake')
  if not isinstance(examples, reader.ImageSet):
    points, summary = examples
    for line in summary.notes:
      note(f'{given}: {line}')
    return points
  n, shape = len(examples.pixels), examples.common_shape(given, image_size)
  is_array = not examples.names
  for line in examples.summary.notes if is_array else [examples.summary.line()]:
    note(f'{given}: {line}')
  return examples.stack(range(n), np.empty((n, *shape), np.uint8))


def _read_tfds(given: str, path: str, image_size: int) -> np.ndarray:
  """Reads one split of a prepared data set, written `tfds:NAME/SPLIT`."""
  name, _, split = path.removeprefix(_TFDS).rpartition('/')
  if split not in ('train', 'validation', 'test') or not name:
    raise UserError(f'{given}: name a split, as in tfds:mnist/test (train, validation or test)')
  dataset = registry.load_dataset(name, registry.default_data_dir(), image_size=image_size)
  return np.asarray(getattr(dataset, split))


def _shape(x: np.ndarray) -> str:
  return ' x '.join(map(str, x.shape[1:]))


def _kind(x: np.ndarray) -> str:
  return 'images' if x.dtype == np.uint8 else 'points'
