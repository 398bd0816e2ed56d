"""Counts equal examples of training data, held-out data and samples, and tells copies from equal values."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from gan_jax.metrics.content_order import content_hashes

_LEAK = 1e-3  # p-value below which held-out examples have been taken from the training set


class Equality(NamedTuple):
  """Holds which examples equal a training example, byte for byte."""

  held_out: np.ndarray  # bool [m]
  fake: np.ndarray  # bool [k]
  repeated: float  # share of training examples that equal another one
  leaked: bool  # more held-out examples equal a training example than such repetition explains
  p: float  # one-sided, of the hypothesis that samples do so no more often than new data

  @property
  def expected(self) -> float:
    """Returns the share of new data that equal a training example."""
    return self.repeated if self.leaked else float(self.held_out.mean())


def compare_equality(train: np.ndarray, held_out: np.ndarray, fake: np.ndarray) -> Equality:
  """Returns which hashes uint64 `held_out` [m] and `fake` [k] are among `train` [n], and a test of the latter.

  New data equal training examples about as often as these equal one another: never where pixels are many,
  often where values are discrete. More equal held-out examples than that were taken from the training set, and
  samples are then compared with the training examples. Fisher's exact test; where a set repeats its own
  examples more often than the training set, its examples count as independent only as far as they are.
  """
  held_out_equal, fake_equal = np.isin(held_out, train), np.isin(fake, train)
  n_repeated = _count_repeated(train)
  expected = max(n_repeated, 1) / len(train)
  counts = {
    'held_out': _independent(held_out_equal, held_out, train),
    'fake': _independent(fake_equal, fake, train),
    'train': (n_repeated, len(train)),
  }
  k, n = counts['held_out']
  leaked = bool(stats.binom.sf(k - 1, n, expected) < _LEAK)
  (k, n), (k_new, n_new) = counts['fake'], counts['train' if leaked else 'held_out']
  p = float(stats.hypergeom.sf(k - 1, n + n_new, k + k_new, n))
  return Equality(held_out_equal, fake_equal, n_repeated / len(train), leaked, p)


def _count_repeated(hashes: np.ndarray) -> int:
  counts = np.unique(hashes, return_counts=True)[1]
  return int(counts[counts > 1].sum())


def _independent(equal: np.ndarray, hashes: np.ndarray, train: np.ndarray) -> tuple[int, int]:
  """Returns how many independent examples are `equal`, and how many there are in all."""
  pairs = lambda x: float(
    np.sum((c := np.unique(x, return_counts=True)[1].astype(np.float64)) * (c - 1)) / 2
  )
  by_chance = pairs(train) * (len(hashes) / len(train)) ** 2
  factor = 1 + 2 * max(pairs(hashes) - by_chance, 0) / len(hashes)
  return int(equal.sum() / factor), max(int(len(equal) / factor), 1)


def name_overlaps(sets: Mapping[str, np.ndarray]) -> list[str]:
  """Returns one line for each two of the sets 'train', 'held_out' and 'fake' [n, ...] with equal examples.

  A line gives how many examples of one set equal one of the other, byte for byte, and what that means. Sets
  that are not given are left out.
  """
  hashes = {name: content_hashes(x) for name, x in sets.items() if len(x)}
  lines = []
  for name, of, meaning in _PAIRS:
    if name in hashes and of in hashes:
      n = int(np.isin(hashes[name], hashes[of]).sum())
      repeated = _count_repeated(hashes[of]) / len(hashes[of])
      if n:
        share = n / len(hashes[name])
        natural = share <= 2 * repeated
        why = (
          f'{repeated:.2%} of {_TITLES[of]} equal one another: equal values are common here'
          if natural
          else meaning
        )
        lines.append(
          f'{n:,} of {len(hashes[name]):,} {_TITLES[name]} ({share:.2%}) equal {_TITLES[of]}: {why}'
        )
  return lines


_TITLES = {'train': 'training examples', 'held_out': 'held-out examples', 'fake': 'samples'}
_PAIRS = (  # of sets, and what equal examples mean
  (
    'held_out',
    'train',
    'the sets overlap, so these are no held-out examples; they are left out where copies are judged',
  ),
  ('fake', 'train', 'copies of training examples'),
  (
    'fake',
    'held_out',
    'real examples are among the samples, or the generator has seen held-out examples',
  ),
)
