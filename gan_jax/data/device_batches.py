"""Makes minibatches on the device: from resident images, from a streamed window, or freshly sampled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data import image_arrays, shuffle


class Batch(NamedTuple):
  """Holds a minibatch: images [n, h, w, c] in [-1, 1] or points [n, d], and labels (int32 [n] or None)."""

  images: jax.Array
  labels: jax.Array | None = None


# Makes the batch of the stream positions uint32 [n]: (key, positions, data) -> Batch. The data argument is
# one field of `DeviceData`.
BatchFn = Callable[[jax.Array, jax.Array, Any], Batch]


class Images(NamedTuple):
  """Holds unscaled images, uint8 [n, h, w, c], and their labels, int32 [n] or None."""

  images: Any
  labels: Any = None


class BatchWindow(NamedTuple):
  """Holds n consecutive shuffled minibatches: images uint8 [rows, n, h, w, c], labels int32 [rows, n] or None.

  `first` is the index of its first minibatch in the run. `rows` counts one device's share of a minibatch.
  """

  images: Any
  labels: Any
  first: Any  # int32


class DeviceData(NamedTuple):
  """Holds the data arguments of a `BatchFn`: `Images`, a `BatchWindow`, or () for a synthetic distribution."""

  train: Any
  held_out: Any = ()  # read by the controller of k, never by training

  def without_labels(self) -> 'DeviceData':
    """Returns the same data with labels None, for unconditional networks."""
    labelled = (Images, BatchWindow)
    return DeviceData(*(x._replace(labels=None) if isinstance(x, labelled) else x for x in self))


def image_batches(stack: int = 1, n_classes: int = 0, contrast: float = 0.0) -> BatchFn:
  """Returns a `BatchFn` that shuffles resident `Images` and scales them to [-1, 1].

  Args:
    stack: number of images, drawn in independent orders, that are stacked as the channels of one example.
    n_classes: classes of the unstacked images; the labels of a stack are digits of a number in this base.
    contrast: if not 0, the norm of global contrast normalization, which replaces the scaling to [-1, 1].
  """

  def make_batch(key: jax.Array, positions: jax.Array, data: Images) -> Batch:
    n = data.images.shape[0]
    keys = [key] if stack == 1 else jax.random.split(key, stack)
    indices = jnp.stack([shuffle.shuffled_indices(each, positions, n) for each in keys])
    images = image_arrays.stack_channels(data.images, indices)
    labels = None
    if data.labels is not None:
      labels = image_arrays.stack_labels(data.labels, indices, n_classes)
    return _normalized_batch(images, labels, contrast)

  return make_batch


def window_batches(batch_size: int, contrast: float = 0.0) -> BatchFn:
  """Returns a `BatchFn` that reads a `BatchWindow` and equals `image_batches()` on all images.

  The window must hold the minibatch at the requested positions.
  """

  def make_batch(key: jax.Array, positions: jax.Array, data: BatchWindow) -> Batch:
    del key  # the host has shuffled the rows with it
    start = jnp.asarray(data.first).astype(jnp.uint32) * jnp.uint32(batch_size)
    # The unsigned difference stays right where positions wrap around at 2 ** 32.
    index = ((positions[0] - start) // jnp.uint32(batch_size)).astype(jnp.int32)
    pick = lambda x: lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False)
    labels = None if data.labels is None else pick(data.labels)
    return _normalized_batch(pick(data.images), labels, contrast)

  return make_batch


def synthetic_batches(sample: Callable[[jax.Array], jax.Array]) -> BatchFn:
  """Returns a `BatchFn` that draws every example anew with `sample`, a function from a key to one example."""

  def make_batch(key: jax.Array, positions: jax.Array, data: Any) -> Batch:
    del data
    return Batch(jax.vmap(lambda position: sample(jax.random.fold_in(key, position)))(positions))

  return make_batch


def _normalized_batch(images: jax.Array, labels: jax.Array | None, contrast: float) -> Batch:
  if contrast:
    return Batch(image_arrays.global_contrast_normalize(images, contrast), labels)
  return Batch(image_arrays.uint8_to_float(images), labels)
