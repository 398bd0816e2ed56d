"""Networks trained on other images, by name: their features compare with those of other papers and sets."""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from gan_jax.data import Progress
from gan_jax.evaluation import inception
from gan_jax.utils.files import write_atomically


class FeatureNetwork(Protocol):
  """What a report has to know of a network with its weights."""

  @property
  def name(self) -> str:
    """As in `FEATURES`."""
    ...

  @property
  def hash(self) -> str:
    """Sha256 of the weights, in hexadecimal."""
    ...

  @property
  def title(self) -> str:
    """For a person."""
    ...

  @property
  def preparation(self) -> str:
    """What is done to images before the network sees them; part of a protocol."""
    ...

  def features(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """Of pictures uint8 [n, h, w, c], float32 [n, d]; raises UserError for a c that it cannot see."""
    ...

  def probabilities(self, features: np.ndarray) -> np.ndarray | None:
    """Of each class [n, classes], from features [n, d]; None for a network without classes."""
    ...


# Each reads its weights from a file, and raises UserError.
FEATURE_NETWORKS: dict[str, Callable[[Path], FeatureNetwork]] = {
  'inception': inception.load_inception
}
DISABLED = 'no'  # in place of a path: do without the network


def load_feature_network(name: str, given: str, cache: Path) -> FeatureNetwork | None:
  """The network of `FEATURES` with the weights that the user has; None where there are none.

  They are in the file `given`, else in the one that $GAN_JAX_NAME names, else in the folder `cache` as
  weights/NAME.safetensors or .npz. Raises UserError for a file that cannot be used.
  """
  given = given or os.environ.get(f'GAN_JAX_{name.upper()}', '')
  if given == DISABLED:
    return None
  if given:
    return FEATURE_NETWORKS[name](Path(given).expanduser())
  kept = (cache / 'weights' / f'{name}{suffix}' for suffix in ('.safetensors', '.npz'))
  path = next((path for path in kept if path.exists()), None)
  return FEATURE_NETWORKS[name](path) if path else None


def cached_features(
  network: FeatureNetwork, images: np.ndarray, cache: Path | None, progress: Progress
) -> np.ndarray:
  """`network.features(images)`, kept in the folder `cache` where one is given: for images that stay."""
  digest = hashlib.sha256(f'{network.hash} {network.preparation} {images.shape}\n'.encode())
  digest.update(np.ascontiguousarray(images).data)
  path = cache and cache / 'features' / f'{network.name}-{digest.hexdigest()[:32]}.npz'
  features = _read(path) if path else None
  if features is None:
    features = network.features(images, progress)
    if path:
      with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.savez(file, features=features, sha256=np.array(_sha256(features)))
        write_atomically(path, file.getvalue())
  return features


def _sha256(features: np.ndarray) -> str:
  return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()


def _read(path: Path) -> np.ndarray | None:
  """Features in a file; None where they are not what was written."""
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      features, recorded = arrays['features'], str(arrays['sha256'])
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None
  return features if _sha256(features) == recorded else None
