"""Defines a data set as arrays of images and labels per split, with a SHA-256 fingerprint."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

ARRAY_NAMES = ('train', 'validation', 'test', 'train_labels', 'validation_labels', 'test_labels')


class UnknownDatasetError(Exception):
  """Reports a data set name that TFDS lacks; `known` lists the valid names."""

  def __init__(self, known: Sequence[str]) -> None:
    self.known = known


class Dataset(NamedTuple):
  """Holds three splits of images (uint8 [n, h, w, c], possibly memory-mapped) and labels (int64 [n] or None).

  If `stack` is above 1, each training example is made of that many independently drawn images of `train` by
  `image_arrays.stack_channels`; the validation and test splits hold images that are stacked already.
  `class_names` holds the names of the labels 0, 1, ..., empty where the data bring none.
  """

  name: str
  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray
  train_labels: np.ndarray | None
  validation_labels: np.ndarray | None
  test_labels: np.ndarray | None
  fingerprint: str
  stack: int = 1
  class_names: tuple[str, ...] = ()

  @property
  def shape(self) -> tuple[int, int, int]:
    """Returns (h, w, c) of the images that networks process, after stacking."""
    h, w, c = self.train.shape[1:]
    return h, w, c * self.stack

  @property
  def n_classes(self) -> int:
    """Returns the number of classes of stacked images, 0 without labels."""
    if self.train_labels is None:
      return 0
    held_out = (self.validation_labels, self.test_labels)
    counts = [int(labels.max()) + 1 for labels in held_out if labels is not None]
    n_train = max(int(self.train_labels.max()) + 1, len(self.class_names))
    return max(n_train**self.stack, *counts)

  @property
  def n_base_classes(self) -> int:
    """Returns the number of classes of the unstacked images."""
    return round(self.n_classes ** (1 / self.stack))

  def subsample(self, n: int) -> 'Dataset':
    """Returns the data set with each split cut to a fixed random subset of n images, in their order."""
    subsets: dict[str, Any] = {}
    for seed, split in enumerate(('train', 'validation', 'test')):
      images, labels = getattr(self, split), getattr(self, f'{split}_labels')
      if len(images) > n:
        # NumPy keeps the stream of a bit generator the same in all versions, that of `Generator` not.
        ranks = np.random.PCG64(seed).random_raw(len(images))
        chosen = np.sort(np.argsort(ranks, kind='stable')[:n])
        subsets[split] = images[chosen]
        if labels is not None:
          subsets[f'{split}_labels'] = labels[chosen]
    return self._replace(**subsets) if subsets else self

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays that are not None, by field name."""
    return {key: getattr(self, key) for key in ARRAY_NAMES if getattr(self, key) is not None}


def from_arrays(
  name: str, arrays: Mapping[str, np.ndarray], stack: int = 1, class_names: Sequence[str] = ()
) -> Dataset:
  """Builds a data set from arrays by field name and computes its fingerprint."""
  fields: dict[str, Any] = {key: arrays.get(key) for key in ARRAY_NAMES}
  fingerprint = hash_arrays(arrays, stack)
  return Dataset(
    name, **fields, fingerprint=fingerprint, stack=stack, class_names=tuple(class_names)
  )


def hash_arrays(arrays: Mapping[str, np.ndarray], stack: int = 1) -> str:
  """Returns the hex SHA-256 of name, dtype, shape and bytes of each array, in the order of ARRAY_NAMES."""
  digest = hashlib.sha256(b'' if stack == 1 else f'stack {stack}\n'.encode())
  for key in ARRAY_NAMES:
    if key in arrays:
      array = np.ascontiguousarray(arrays[key])
      digest.update(f'{key} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(array.data)
  return digest.hexdigest()
