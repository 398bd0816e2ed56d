"""A data set as arrays, which may be pages of a file, and the fingerprint by which a protocol names it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ARRAY_NAMES = ('train', 'validation', 'test', 'train_labels', 'validation_labels', 'test_labels')


class UnknownDatasetError(Exception):
  """TFDS has no image set of that name; `known` are the names that it has."""

  def __init__(self, known: Sequence[str]) -> None:
    self.known = known


class Dataset(NamedTuple):
  """Images: uint8 [n, h, w, c]; labels: int64 [n] or None; training sees `train` and no other.

  Where `stack` is above 1, `train` and its labels hold the parts of training images: each is made
  by `images.stack` of that many parts, drawn independently of one another. The held-out images and
  labels are those of whole ones.
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

  @property
  def shape(self) -> tuple[int, int, int]:
    """(h, w, c) of the images that networks see."""
    h, w, c = self.train.shape[1:]
    return h, w, c * self.stack

  @property
  def n_classes(self) -> int:
    """Classes of whole images, 0 without labels."""
    if self.train_labels is None:
      return 0
    held_out = (self.validation_labels, self.test_labels)
    counts = [int(labels.max()) + 1 for labels in held_out if labels is not None]
    return max((int(self.train_labels.max()) + 1) ** self.stack, *counts)

  @property
  def n_base_classes(self) -> int:
    """Classes of the single images that stacks are made of."""
    return round(self.n_classes ** (1 / self.stack))

  def subsample(self, n: int) -> 'Dataset':
    """With n images of each split that holds more, the same ones always, in their order; else itself."""
    kept: dict[str, np.ndarray] = {}
    for seed, split in enumerate(('train', 'validation', 'test')):
      images, labels = getattr(self, split), getattr(self, f'{split}_labels')
      if len(images) > n:
        # A bit generator's stream is the same in every version of NumPy; its Generator's is not.
        ranks = np.random.PCG64(seed).random_raw(len(images))
        chosen = np.sort(np.argsort(ranks, kind='stable')[:n])
        kept[split] = images[chosen]
        if labels is not None:
          kept[f'{split}_labels'] = labels[chosen]
    return self._replace(**kept) if kept else self  # type: ignore[arg-type]

  def arrays(self) -> dict[str, np.ndarray]:
    """The arrays that are there, by name."""
    return {key: getattr(self, key) for key in ARRAY_NAMES if getattr(self, key) is not None}


def from_arrays(name: str, arrays: Mapping[str, np.ndarray], stack: int = 1) -> Dataset:
  """The data set made of these arrays, with its fingerprint."""
  return Dataset(
    name=name,
    train=arrays['train'],
    validation=arrays['validation'],
    test=arrays['test'],
    train_labels=arrays.get('train_labels'),
    validation_labels=arrays.get('validation_labels'),
    test_labels=arrays.get('test_labels'),
    fingerprint=hash_arrays(arrays, stack),
    stack=stack,
  )


def hash_arrays(arrays: Mapping[str, np.ndarray], stack: int = 1) -> str:
  """Sha256, in hexadecimal, over name, type, shape and bytes of each array in a fixed order."""
  digest = hashlib.sha256(b'' if stack == 1 else f'stack {stack}\n'.encode())
  for key in ARRAY_NAMES:
    if key in arrays:
      array = np.ascontiguousarray(arrays[key])
      digest.update(f'{key} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(array.data)
  return digest.hexdigest()
