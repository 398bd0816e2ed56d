"""Loads shuffled minibatches of images from host memory in Grain threads, ahead of their use."""

import collections
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from gan_jax.data import shuffle
from gan_jax.data.device_batches import Images

_MAX_BATCHES = 2**31  # minibatches are counted in int32
_N_THREADS = 8
_shuffled_indices = jax.jit(shuffle.shuffled_indices, static_argnums=2)


def take_shuffled(data: Images, key: jax.Array, positions: np.ndarray) -> Images:
  """Returns the examples at `positions` uint32 [m] of the shuffled stream of `key`, as `image_batches`."""
  with jax.default_device(_cpu_device()):
    # On an accelerator the computation would queue behind training steps.
    indices = np.asarray(_shuffled_indices(key, positions, len(data.images)))
  return jax.tree.map(lambda x: x[indices], data)


@functools.cache
def _cpu_device() -> jax.Device | None:
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:  # JAX_PLATFORMS excludes the CPU
    return None


class HostLoader:
  """Loads a run's minibatches in order, starting at any of them, and prefetches the next ones."""

  def __init__(
    self, data: Images, key: jax.Array, batch_size: int, row_indices: np.ndarray, n_prefetch: int
  ):
    """Stores the arguments; threads start with the first call of `window`.

    `key` gives the shuffled order, `batch_size` counts the examples of a minibatch over all processes, of
    which this process loads the rows `row_indices` [m], `n_prefetch` minibatches ahead.
    """
    key_data = jax.device_get(jax.random.key_data(key))
    with jax.default_device(_cpu_device()):
      self._key = jax.random.wrap_key_data(key_data)
    self._data, self._batch_size = data, batch_size
    self._row_indices, self._n_prefetch = row_indices, n_prefetch
    self._first = 0  # index of the first minibatch in the buffer
    self._buffer: collections.deque[Images] = collections.deque()
    self._iterator: Any = None  # of Grain

  def window(self, first: int, n: int) -> Images:
    """Returns minibatches `first` to `first + n - 1`: images uint8 [m, n, h, w, c], labels [m, n] or None."""
    if self._iterator is None or not 0 <= first - self._first <= len(self._buffer):
      self.close()
      self._first, self._iterator = first, self._start(first)
    while self._first < first:
      self._buffer.popleft()
      self._first += 1
    while len(self._buffer) < n:
      self._buffer.append(next(self._iterator))
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *itertools.islice(self._buffer, n))

  def load(self, i: int) -> Images:
    """Returns this process's rows of minibatch i."""
    positions = (i * self._batch_size + self._row_indices) % 2**32
    return take_shuffled(self._data, self._key, positions.astype(np.uint32))

  def close(self) -> None:
    """Stops the loading threads and empties the buffer."""
    if self._iterator is not None:
      self._iterator.close()
    self._iterator = None
    self._buffer.clear()

  def _start(self, first: int) -> Iterator[Images]:
    import grain  # takes a second; only streaming runs need it

    options = grain.ReadOptions(min(_N_THREADS, self._n_prefetch), self._n_prefetch)
    return iter(grain.MapDataset.range(first, _MAX_BATCHES).map(self.load).to_iter_dataset(options))
