"""Minibatches of images that stay on the host, loaded by threads of Grain before they are needed."""

import collections
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from gan_jax.data import shuffle
from gan_jax.data.device_batches import Images

_END = 2**31  # minibatches are counted in int32
_THREADS = 8
_shuffled = jax.jit(shuffle.shuffled_indices, static_argnums=2)


def take_shuffled(data: Images, key: jax.Array, positions: np.ndarray) -> Images:
  """What of `data`, on the host, `feeds.from_images` would take for `positions` [m] (uint32) of `key`."""
  with jax.default_device(_cpu()):
    # Off the accelerator, where it would wait for the steps that are under way.
    found = np.asarray(_shuffled(key, positions, len(data.images)))
  return jax.tree.map(lambda x: x[found], data)


@functools.cache
def _cpu() -> jax.Device | None:
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:  # another platform is the only one
    return None


class HostLoader:
  """The minibatches of a run in their order, from any of them on; of each the rows `places` [m]."""

  def __init__(self, data: Images, key: jax.Array, batch_size: int, places: np.ndarray, ahead: int):
    """`ahead` are the minibatches that are loaded before they are asked for."""
    numbers = jax.device_get(jax.random.key_data(key))
    with jax.default_device(_cpu()):
      self._key = jax.random.wrap_key_data(numbers)
    self._data, self._batch_size, self._places, self._ahead = data, batch_size, places, ahead
    self._first = 0
    self._held: collections.deque[Images] = (
      collections.deque()
    )  # minibatch `first` and those after it
    self._coming: Any = None  # an iterator of Grain's

  def window(self, first: int, n: int) -> Images:
    """Minibatches `first` to `first + n - 1`: uint8 [m, n, h, w, c], labels [m, n]."""
    if self._coming is None or not 0 <= first - self._first <= len(self._held):
      self.close()
      self._first, self._coming = first, self._open(first)
    while self._first < first:
      self._held.popleft()
      self._first += 1
    while len(self._held) < n:
      self._held.append(next(self._coming))
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *itertools.islice(self._held, n))

  def load(self, i: int) -> Images:
    """Minibatch i, or what is needed of it."""
    positions = (i * self._batch_size + self._places) % 2**32
    return take_shuffled(self._data, self._key, positions.astype(np.uint32))

  def close(self) -> None:
    """Let the threads end."""
    if self._coming is not None:
      self._coming.close()
    self._coming = None
    self._held.clear()

  def _open(self, first: int) -> Iterator[Images]:
    import grain  # takes a second, and most runs do without

    options = grain.ReadOptions(min(_THREADS, self._ahead), self._ahead)
    return iter(grain.MapDataset.range(first, _END).map(self.load).to_iter_dataset(options))
