"""Divides examples into parts by their content, so that neither order nor duplicates reach a test."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gan_jax.metrics.content_order import content_hashes, mix_bits

SHARES = (0.4, 0.3, 0.1)  # of reference, training and validation part; the rest is the test part
N_SINGLE_SPLIT = 2500  # examples of each set from which one split suffices
N_FOLDS = 5  # cross-fitted splits of smaller sets, whose test parts cover all examples
_MOST_REPEATED = 0.5  # share of a part that may be left out because it occurs in earlier parts


class SplitIndices(NamedTuple):
  """Holds the rows of one set that stand in each part, int [n_i]: no part shares an example with another."""

  reference: np.ndarray  # centres of kernel densities; convolutional probes train on it, too
  train: np.ndarray
  validation: np.ndarray  # selects step and probe, and calibrates
  test: np.ndarray  # scored once

  def take(self, examples: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the examples of the four parts."""
    return tuple(examples[part] for part in self)


class PairedSplit(NamedTuple):
  """Holds one split of real data and of samples, with the content hashes of both test parts."""

  real: SplitIndices
  fake: SplitIndices
  real_groups: np.ndarray  # uint64, equal for equal examples of `real.test`
  fake_groups: np.ndarray


def n_folds(n_real: int, n_fake: int) -> int:
  """Returns the number of splits of two sets: 1, or `N_FOLDS` where they are small."""
  return 1 if min(n_real, n_fake) >= N_SINGLE_SPLIT else N_FOLDS


def paired_splits(
  real: np.ndarray, fake: np.ndarray, folds: int, seed: int = 0
) -> Iterator[PairedSplit]:
  """Yields `folds` splits of real [n, ...] and fake [m, ...] examples into four parts each.

  Parts are cut from an order by content, which any permutation of the rows leaves as it is. Examples of a
  validation or test part that occur in an earlier part of either set are left out, unless they are the
  most. With several folds each example is in the test part of one; with one fold the test part has 20 %.
  """
  salt = mix_bits(np.asarray([seed + 1], np.uint64))
  hashes = [mix_bits(content_hashes(x) ^ salt) for x in (real, fake)]
  orders = [np.argsort(h, kind='stable') for h in hashes]
  for fold in range(folds):
    # The order turns by one test part from fold to fold.
    turned = [np.roll(order, -(fold * len(order)) // folds) for order in orders]
    parts = [_cut(order, folds) for order in turned]
    kept = _without_repeats(parts, hashes)
    groups = [h[part.test] for h, part in zip(hashes, kept, strict=True)]
    yield PairedSplit(kept[0], kept[1], groups[0], groups[1])


def _cut(order: np.ndarray, folds: int) -> SplitIndices:
  n = len(order)
  n_fitted = n - n // folds if folds > 1 else round(sum(SHARES) * n)
  shares = np.cumsum(SHARES) / sum(SHARES)
  reference, train = (int(share * n_fitted) for share in shares[:2])
  return SplitIndices(*np.split(order, [reference, train, n_fitted]))


def _without_repeats(parts: list[SplitIndices], hashes: list[np.ndarray]) -> list[SplitIndices]:
  """Leaves out rows of later parts whose content occurs in an earlier part of either set."""
  seen = np.concatenate(
    [h[np.concatenate(part[:2])] for h, part in zip(hashes, parts, strict=True)]
  )
  for name in ('validation', 'test'):
    used = []
    for i, h in enumerate(hashes):
      rows = getattr(parts[i], name)
      fresh = ~np.isin(h[rows], seen)
      if fresh.mean() >= 1 - _MOST_REPEATED:
        parts[i] = parts[i]._replace(**{name: rows[fresh]})
      used.append(h[rows])
    seen = np.concatenate([seen, *used])
  return parts
