"""Trains a small convolutional classifier of images, as pure functions of its parameters."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.data import Progress, shuffle

VERSION = 1  # to be raised when the same data give another classifier
N_FEATURES = 64
_WIDTHS = (16, 32, 64)  # units after each halving of the grid
_MAX_SIDE = 32  # pixels a side of the network's input; larger images are averaged down
_MIN_GRID = 8  # cells a side at which the halving ends
_BATCH = 100
_MAX_STEPS = 4000  # half a minute on two cores
_MAX_EPOCHS = 50
_STEPS_PER_CALL = 100
_PEAK_RATE = 3e-3  # of the one-cycle schedule (Smith and Topin, 2018)
_KEEP_RATE = 0.7  # of the features, by dropout
_MAX_SHIFT = 1  # pixels by which training images are moved

Params = dict[str, jax.Array]
_Carry = tuple[Params, optax.OptState]


def average_down(images: jax.Array) -> jax.Array:
  """Converts images uint8 [n, h, w, c] to [-1, 1], averaged over squares to at most 32 pixels a side."""
  n, h, w, c = images.shape
  factor = math.ceil(max(h, w) / _MAX_SIDE)
  images = images.astype(jnp.float32) / 127.5 - 1
  images = jnp.pad(images, ((0, 0), (0, -h % factor), (0, -w % factor), (0, 0)), mode='edge')
  return images.reshape(n, -(-h // factor), factor, -(-w // factor), factor, c).mean(axis=(2, 4))


def extract_patches(x: jax.Array) -> jax.Array:
  """Returns the 4 x 4 patches of x [n, h, w, c] at stride 2: [n, ceil(h / 2), ceil(w / 2), 16 c].

  A matrix product with patches is a convolution, which XLA runs many times slower on a CPU.
  """
  n, h, w, c = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0)))
  h, w = x.shape[1] // 2, x.shape[2] // 2
  cells = x.reshape(n, h, 2, w, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, 4 * c)
  rows = jnp.concatenate([cells[:, :-1], cells[:, 1:]], axis=-1)
  return jnp.concatenate([rows[:, :, :-1], rows[:, :, 1:]], axis=-1)


def _layer_sizes(shape: tuple[int, ...], n_classes: int) -> Iterator[tuple[int, int]]:
  """Yields (inputs, units) of each layer, for images of `shape`."""
  factor = math.ceil(max(shape[:2]) / _MAX_SIDE)
  h, w, c = -(-shape[0] // factor), -(-shape[1] // factor), shape[2]
  for width in _WIDTHS:
    if max(h, w) > _MIN_GRID:
      yield 16 * c, width
      h, w, c = -(-h // 2), -(-w // 2), width
  yield h * w * c, N_FEATURES
  yield N_FEATURES, n_classes


def init_params(key: jax.Array, shape: tuple[int, ...], n_classes: int) -> Params:
  """Draws weights by He et al. (2015) for images of `shape`; biases and the last layer are zero."""
  sizes = list(_layer_sizes(shape, n_classes))
  params = {}
  for i, (n_in, n_out) in enumerate(sizes):
    scale = math.sqrt(2 / n_in) if i < len(sizes) - 1 else 0.0
    params[f'w{i}'] = scale * jax.random.normal(jax.random.fold_in(key, i), (n_in, n_out))
    params[f'b{i}'] = jnp.zeros(n_out)
  return params


def _dense(params: Params, i: int, x: jax.Array) -> jax.Array:
  product = jnp.matmul(x, params[f'w{i}'], precision='highest')  # equal features on every device
  return product + params[f'b{i}'].reshape((1,) * (x.ndim - 1) + (-1,))


def _features(params: Params, x: jax.Array) -> jax.Array:
  n_layers = len(params) // 2
  for i in range(n_layers - 2):
    x = jax.nn.relu(_dense(params, i, extract_patches(x)))
  return jax.nn.relu(_dense(params, n_layers - 2, x.reshape(x.shape[0], -1)))


def _logits(params: Params, features: jax.Array) -> jax.Array:
  return _dense(params, len(params) // 2 - 1, features)


@jax.jit
def features_and_probabilities(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the last hidden layer [n, 64] and the class probabilities of images uint8 [n, h, w, c]."""
  features = _features(params, average_down(images))
  return features, jax.nn.softmax(_logits(params, features))


def random_shift(key: jax.Array, x: jax.Array) -> jax.Array:
  """Moves each image by up to one pixel in each direction, its border pixels repeated."""
  n, h, w, c = x.shape
  x = jnp.pad(x, ((0, 0), *[(_MAX_SHIFT, _MAX_SHIFT)] * 2, (0, 0)), mode='edge')
  starts = jax.random.randint(key, (n, 2), 0, 2 * _MAX_SHIFT + 1)
  crop = lambda image, start: lax.dynamic_slice(image, (start[0], start[1], 0), (h, w, c))
  return jax.vmap(crop)(x, starts)


def _optimizer(n_steps: int) -> optax.GradientTransformation:
  return optax.adamw(optax.cosine_onecycle_schedule(n_steps, _PEAK_RATE, 0.1), weight_decay=1e-4)


@functools.partial(jax.jit, static_argnames='n_steps', donate_argnums=0)
def _train_steps(
  carry: _Carry,
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  first: jax.Array,
  n_steps: int,
) -> _Carry:
  """Runs up to `_STEPS_PER_CALL` training steps from step `first`; none after step `n_steps`."""
  order_key, noise_key = jax.random.split(key)

  def step(i: jax.Array, carry: _Carry) -> _Carry:
    params, opt_state = carry
    positions = i.astype(jnp.uint32) * jnp.uint32(_BATCH) + jnp.arange(_BATCH, dtype=jnp.uint32)
    rows = shuffle.shuffled_indices(order_key, positions, images.shape[0])
    shift_key, drop_key = jax.random.split(jax.random.fold_in(noise_key, i))
    x = random_shift(shift_key, average_down(images[rows]))
    mask = jax.random.bernoulli(drop_key, _KEEP_RATE, (_BATCH, N_FEATURES)) / _KEEP_RATE

    def loss_fn(params: Params) -> jax.Array:
      logits = _logits(params, _features(params, x) * mask)
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    updates, opt_state = _optimizer(n_steps).update(jax.grad(loss_fn)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  return lax.fori_loop(first, jnp.minimum(first + _STEPS_PER_CALL, n_steps), step, carry)


def train_classifier(
  images: np.ndarray, labels: np.ndarray, n_classes: int, progress: Progress
) -> dict[str, np.ndarray]:
  """Trains the parameters for images uint8 [n, h, w, c] and labels [n]; depends on no other seed."""
  init_key, train_key = jax.random.split(jax.random.key(VERSION))
  params = init_params(init_key, images.shape[1:], n_classes)
  n_steps = min(_MAX_STEPS, _MAX_EPOCHS * -(-len(images) // _BATCH))
  carry = (params, _optimizer(n_steps).init(params))
  x, y = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
  starts = range(0, n_steps, _STEPS_PER_CALL)
  for first in progress.track(starts, len(starts), 'training a classifier'):
    carry = jax.block_until_ready(_train_steps(carry, train_key, x, y, jnp.int32(first), n_steps))
  return {name: np.asarray(value) for name, value in carry[0].items()}
