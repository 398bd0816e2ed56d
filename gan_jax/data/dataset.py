"""A data set in memory, and the fingerprint by which a protocol names it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ARRAYS = ('train', 'validation', 'test', 'train_labels', 'validation_labels', 'test_labels')


class UnknownNameError(Exception):
  """TFDS has no image set of that name; `known` are the names that it has."""

  def __init__(self, known: Sequence[str]) -> None:
    self.known = known


class Dataset(NamedTuple):
  """Images: uint8 [n, h, w, c]; labels: int64 [n] or None; training sees `train` and no other."""

  name: str
  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray
  train_labels: np.ndarray | None
  validation_labels: np.ndarray | None
  test_labels: np.ndarray | None
  fingerprint: str

  def arrays(self) -> dict[str, np.ndarray]:
    """The arrays that are there, by name."""
    return {key: getattr(self, key) for key in ARRAYS if getattr(self, key) is not None}


def from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Dataset:
  """The data set made of these arrays, with its fingerprint."""
  return Dataset(
    name=name,
    train=arrays['train'],
    validation=arrays['validation'],
    test=arrays['test'],
    train_labels=arrays.get('train_labels'),
    validation_labels=arrays.get('validation_labels'),
    test_labels=arrays.get('test_labels'),
    fingerprint=fingerprint(arrays),
  )


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
  """Sha256, in hexadecimal, over name, type, shape and bytes of each array in a fixed order."""
  digest = hashlib.sha256()
  for key in ARRAYS:
    if key in arrays:
      array = np.ascontiguousarray(arrays[key])
      digest.update(f'{key} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(array.data)
  return digest.hexdigest()
