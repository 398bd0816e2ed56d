"""TFDS's own builders with the parts replaced that would import TensorFlow.

Name, version, features, URLs and checksums are inherited; extraction, the reading of IDX and CIFAR
files and the encoding of PNGs are done by the standard library, NumPy and Pillow.
"""

import contextlib
import gzip
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.download import extractor
from tensorflow_datasets.core.download import resource as resource_lib
from tensorflow_datasets.image_classification import cifar, mnist

from gan_jax.data.dataset import UnknownDatasetError
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

Example = tuple[int, dict[str, Any]]


class _Archives:
  """A download manager that extracts without TensorFlow."""

  def __init__(self, manager: Any) -> None:
    self._manager = manager

  def __getattr__(self, name: str) -> Any:
    return getattr(self._manager, name)

  def download_and_extract(self, urls: Any) -> Any:
    return self.extract(self._manager.download(urls))

  def extract(self, paths: Any) -> Any:
    if isinstance(paths, dict):
      return {key: self.extract(path) for key, path in paths.items()}
    if isinstance(paths, list | tuple):
      return [self.extract(path) for path in paths]
    resource = resource_lib.Resource(path=paths)
    method = resource.extract_method
    if method == resource_lib.ExtractMethod.NO_EXTRACT:
      return resource.path
    target = pathlib.Path(self._manager.download_dir, 'extracted', pathlib.Path(paths).name)
    with pathlib.Path(paths).open('rb') as archive:
      for inside, content in extractor.iter_archive(archive, method):  # admits no path upwards
        file = target / inside if inside else target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.read())
    return target


class _WithoutTensorFlow:
  """Mixed into a builder: extracts by `_Archives` and hands images over as Pillow's."""

  progress: Progress
  in_order = False  # TFDS shuffles records by the hash of their keys unless told otherwise

  def _info(self) -> Any:
    info = super()._info()  # type: ignore[misc]
    info.as_proto.disable_shuffling = self.in_order
    return info

  def _split_generators(self, dl_manager: Any) -> Any:
    return super()._split_generators(_Archives(dl_manager))  # type: ignore[misc]

  def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    examples = super()._generate_examples(*args, **kwargs)  # type: ignore[misc]
    for key, example in self.progress.track(examples, None, f'{self.name} records'):  # type: ignore
      yield key, {name: _as_image(value) for name, value in example.items()}


class _Idx(_WithoutTensorFlow):
  """The reading of MNIST's file format, in the order of the file."""

  in_order = True

  def _generate_examples(
    self, num_examples: int, data_path: pathlib.Path, label_path: pathlib.Path
  ) -> Iterator[Example]:
    images = np.frombuffer(_unpacked(data_path), np.uint8, offset=16)
    labels = np.frombuffer(_unpacked(label_path), np.uint8, offset=8)
    pairs = zip(images.reshape(num_examples, 28, 28), labels, strict=True)
    for index, (image, label) in enumerate(self.progress.track(pairs, num_examples, 'records')):
      yield index, {'image': PIL.Image.fromarray(image), 'label': int(label)}


class _Cifar(_WithoutTensorFlow):
  """The reading of CIFAR's binary files: label bytes, then 3 x 32 x 32 bytes of an image."""

  in_order = True

  def _generate_examples(self, split_prefix: str, filepaths: Iterable[str]) -> Iterator[Example]:
    keys = self._cifar_info.label_keys  # type: ignore[attr-defined]
    content = b''.join(pathlib.Path(path).read_bytes() for path in filepaths)
    rows = np.frombuffer(content, np.uint8).reshape(-1, len(keys) + 3072)
    for index, row in enumerate(self.progress.track(rows, len(rows), 'records')):
      example: dict[str, Any] = {key: int(row[i]) for i, key in enumerate(keys)}
      pixels = row[len(keys) :].reshape(3, 32, 32).transpose(1, 2, 0)
      example['image'] = PIL.Image.fromarray(np.ascontiguousarray(pixels))
      yield index, example | {'id': f'{split_prefix}{index:05d}'}


def tensorflow_free_builder(name: str, progress: Progress) -> Any:
  """The builder class of a TFDS set such as `mnist`, to be called with data_dir and config.

  Raises UnknownNameError, and UserError for a builder that cannot be had without TensorFlow.
  """
  known = tfds.list_builders(with_community_datasets=False)
  base, _, config = name.partition('/')
  if base not in known:
    raise UnknownDatasetError(known)
  try:
    stock = tfds.builder_cls(base)
  except ImportError as error:
    raise UserError(f'--dataset={name}: its builder in TFDS needs {error.name}') from error
  configs = [config.name for config in stock.BUILDER_CONFIGS]
  if config and config not in configs:
    raise UnknownDatasetError([f'{base}/{config}' for config in configs] or [base])
  mixin: type = _WithoutTensorFlow
  if issubclass(stock, mnist.MNIST):
    mixin = _Idx
  elif issubclass(stock, cifar.Cifar10):
    mixin = _Cifar
  # Under the stock module's name TFDS finds the checksums that it registers for the URLs.
  namespace = {'__module__': stock.__module__, 'name': stock.name, 'progress': progress}
  namespace['pkg_dir_path'] = stock.pkg_dir_path
  return type(stock)(stock.__name__, (mixin, stock), namespace, skip_registration=True)


@contextlib.contextmanager
def deterministic_records() -> Iterator[None]:
  """Let TFDS write a record's fields in one order: protobuf picks another in every process."""
  serializer = example_serializer.ExampleSerializer
  stock = serializer.serialize_example

  def serialize(self: Any, example: dict[str, Any]) -> bytes:
    return self.get_tf_example(example).SerializeToString(deterministic=True)

  serializer.serialize_example = serialize
  try:
    yield
  finally:
    serializer.serialize_example = stock


def _unpacked(path: pathlib.Path) -> bytes:
  content = pathlib.Path(path).read_bytes()
  return gzip.decompress(content) if content[:2] == b'\x1f\x8b' else content


def _as_image(value: Any) -> Any:
  """An array of pixels as a Pillow image, which TFDS encodes without TensorFlow."""
  if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
    return PIL.Image.fromarray(value[..., 0] if value.shape[-1] == 1 else value)
  return value
