"""Where minibatches come from: images on the device, or a game that never ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data import image_arrays, shuffle


class Batch(NamedTuple):
  """Holds a minibatch: images [n, ...] in [-1, 1] or points [n, d], and labels (int32 [n] or None)."""

  images: jax.Array
  labels: jax.Array | None = None


# The examples at `positions` [n] (uint32) of the endless stream of `key`, made from arrays on the device.
BatchFn = Callable[[jax.Array, jax.Array, Any], Batch]


class Images(NamedTuple):
  """Images as they lie on the device: uint8 [n, h, w, c], and their labels, int32 [n] or None."""

  images: Any
  labels: Any = None


class BatchWindow(NamedTuple):
  """Consecutive minibatches on the device, already shuffled: uint8 [rows, n, h, w, c], int32 [rows, n] or None.

  `first` is the number of the first of them, `rows` are those of each that the device needs.
  """

  images: Any
  labels: Any
  first: Any  # int32


class DeviceData(NamedTuple):
  """What a feed makes examples from: `Images`, a `Window` of them, or () for a game."""

  train: Any
  held_out: Any = ()  # for the controller of k; training never sees it

  def without_labels(self) -> 'DeviceData':
    """The same, for networks that are not told them."""
    labelled = (Images, BatchWindow)
    return DeviceData(*(x._replace(labels=None) if isinstance(x, labelled) else x for x in self))


def image_batches(stack: int = 1, n_labels: int = 0, contrast: float = 0.0) -> BatchFn:
  """Shuffled images in [-1, 1]; `contrast` above 0 normalises each to that scale instead.

  With `stack` above 1 as many images, shuffled each for itself, become the channels of one, and its
  label is the number that their labels, each one of `n_labels`, spell.
  """

  def feed(key: jax.Array, positions: jax.Array, data: Images) -> Batch:
    n = data.images.shape[0]
    keys = [key] if stack == 1 else jax.random.split(key, stack)
    indices = jnp.stack([shuffle.shuffled_indices(each, positions, n) for each in keys])
    picked = image_arrays.stack_channels(data.images, indices)
    labels = None
    if data.labels is not None:
      labels = image_arrays.stack_labels(data.labels, indices, n_labels)
    return _normalised(picked, labels, contrast)

  return feed


def window_batches(batch_size: int, contrast: float = 0.0) -> BatchFn:
  """What `from_images` makes of all images, made of a `Window` that holds the minibatch at these positions."""

  def feed(key: jax.Array, positions: jax.Array, data: BatchWindow) -> Batch:
    del key  # the rows come in its order
    start = jnp.asarray(data.first).astype(jnp.uint32) * jnp.uint32(batch_size)
    # A difference of positions is right even where they begin again at 2 ** 32.
    number = ((positions[0] - start) // jnp.uint32(batch_size)).astype(jnp.int32)
    pick = lambda x: lax.dynamic_index_in_dim(x, number, axis=1, keepdims=False)
    labels = None if data.labels is None else pick(data.labels)
    return _normalised(pick(data.images), labels, contrast)

  return feed


def _normalised(picked: jax.Array, labels: jax.Array | None, contrast: float) -> Batch:
  if contrast:
    return Batch(image_arrays.global_contrast_normalize(picked, contrast), labels)
  return Batch(image_arrays.uint8_to_float(picked), labels)


def synthetic_batches(sample: Callable[[jax.Array], jax.Array]) -> BatchFn:
  """Fresh examples of a game: `sample` makes one of them from a key."""

  def feed(key: jax.Array, positions: jax.Array, data: Any) -> Batch:
    del data
    return Batch(jax.vmap(lambda position: sample(jax.random.fold_in(key, position)))(positions))

  return feed
