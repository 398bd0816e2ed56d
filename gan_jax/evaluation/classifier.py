"""Classifies a data set's own images; metrics of samples use the features and class probabilities."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from gan_jax.data import Dataset, Progress
from gan_jax.data.dataset import hash_arrays
from gan_jax.data.image_arrays import padded_chunks
from gan_jax.evaluation import classifier_network as network
from gan_jax.evaluation.npz_cache import DamagedFileError, read_checked_npz, write_checked_npz
from gan_jax.utils.errors import UserError

_CHUNK = 500  # images per call of the network
_N_HELD_OUT = 10_000  # test images, or parts of stacked ones, that measure the accuracy


class Classifier(NamedTuple):
  """Holds a trained classifier of images uint8 [n, *shape]."""

  params: dict[str, np.ndarray]
  shape: tuple[int, ...]  # (h, w, c)
  n_classes: int
  accuracy: float  # on test images
  hash: str  # SHA-256 of the parameters, part of an evaluation's protocol

  def features(self, images: np.ndarray) -> np.ndarray:
    """Returns the last hidden layer, float32 [n, d]; of stacked images those of the parts, concatenated."""
    return np.concatenate([self._apply(part)[0] for part in self.split_stack(images)], axis=1)

  def probabilities(self, images: np.ndarray) -> np.ndarray:
    """Returns class probabilities, float32 [n, classes]; raises ValueError for stacked images."""
    (images,) = self.split_stack(images)
    return self._apply(images)[1]

  def split_stack(self, images: np.ndarray) -> list[np.ndarray]:
    """Splits images [n, h, w, s c] into s arrays [n, h, w, c]; raises ValueError for another shape."""
    h, w, c = self.shape
    if images.ndim != 4 or images.shape[1:3] != (h, w) or images.shape[3] % c:
      raise ValueError(f'images {images.shape} for a classifier of {self.shape}')
    return np.split(images, images.shape[3] // c, axis=3)

  def _apply(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    apply = lambda chunk: jax.device_get(network.features_and_probabilities(self.params, chunk))
    features, probabilities = zip(*map(apply, padded_chunks(images, _CHUNK)), strict=True)
    return np.concatenate(features)[: len(images)], np.concatenate(probabilities)[: len(images)]


def load_or_train(
  dataset: Dataset, cache: Path | None = None, progress: Progress | None = None
) -> Classifier:
  """Returns the classifier of a data set, trained once and kept in the folder `cache` where one is given.

  Of stacked images it classifies the parts, so that MNIST and stacked MNIST share one classifier.
  Raises UserError for a data set without labels.
  """
  progress = progress or Progress()
  if dataset.train_labels is None:
    raise UserError(f'--dataset={dataset.name} has no labels, which a classifier needs')
  n_classes = dataset.n_classes if dataset.stack == 1 else int(dataset.train_labels.max()) + 1
  data_hash = hash_arrays({'train': dataset.train, 'train_labels': dataset.train_labels})
  path = cache and cache / 'classifiers' / f'{network.VERSION}-{data_hash[:16]}.npz'
  params = None
  try:
    params = read_checked_npz(path, _sha256) if path else None
  except DamagedFileError as error:
    progress.log(f'{path} is damaged ({error}), training again')
  if params is None:
    progress.log(f'{dataset.name}: training a classifier for its metrics, once (about a minute)')
    params = network.train_classifier(dataset.train, dataset.train_labels, n_classes, progress)
    if path:
      write_checked_npz(path, params, _sha256(params))
  classifier = Classifier(params, dataset.train.shape[1:], n_classes, math.nan, _sha256(params))
  return classifier._replace(accuracy=_accuracy(classifier, dataset))


def stacked_modes(classifier: Classifier, images: np.ndarray) -> np.ndarray:
  """Returns the mode [n] of each stacked image uint8 [n, h, w, 3]: 100 a + 10 b + c for digits a, b, c."""
  modes = np.zeros(len(images), np.int64)
  for part in classifier.split_stack(images):
    modes = modes * classifier.n_classes + classifier.probabilities(part).argmax(axis=1)
  return modes


def _accuracy(classifier: Classifier, dataset: Dataset) -> float:
  """Returns the accuracy on test images, of stacked ones on their parts; NaN without labels."""
  if dataset.test_labels is None:
    return math.nan
  n, shape = _N_HELD_OUT // dataset.stack, (classifier.n_classes,) * dataset.stack
  digits, parts = np.unravel_index(dataset.test_labels[:n], shape), dataset.test[:n]
  answers = [classifier.probabilities(x).argmax(axis=1) for x in classifier.split_stack(parts)]
  return float(np.mean(np.stack(answers) == np.stack(digits)))


def _sha256(params: dict[str, np.ndarray]) -> str:
  """Hashes name, type, shape and bytes of each array, in the order of names."""
  digest = hashlib.sha256(f'version {network.VERSION}\n'.encode())
  for name, value in sorted(params.items()):
    digest.update(f'{name} {value.dtype.str} {value.shape}\n'.encode() + value.tobytes())
  return digest.hexdigest()
