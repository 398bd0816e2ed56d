"""Orders examples by their content, so that no statistic depends on the order of rows in a file."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # odd, of the golden ratio's digits


def shuffle_by_content(examples: np.ndarray, n: int | None = None) -> np.ndarray:
  """Returns the first n (default all) of `examples` [m, ...] in a pseudo-random order that ignores theirs.

  The order is by a hash of each example and of its number among equal ones: any permutation of `examples`
  gives the same result, and equal examples of two sets stand at about the same relative position.
  """
  rows, hashes = np.asarray(examples), content_hashes(examples)
  order = np.argsort(hashes, kind='stable')
  hashes = hashes[order]
  is_first = np.concatenate([[True], hashes[1:] != hashes[:-1]])
  starts = np.flatnonzero(is_first)
  copy_number = np.arange(len(hashes)) - starts[np.cumsum(is_first) - 1]
  mixed = mix_bits(hashes + copy_number.astype(np.uint64) * _GOLDEN)
  return rows[order[np.argsort(mixed, kind='stable')][:n]]


def content_hashes(examples: np.ndarray) -> np.ndarray:
  """Returns a hash of each of `examples` [n, ...]: uint64 [n], equal for examples of equal bytes."""
  rows = np.ascontiguousarray(examples)
  digests = b''.join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
  return np.frombuffer(digests, np.uint64)


def mix_bits(hashes: np.ndarray) -> np.ndarray:
  """Maps uint64 hashes [n] one to one to other pseudo-random ones, as SplitMix64 does."""
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
  return hashes ^ (hashes >> np.uint64(31))
