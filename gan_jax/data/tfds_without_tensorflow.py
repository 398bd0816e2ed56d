"""Subclasses TFDS builders so that they prepare data without TensorFlow.

Name, version, features, URLs and checksums are inherited; the standard library, NumPy and Pillow extract
archives, parse IDX and CIFAR files and encode PNGs.
"""

import contextlib
import gzip
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.download import extractor, resource as resource_lib
from tensorflow_datasets.image_classification import cifar, mnist

from gan_jax.data.dataset import UnknownDatasetError
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

Example = tuple[int, dict[str, Any]]


class _TensorFlowFreeDownloadManager:
  """Wraps a TFDS download manager and extracts archives without TensorFlow."""

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
      # Rejects paths that leave the folder.
      for member, content in extractor.iter_archive(archive, method):
        file = target / member if member else target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.read())
    return target


class _TensorFlowFreeBuilder:
  """Mixes into a TFDS builder: extracts without TensorFlow and yields images as Pillow images."""

  progress: Progress
  in_order = False  # whether records keep the order of the files; TFDS shuffles them by default

  def _info(self) -> Any:
    info = super()._info()  # type: ignore[misc]
    info.as_proto.disable_shuffling = self.in_order
    return info

  def _split_generators(self, dl_manager: Any) -> Any:
    return super()._split_generators(_TensorFlowFreeDownloadManager(dl_manager))  # type: ignore[misc]

  def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    examples = super()._generate_examples(*args, **kwargs)  # type: ignore[misc]
    for key, example in self.progress.track(examples, None, f'{self.name} records'):  # type: ignore
      yield key, {name: _to_pillow(value) for name, value in example.items()}


class _IdxBuilder(_TensorFlowFreeBuilder):
  """Parses the IDX files of MNIST, in the order of the file."""

  in_order = True

  def _generate_examples(
    self, num_examples: int, data_path: pathlib.Path, label_path: pathlib.Path
  ) -> Iterator[Example]:
    images = np.frombuffer(_read_decompressed(data_path), np.uint8, offset=16)
    labels = np.frombuffer(_read_decompressed(label_path), np.uint8, offset=8)
    pairs = zip(images.reshape(num_examples, 28, 28), labels, strict=True)
    for index, (image, label) in enumerate(self.progress.track(pairs, num_examples, 'records')):
      yield index, {'image': PIL.Image.fromarray(image), 'label': int(label)}


class _CifarBuilder(_TensorFlowFreeBuilder):
  """Parses the binary files of CIFAR: per record the label bytes, then 3 x 32 x 32 bytes of an image."""

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
  """Returns a subclass of the builder of a TFDS set such as `mnist`; its arguments are data_dir and config.

  Raises UnknownDatasetError, or UserError if the builder needs TensorFlow.
  """
  names = tfds.list_builders(with_community_datasets=False)
  base, _, config = name.partition('/')
  if base not in names:
    raise UnknownDatasetError(names)
  try:
    stock = tfds.builder_cls(base)
  except ImportError as error:
    reason = f'its TFDS builder needs the package {error.name}'
    raise UserError(f'--dataset={name}: {reason}; install it, or name another set') from error
  configs = [config.name for config in stock.BUILDER_CONFIGS]
  if config and config not in configs:
    raise UnknownDatasetError([f'{base}/{config}' for config in configs] or [base])
  mixins: dict[Any, type] = {mnist.MNIST: _IdxBuilder, cifar.Cifar10: _CifarBuilder}
  mixin = next((mixins[x] for x in mixins if issubclass(stock, x)), _TensorFlowFreeBuilder)
  # TFDS looks up the registered checksums by the module name.
  namespace = {'__module__': stock.__module__, 'name': stock.name, 'progress': progress}
  namespace['pkg_dir_path'] = stock.pkg_dir_path
  return type(stock)(stock.__name__, (mixin, stock), namespace, skip_registration=True)


@contextlib.contextmanager
def deterministic_records() -> Iterator[None]:
  """Makes TFDS write the fields of a record in a fixed order; protobuf's order varies between processes."""

  def serialize(self: Any, example: dict[str, Any]) -> bytes:
    return self.get_tf_example(example).SerializeToString(deterministic=True)

  with mock.patch.object(example_serializer.ExampleSerializer, 'serialize_example', serialize):
    yield


def _read_decompressed(path: pathlib.Path) -> bytes:
  content = pathlib.Path(path).read_bytes()
  return gzip.decompress(content) if content[:2] == b'\x1f\x8b' else content


def _to_pillow(value: Any) -> Any:
  """Converts pixel arrays to Pillow images, which TFDS encodes without TensorFlow."""
  if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
    return PIL.Image.fromarray(value[..., 0] if value.shape[-1] == 1 else value)
  return value
