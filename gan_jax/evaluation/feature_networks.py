"""Loads networks trained on other images, whose features make scores comparable with published ones."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from gan_jax.data import Progress
from gan_jax.evaluation.inception import load_inception
from gan_jax.evaluation.npz_cache import DamagedFileError, read_checked_npz, write_checked_npz


class FeatureNetwork(Protocol):
  """Computes features of images with fixed pretrained weights."""

  @property
  def name(self) -> str:
    """Returns the key of the network in `FEATURE_NETWORKS`."""

  @property
  def hash(self) -> str:
    """Returns the SHA-256 of the weights, in hexadecimal."""

  @property
  def title(self) -> str:
    """Returns the name of the network for tables."""

  @property
  def preparation(self) -> str:
    """Describes how images are resized and scaled; part of a protocol."""

  def features(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """Returns features float32 [n, d] of images uint8 [n, h, w, c]; raises UserError for an unsuitable c."""

  def probabilities(self, features: np.ndarray) -> np.ndarray | None:
    """Returns class probabilities [n, classes] from features [n, d]; None for a network without classes."""


# Loaders of networks from a file of weights; each raises UserError.
FEATURE_NETWORKS: dict[str, Callable[[Path], FeatureNetwork]] = dict(inception=load_inception)
DISABLED = 'no'  # given instead of a path to leave the network out


def load_feature_network(name: str, weights: str, cache: Path) -> FeatureNetwork | None:
  """Returns the network `name` of `FEATURE_NETWORKS`; None where the user has no weights of it.

  The weights are in the file `weights`, else in the one that $GAN_JAX_NAME names, else in the folder
  `cache` as weights/NAME.safetensors or .npz. Raises UserError for a file that cannot be used.
  """
  weights = weights or os.environ.get(f'GAN_JAX_{name.upper()}', '')
  if weights == DISABLED:
    return None
  if weights:
    return FEATURE_NETWORKS[name](Path(weights).expanduser())
  for path in (cache / 'weights' / f'{name}{suffix}' for suffix in ('.safetensors', '.npz')):
    if path.exists():
      return FEATURE_NETWORKS[name](path)
  return None


def cached_features(
  network: FeatureNetwork, images: np.ndarray, cache: Path | None, progress: Progress
) -> np.ndarray:
  """Returns `network.features(images)`, kept in the folder `cache` where one is given."""
  digest = hashlib.sha256(f'{network.hash} {network.preparation} {images.shape}\n'.encode())
  digest.update(np.ascontiguousarray(images).data)
  path = cache and cache / 'features' / f'{network.name}-{digest.hexdigest()[:32]}.npz'
  arrays = None
  with contextlib.suppress(DamagedFileError):  # computes the features again
    arrays = read_checked_npz(path, _sha256) if path else None
  if arrays is None:
    arrays = {'features': network.features(images, progress)}
    if path:
      write_checked_npz(path, arrays, _sha256(arrays))
  return arrays['features']


def _sha256(arrays: dict[str, np.ndarray]) -> str:
  return hashlib.sha256(np.ascontiguousarray(arrays['features']).data).hexdigest()
