"""Samples from a trained generator: many at a time, in a fixed order."""

import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import images as images_lib
from gan_jax import latents as latents_lib
from gan_jax.errors import UserError
from gan_jax.gan import Gan, GanState, PyTree, sample
from gan_jax.latents import Latent
from gan_jax.randomness import example_keys

_BATCH = 1000
_STREAM = 0x5A17  # keeps samples apart from everything that training draws from the same seed


def weights(state: GanState, which: str) -> PyTree:
  """The generator's parameters: 'ema' for their moving average, 'raw' for the last ones."""
  return {'ema': state.g_ema, 'raw': state.g.params}[which]


def fixed_latents(latent: Latent, seed: int, n: int) -> jax.Array:
  """The first n latents [n, size] of `seed`: the same ones in every picture and every evaluation."""
  key = jax.random.fold_in(jax.random.key(seed), _STREAM)
  return latents_lib.sample(latent, example_keys(key, n, None))


def batches(gan: Gan, params: PyTree, stats: PyTree, latents: jax.Array) -> Iterator[jax.Array]:
  """Images [n, h, w, c] in [-1, 1] of `latents` [n, size], a batch at a time to bound the memory."""
  step = _generator(gan)
  for start in range(0, latents.shape[0], _BATCH):
    batch = latents[start : start + _BATCH]
    # One shape, one compilation: the last batch is filled up and cut.
    filled = jnp.pad(batch, ((0, _BATCH - batch.shape[0]), (0, 0)))
    yield step(params, stats, filled)[: batch.shape[0]]


@functools.lru_cache(maxsize=8)
def _generator(gan: Gan) -> Callable[..., jax.Array]:
  return jax.jit(functools.partial(sample, gan))


def paint(gan: Gan, params: PyTree, stats: PyTree, latents: jax.Array) -> np.ndarray:
  """Images uint8 [n, h, w, c] of `latents` [n, size]."""
  parts = [np.asarray(images_lib.to_uint8(x)) for x in batches(gan, params, stats, latents)]
  return np.concatenate(parts)


def check_memory(n: int, shape: tuple[int, ...], latent_size: int) -> None:
  """Raise UserError where n images of `shape` and their latents do not fit into this machine's memory."""
  per_sample = 2 * math.prod(shape) + 12 * latent_size  # bytes: uint8 twice, float32 and keys
  free = available_memory()
  if n * per_sample > free:
    raise UserError(
      f'--num_samples={n}: they need {n * per_sample / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are '
      f'free; ask for at most {free // per_sample} at a time, each with another --seed'
    )


def available_memory() -> int:
  """Bytes that a process may take without swapping."""
  try:
    lines = Path('/proc/meminfo').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return int(fields['MemAvailable'].split()[0]) * 1024
  except (OSError, KeyError):  # not Linux: all of it, as far as anybody says
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
