"""Loads the Inception-v3 of Frechet Inception distances with weights from a .safetensors or .npz file.

The file holds the tensors of the public PyTorch checkpoint (pt_inception-2015-12-05) under their names.
Pickles are refused, because reading one can run any code.
"""

import functools
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from gan_jax.data import Progress
from gan_jax.data.image_arrays import padded_chunks
from gan_jax.evaluation import inception_network as network
from gan_jax.utils.errors import UserError

_CHUNK = 50  # images per call of the network
_NETWORK = network.InceptionV3()
# The last part of a Flax variable's path, and its name in the checkpoint.
_LEAVES = dict(kernel='weight', scale='weight', bias='bias', mean='running_mean', var='running_var')
_COUNTER = '.num_batches_tracked'  # of PyTorch's batch norm; not a weight
_PICKLES = ('.pth', '.pt', '.pkl', '.pickle', '.ckpt', '.bin')

Tensors = dict[str, np.ndarray]
Variables = dict[str, Any]


@functools.cache
def variable_shapes() -> dict[tuple[str, ...], tuple[int, ...]]:
  """Returns the shape of each of the network's Flax variables, by path."""
  images = jax.ShapeDtypeStruct((1, network.SIDE, network.SIDE, 3), jnp.float32)
  variables = jax.eval_shape(_NETWORK.init, jax.random.key(0), images)
  return {path: x.shape for path, x in traverse_util.flatten_dict(variables).items()}


def checkpoint_name(path: tuple[str, ...]) -> str:
  """Returns the checkpoint's name of a Flax variable, such as Mixed_5b.branch1x1.conv.weight."""
  return '.'.join([*path[1:-1], _LEAVES[path[-1]]])


def variables_from_checkpoint(tensors: Tensors, source: str) -> Variables:
  """Converts a checkpoint's tensors to Flax variables; raises UserError, which begins with `source`.

  PyTorch stores convolutions as [out, in, h, w] and matrices as [out, in].
  """
  expected = {checkpoint_name(path): (path, shape) for path, shape in variable_shapes().items()}
  for name in tensors:
    if name not in expected and not name.endswith(_COUNTER):
      raise UserError(
        f'{source}: tensor {name} is unknown to the Inception-v3 of Frechet distances'
      )
  variables = {}
  for name, (path, shape) in expected.items():
    if name not in tensors:
      raise UserError(f'{source}: tensor {name} is missing; convert the whole checkpoint')
    tensor = _to_flax_layout(tensors[name])
    if tensor.shape != shape or not np.issubdtype(tensor.dtype, np.floating):
      actual, expected_shape = (_to_torch_shape(x) for x in (tensor.shape, shape))
      raise UserError(
        f'{source}: tensor {name} is {tensor.dtype} {actual}, where the Inception-v3 of Frechet '
        f'distances has floats {expected_shape}'
      )
    if not np.isfinite(tensor).all():
      raise UserError(f'{source}: tensor {name} holds values that are not finite')
    variables[path] = np.ascontiguousarray(tensor, np.float32)
  return traverse_util.unflatten_dict(variables)


def _to_flax_layout(tensor: np.ndarray) -> np.ndarray:
  """Transposes PyTorch's [out, in, h, w] to [h, w, in, out] and [out, in] to [in, out]."""
  return tensor.transpose((2, 3, 1, 0)) if tensor.ndim == 4 else tensor.T


def _to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  """Inverts `_to_flax_layout` on shapes."""
  return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def read_tensors(path: Path) -> Tensors:
  """Reads the tensors of a .safetensors or .npz file; raises UserError."""
  if path.suffix in _PICKLES:
    raise UserError(
      f'--inception={path}: a pickle can run any code and is never read; write its tensors as '
      '.safetensors first (docs/evaluation.md, "Inception features", has the line)'
    )
  if path.suffix not in ('.safetensors', '.npz'):
    raise UserError(f'--inception={path}: give a .safetensors or .npz file')
  try:
    content = path.read_bytes()
    if path.suffix == '.safetensors':
      return dict(safetensors.numpy.load(content))
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
      return {name: arrays[name] for name in arrays.files}
  except OSError as error:
    raise UserError(f'--inception={path}: {error.strerror or error}') from error
  except (
    *(ValueError, KeyError, EOFError, AttributeError, TypeError),
    *(zipfile.BadZipFile, safetensors.SafetensorError),
  ) as error:
    raise UserError(f'--inception={path}: cannot be read as {path.suffix}: {error}') from error


@jax.jit
def _apply(variables: Variables, images: jax.Array) -> jax.Array:
  return _NETWORK.apply(variables, network.scale_pixels(network.resize_images(images)))[0]


@jax.jit
def _softmax(kernel: jax.Array, features: jax.Array) -> jax.Array:
  return jax.nn.softmax(jnp.matmul(features, kernel, precision='highest'))


class Inception(NamedTuple):
  """Holds Inception-v3 with its weights; implements `feature_networks.FeatureNetwork`."""

  variables: Variables
  hash: str  # SHA-256 of names, shapes and values, equal for all file formats
  name: str = 'inception'
  title: str = 'Inception-v3 (pool3)'
  preparation: str = 'bicubic, antialiased, to 299 x 299, not rounded; (x - 128) / 128'

  def features(self, images: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """Returns features float32 [n, 2048] of images uint8 [n, h, w, 1 or 3]; raises UserError for another c."""
    n, c = len(images), images.shape[-1]
    if c not in (1, 3):
      raise UserError(f'--inception: images have {c} channels; the network takes 1 or 3')
    chunks, total = padded_chunks(images, _CHUNK), -(-n // _CHUNK)
    tracked = (progress or Progress()).track(chunks, total, 'Inception features')
    return np.concatenate([np.asarray(_apply(self.variables, x)) for x in tracked])[:n]

  def probabilities(self, features: np.ndarray) -> np.ndarray:
    """Returns class probabilities [n, 1008] of features [n, 2048], without biases as Salimans et al. (2016)."""
    return np.asarray(_softmax(self.variables['params']['fc']['kernel'], features))


@functools.lru_cache(maxsize=1)
def load_inception(path: Path) -> Inception:
  """Loads the network with the weights of a file; raises UserError."""
  variables = variables_from_checkpoint(read_tensors(path), f'--inception={path}')
  digest = hashlib.sha256()
  for name, value in sorted(traverse_util.flatten_dict(variables, sep='.').items()):
    digest.update(f'{name} {value.shape}\n'.encode() + value.tobytes())
  return Inception(variables, digest.hexdigest())
