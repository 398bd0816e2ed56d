"""Orders examples by their content, so that no statistic depends on the order of rows in a file."""

import hashlib

import numpy as np


def shuffle_by_content(examples: np.ndarray, n: int | None = None) -> np.ndarray:
  """Returns the first n (default all) of `examples` [m, ...] in a pseudo-random order that ignores theirs.

  The order is by a hash of each example and of its number among equal ones: any permutation of `examples`
  gives the same result, and equal examples of two sets stand at about the same relative position.
  """
  rows = np.ascontiguousarray(examples)
  digests = b''.join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
  hashes = np.frombuffer(digests, np.uint64)
  order = np.argsort(hashes, kind='stable')
  hashes = hashes[order]
  is_first = np.concatenate([[True], hashes[1:] != hashes[:-1]])
  starts = np.flatnonzero(is_first)
  copy_number = np.arange(len(hashes)) - starts[np.cumsum(is_first) - 1]
  mixed = hashes + copy_number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # as in SplitMix64
    mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
  return rows[order[np.argsort(mixed, kind='stable')][:n]]
