"""A small classifier of a data set's own images, whose features the metrics of samples use."""

import contextlib
import functools
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.data import Dataset, Progress, shuffle
from gan_jax.data.dataset import hash_arrays
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

VERSION = 1  # to be raised when the same data give another classifier
_N_FEATURES = 64
_WIDTHS = (16, 32, 64)  # units after each halving of the grid
_LARGEST = 32  # pixels a side that it sees; larger images are averaged down
_COARSEST = 8  # cells a side at which the halving ends
_BATCH = 100
_MOST_STEPS = 4000  # half a minute on two cores
_MOST_EPOCHS = 50
_STRETCH = 100  # steps in one program
_RATE = 3e-3  # the peak of the one-cycle schedule (Smith and Topin, 2018)
_KEEP = 0.7  # of the features, by dropout
_SHIFT = 1  # pixels by which training images are moved at most
_CHUNK = 500  # images looked at in one program
_N_HELD_OUT = 10_000

Params = dict[str, jax.Array]


def _shrunk(images: jax.Array) -> jax.Array:
  """Uint8 [n, h, w, c] as [n, h', w', c] about 0, averaged over squares to at most `_LARGEST`."""
  n, h, w, c = images.shape
  factor = math.ceil(max(h, w) / _LARGEST)
  images = images.astype(jnp.float32) / 127.5 - 1
  images = jnp.pad(images, ((0, 0), (0, -h % factor), (0, -w % factor), (0, 0)), mode='edge')
  squares = images.reshape(n, -(-h // factor), factor, -(-w // factor), factor, c)
  return squares.mean(axis=(2, 4))


def _windows(x: jax.Array) -> jax.Array:
  """Windows of 4 x 4 cells, 2 apart: [n, h, w, c] as [n, ceil(h / 2), ceil(w / 2), 16 c].

  With a matrix product after it this is a convolution, which on a CPU XLA runs many times slower.
  """
  n, h, w, c = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0)))
  _, h, w, _ = x.shape
  cells = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  cells = cells.reshape(n, h // 2, w // 2, 4 * c)
  rows = jnp.concatenate([cells[:, :-1], cells[:, 1:]], axis=-1)
  return jnp.concatenate([rows[:, :, :-1], rows[:, :, 1:]], axis=-1)


def _layers(shape: tuple[int, ...], n_classes: int) -> Iterator[tuple[int, int]]:
  """(inputs, units) of each layer, for images of this shape."""
  factor = math.ceil(max(shape[:2]) / _LARGEST)
  h, w, c = -(-shape[0] // factor), -(-shape[1] // factor), shape[2]
  for width in _WIDTHS:
    if max(h, w) > _COARSEST:
      yield 16 * c, width
      h, w, c = -(-h // 2), -(-w // 2), width
  yield h * w * c, _N_FEATURES
  yield _N_FEATURES, n_classes


def _init(key: jax.Array, shape: tuple[int, ...], n_classes: int) -> Params:
  """Weights by He's rule, biases zero; the last layer begins at zero."""
  layers = list(_layers(shape, n_classes))
  params = {}
  for i, (n_in, n_out) in enumerate(layers):
    scale = math.sqrt(2 / n_in) if i < len(layers) - 1 else 0.0
    params[f'w{i}'] = scale * jax.random.normal(jax.random.fold_in(key, i), (n_in, n_out))
    params[f'b{i}'] = jnp.zeros(n_out)
  return params


def _dense(params: Params, i: int, x: jax.Array) -> jax.Array:
  product = jnp.matmul(x, params[f'w{i}'], precision='highest')  # equal features on every device
  return product + params[f'b{i}'].reshape((1,) * (x.ndim - 1) + (-1,))


def _features(params: Params, x: jax.Array) -> jax.Array:
  n_layers = len(params) // 2
  for i in range(n_layers - 2):
    x = jax.nn.relu(_dense(params, i, _windows(x)))
  return jax.nn.relu(_dense(params, n_layers - 2, x.reshape(x.shape[0], -1)))


def _logits(params: Params, x: jax.Array) -> jax.Array:
  return _dense(params, len(params) // 2 - 1, x)


def _shifted(key: jax.Array, x: jax.Array) -> jax.Array:
  """Each image moved by up to `_SHIFT` pixels each way, its border drawn out."""
  n, h, w, c = x.shape
  margin = ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0))
  x = jnp.pad(x, margin, mode='edge')
  starts = jax.random.randint(key, (n, 2), 0, 2 * _SHIFT + 1)
  cut = lambda image, start: lax.dynamic_slice(image, (start[0], start[1], 0), (h, w, c))
  return jax.vmap(cut)(x, starts)


def _optimizer(n_steps: int) -> optax.GradientTransformation:
  return optax.adamw(optax.cosine_onecycle_schedule(n_steps, _RATE, 0.1), weight_decay=1e-4)


@functools.partial(jax.jit, static_argnames='n_steps', donate_argnums=0)
def _stretch(
  carry: tuple[Params, optax.OptState],
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  first: jax.Array,
  n_steps: int,
) -> tuple[Params, optax.OptState]:
  """`_STRETCH` of the `n_steps` training steps, from step `first`; none beyond the last."""
  order_key, noise_key = jax.random.split(key)

  def step(i: jax.Array, carry: tuple[Params, optax.OptState]) -> tuple[Params, optax.OptState]:
    params, opt_state = carry
    positions = i.astype(jnp.uint32) * jnp.uint32(_BATCH) + jnp.arange(_BATCH, dtype=jnp.uint32)
    rows = shuffle.shuffled_indices(order_key, positions, images.shape[0])
    shift_key, drop_key = jax.random.split(jax.random.fold_in(noise_key, i))
    x = _shifted(shift_key, _shrunk(images[rows]))
    kept = jax.random.bernoulli(drop_key, _KEEP, (_BATCH, _N_FEATURES)) / _KEEP

    def loss_fn(params: Params) -> jax.Array:
      logits = _logits(params, _features(params, x) * kept)
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    updates, opt_state = _optimizer(n_steps).update(jax.grad(loss_fn)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  return lax.fori_loop(first, jnp.minimum(first + _STRETCH, n_steps), step, carry)


def train(
  images: np.ndarray, labels: np.ndarray, n_classes: int, progress: Progress
) -> dict[str, np.ndarray]:
  """Weights for images uint8 [n, h, w, c] of these labels [n]: a function of them and `VERSION`."""
  init_key, train_key = jax.random.split(jax.random.key(VERSION))
  params = _init(init_key, images.shape[1:], n_classes)
  n_steps = min(_MOST_STEPS, _MOST_EPOCHS * -(-len(images) // _BATCH))
  carry = (params, _optimizer(n_steps).init(params))
  x, y = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
  starts = range(0, n_steps, _STRETCH)
  for first in progress.track(starts, len(starts), 'training a classifier'):
    carry = jax.block_until_ready(_stretch(carry, train_key, x, y, jnp.int32(first), n_steps))
  return {name: np.asarray(value) for name, value in carry[0].items()}


@jax.jit
def _look(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
  features = _features(params, _shrunk(images))
  return features, jax.nn.softmax(_logits(params, features))


class Classifier(NamedTuple):
  """A trained classifier of images uint8 [n, *shape]; `accuracy` is its share of right answers held out."""

  params: dict[str, np.ndarray]
  shape: tuple[int, int, int]
  n_classes: int
  accuracy: float
  hash: str  # sha256 of the weights: figures of other weights are other figures

  def features(self, images: np.ndarray) -> np.ndarray:
    """The last hidden layer, float32 [n, d]; of stacked images those of their parts, side by side."""
    return np.concatenate([self._look(part)[0] for part in self._parts(images)], axis=1)

  def probabilities(self, images: np.ndarray) -> np.ndarray:
    """The probability of each class, float32 [n, classes]; raises ValueError for stacked images."""
    (images,) = self._parts(images)
    return self._look(images)[1]

  def _parts(self, images: np.ndarray) -> list[np.ndarray]:
    """Images [n, h, w, s c] as s times [n, h, w, c]; raises ValueError for any other shape."""
    h, w, c = self.shape
    if images.ndim != 4 or images.shape[1:3] != (h, w) or images.shape[3] % c:
      raise ValueError(f'images {images.shape} for a classifier of {self.shape}')
    return np.split(images, images.shape[3] // c, axis=3)

  def _look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(images)
    features = np.empty((n, _N_FEATURES), np.float32)
    probabilities = np.empty((n, self.n_classes), np.float32)
    for i in range(0, n, _CHUNK):
      part = images[i : i + _CHUNK]
      # One shape, one compilation: the last part is filled up and cut.
      filled = np.zeros((_CHUNK, *images.shape[1:]), np.uint8)
      filled[: len(part)] = part
      found = _look(self.params, filled)
      features[i : i + _CHUNK] = found[0][: len(part)]
      probabilities[i : i + _CHUNK] = found[1][: len(part)]
    return features, probabilities


def load_or_train(
  dataset: Dataset, cache: Path | None = None, progress: Progress | None = None
) -> Classifier:
  """The classifier of a data set, trained once and kept in the folder `cache` where one is given.

  Of stacked images it classifies the parts, so that MNIST and its stacks share one. Raises UserError
  for a data set without labels.
  """
  progress = progress or Progress()
  if dataset.train_labels is None:
    raise UserError(f'--dataset={dataset.name} has no labels, which a classifier needs')
  n_classes = dataset.n_classes
  if dataset.stack > 1:
    n_classes = int(dataset.train_labels.max()) + 1
  seen = {'train': dataset.train, 'train_labels': dataset.train_labels}
  key = f'{VERSION}-{hash_arrays(seen)[:16]}'
  path = cache and cache / 'classifiers' / f'{key}.npz'
  params = _read(path, progress) if path else None
  if params is None:
    progress.log(f'{dataset.name}: training a classifier for its metrics, once (about a minute)')
    params = train(dataset.train, dataset.train_labels, n_classes, progress)
    if path:
      with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _as_bytes(params))
  h, w, c = dataset.train.shape[1:]
  untested = Classifier(params, (h, w, c), n_classes, float('nan'), _sha256(params))
  return untested._replace(accuracy=_accuracy(untested, dataset))


def stacked_modes(classifier: Classifier, images: np.ndarray) -> np.ndarray:
  """The mode [n] of each image uint8 [n, h, w, 3]: 100 a + 10 b + c for digits a, b, c of 10."""
  modes = np.zeros(len(images), np.int64)
  for part in classifier._parts(images):
    modes = modes * classifier.n_classes + classifier.probabilities(part).argmax(axis=1)
  return modes


def _accuracy(classifier: Classifier, dataset: Dataset) -> float:
  """The share of right answers on test images; of stacked ones, on their parts."""
  if dataset.test_labels is None:
    return float('nan')
  n = _N_HELD_OUT // dataset.stack
  labels, parts = dataset.test_labels[:n], classifier._parts(dataset.test[:n])
  digits = np.unravel_index(labels, (classifier.n_classes,) * dataset.stack)
  answers = [classifier.probabilities(part).argmax(axis=1) for part in parts]
  return float(np.mean(np.stack(answers) == np.stack(digits)))


def _sha256(params: dict[str, np.ndarray]) -> str:
  """Over name, type, shape and bytes of each array, by name."""
  digest = hashlib.sha256(f'version {VERSION}\n'.encode())
  for name, value in sorted(params.items()):
    digest.update(f'{name} {value.dtype.str} {value.shape}\n'.encode() + value.tobytes())
  return digest.hexdigest()


def _as_bytes(params: dict[str, np.ndarray]) -> bytes:
  file = io.BytesIO()
  np.savez(file, sha256=np.array(_sha256(params)), **params)  # type: ignore[arg-type]
  return file.getvalue()


def _read(path: Path, progress: Progress) -> dict[str, np.ndarray] | None:
  """The weights in a file; None, and a line, where they are not what was written."""
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      params = {name: arrays[name] for name in arrays.files}
    if _sha256({k: v for k, v in params.items() if k != 'sha256'}) != str(params.pop('sha256')):
      raise ValueError('its sha256 is not the recorded one')
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    progress.log(f'{path} is damaged ({error}), training again')
    return None
  return params
