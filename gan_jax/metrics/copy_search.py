"""Searches all training examples for those that samples copy, exactly or nearly, and tests for copying."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from gan_jax.metrics import copy_descriptors, copy_distances
from gan_jax.metrics.content_order import content_hashes
from gan_jax.metrics.copy_alignment import describe_pair
from gan_jax.metrics.copy_descriptors import split_by_bytes
from gan_jax.metrics.equal_examples import compare_equality

N_QUERIES = 2500  # samples, and as many held-out examples
_N_PAIRS = 12  # closest pairs that a report holds
_N_CANDIDATES = 3  # training examples with which each of the closest samples is aligned
_MIN_NULL = 100  # held-out examples, below which training examples are held out in their place
_MIN_TRAIN = 16  # training examples, below which none has a typical distance
_TAILS = (0.01, 0.03, 0.1)  # of all queries: the nearest ones, among which samples are counted
_NEAR = 0.01  # of held-out examples: the part that is called near
_DISCRETE = 0.005  # share of new data that equal training data, from which on values are discrete
_BATCH_VALUES = 2**22  # of candidates whose distances are computed at a time


class CopyReport(NamedTuple):
  """Holds how far samples copy training examples; shares are NaN where too few examples tell."""

  n_train: int
  exact: float  # share of samples that equal a training example, byte for byte
  exact_held_out: float  # the same of held-out examples
  near: float  # share of samples nearer to training data than all but 1 % of held-out examples
  near_held_out: float  # the same of other held-out examples: about .01
  p: float  # one-sided, of the hypothesis that samples are no nearer to training data than held-out data
  pairs: list[
    tuple[int, int, float, str]
  ]  # (sample, training example, distance, how), closest first


class _Space(NamedTuple):
  """Holds the functions that measure the distances of one kind of example."""

  describe: Callable[[np.ndarray], np.ndarray]  # examples [n, ...] to rows [n, d]
  variants: Callable[[np.ndarray], np.ndarray]  # queries [n, ...] to rows [v, n, d]
  distances: Callable[[np.ndarray, np.ndarray], np.ndarray]  # queries and rows [n, g, d] to [n, g]
  floor: float  # distance that rounding leaves
  compare: Callable[[np.ndarray, np.ndarray], tuple[float, str]]  # two examples: distance, and how


class _Training(NamedTuple):
  """Holds what a search keeps of training examples, those of equal content once."""

  hashes: np.ndarray  # uint64 [n], sorted
  numbers: np.ndarray  # of the examples in the training set
  rows: np.ndarray  # [n, d], as `_Space.describe` returns them


def search_copies(
  train: np.ndarray | Iterable[np.ndarray],
  held_out: np.ndarray,
  fake: np.ndarray,
  seed: int = 0,
  n_queries: int = N_QUERIES,
) -> CopyReport:
  """Compares samples `fake` [k, ...] with every training example, beside held-out examples [m, ...].

  Equal examples are found by a hash of their bytes. Near copies are found by `copy_distances.nearness`, which
  depends neither on the density of the data nor on how good the samples are. The distance of images, uint8
  [n, h, w, c], is that of low frequencies, the least over shifts, crops and mirror images, whatever brightness
  and contrast; of other examples it is Euclidean, in standard deviations of each coordinate. Order has no
  effect but on which of several equal examples is named.

  Held-out examples that equal a training example are not compared. If fewer than 100 are left, a tenth of the
  training examples (at most `n_queries`) is held out in their place. `p` is of two tests, with Bonferroni's
  correction: `equal_examples.compare_equality`, and whether more samples than held-out examples are among the
  nearest of both, exact where the two are exchangeable. Where more than .5 % of new data equal training data,
  as discrete data do, equal examples are no part of `near`.

  Args:
    train: all training examples, or an iterable of parts of them, which is read three times.
    held_out: examples that training has not seen.
    fake: samples; those that are not finite are ignored.
    seed: of the choice of queries.
    n_queries: samples, and held-out examples, that are searched for near copies; equal ones are in all.

  Raises ValueError for an iterator, which can be read only once.
  """
  if iter(train) is train:
    raise ValueError('train is an iterator: give an array or a list of arrays')
  space = _image_space() if _are_images(held_out) else _point_space(held_out)
  kept = np.flatnonzero(_is_finite(fake))
  all_hashes, known = _read_training(train, space)
  hashes = {'held_out': content_hashes(held_out), 'fake': content_hashes(fake[kept])}
  equal = compare_equality(all_hashes, **hashes)
  is_discrete = equal.expected > _DISCRETE
  # Of discrete data a larger set has rarer values, once equal ones are counted once.
  n_queries = min(n_queries, *map(len, hashes.values())) if is_discrete else n_queries
  fresh = np.flatnonzero(~equal.held_out) if equal.leaked else np.arange(len(held_out))
  nulls = fresh[_choose(hashes['held_out'][fresh], seed, n_queries)]
  null = held_out[nulls[~equal.held_out[nulls]]]
  chosen = _choose(hashes['fake'], seed, n_queries)
  is_equal = equal.fake[chosen]
  others = chosen[~is_equal]
  searched = known
  if len(null) < _MIN_NULL and len(known.hashes) >= 10 * _MIN_NULL:
    searched, numbers = _hold_out(known, seed, n_queries)
    null = _read_examples(train, numbers)
  exact = float(equal.fake.mean())
  near, near_held_out, p, closest = np.nan, np.nan, equal.p, {}
  if len(searched.hashes) >= _MIN_TRAIN and len(null) > 1:
    null_nearness, _ = _find_neighbours(space, searched, null)
    nearness, nearest = _find_neighbours(space, searched, fake[kept[others]])
    p = min(1.0, 2 * min(equal.p, _rank_test(nearness, null_nearness)))
    near, near_held_out = _near_shares(nearness, null_nearness)
    near = near if is_discrete else exact + (1 - exact) * near
    order = np.argsort(-nearness, kind='stable')[:_N_PAIRS]
    closest = {int(kept[others[i]]): searched.numbers[nearest[i]] for i in order}
  equals = chosen[is_equal][:_N_PAIRS]
  positions = np.searchsorted(known.hashes, hashes['fake'][equals])
  copies = dict(zip(kept[equals].tolist(), known.numbers[positions][:, None], strict=True))
  pairs = _compare_pairs(space, train, fake, copies | closest)
  shares = (exact, float(equal.held_out.mean()), near, near_held_out)
  return CopyReport(len(all_hashes), *shares, p, pairs)


def _are_images(x: np.ndarray) -> bool:
  return x.dtype == np.uint8 and x.ndim == 4


def _is_finite(x: np.ndarray) -> np.ndarray:
  finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1) if x.dtype.kind == 'f' else None
  return np.ones(len(x), bool) if finite is None else finite


def _image_space() -> _Space:
  describe = lambda images: copy_descriptors.describe_images(images).astype(np.float16)
  variants, distances = copy_descriptors.describe_variants, copy_descriptors.aligned_distances
  return _Space(describe, variants, distances, 1e-3, describe_pair)


def _point_space(held_out: np.ndarray) -> _Space:
  flat = lambda x: x.reshape(len(x), -1).astype(np.float64)
  mean, std = flat(held_out).mean(axis=0), flat(held_out).std(axis=0)
  std = np.where(std > 0, std, 1)
  describe = lambda x: np.clip((flat(x) - mean[None]) / std, -1e6, 1e6).astype(np.float32)

  def distances(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(describe(x)[:, None].astype(np.float64) - rows, axis=2)

  def compare(x: np.ndarray, example: np.ndarray) -> tuple[float, str]:
    distance = float(np.linalg.norm(x.astype(np.float64) - example))
    return distance, 'near' if distance else 'equal'

  return _Space(describe, lambda x: describe(x)[None], distances, 1e-9, compare)


def _parts(train: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """Yields training examples in parts that fit into memory several times over."""
  for part in [train] if isinstance(train, np.ndarray) else train:
    yield from split_by_bytes(part)


def _read_training(
  train: np.ndarray | Iterable[np.ndarray], space: _Space
) -> tuple[np.ndarray, _Training]:
  """Returns the hashes of all training examples, and the description of the different ones."""
  read = [(content_hashes(part), space.describe(part)) for part in _parts(train)]
  hashes, rows = (np.concatenate(column) for column in zip(*read, strict=True))
  different, numbers = np.unique(hashes, return_index=True)
  return hashes, _Training(different, numbers, rows[numbers])


def _read_examples(train: np.ndarray | Iterable[np.ndarray], numbers: np.ndarray) -> np.ndarray:
  """Returns the training examples of the given numbers, in their order."""
  first, found = 0, []
  order = np.argsort(numbers, kind='stable')
  for part in _parts(train):
    here = numbers[order][(numbers[order] >= first) & (numbers[order] < first + len(part))]
    found.append(part[here - first])
    first += len(part)
  return np.concatenate(found)[np.argsort(order, kind='stable')]


def _choose(hashes: np.ndarray, seed: int, n: int) -> np.ndarray:
  """Returns the indices of n examples drawn at random whatever their order, of equal ones the first."""
  order = np.argsort(hashes, kind='stable')
  drawn = order[np.random.default_rng(seed).permutation(len(order))[:n]]
  return drawn[np.unique(hashes[drawn], return_index=True)[1]]


def _hold_out(known: _Training, seed: int, n: int) -> tuple[_Training, np.ndarray]:
  """Returns training examples without a tenth of them, at most n, and the numbers of these."""
  order = np.random.default_rng(seed).permutation(len(known.hashes))
  removed, rest = np.split(order, [min(n, len(order) // 10)])
  return _Training(*(x[np.sort(rest)] for x in known)), known.numbers[removed]


def _find_neighbours(
  space: _Space, known: _Training, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the nearness [n] of queries and their nearest candidates [n, candidates], positions in `known`."""
  if not len(queries):
    return np.empty(0), np.empty((0, _N_CANDIDATES), np.int64)
  found = copy_distances.nearest_in_groups(space.variants(queries), known.rows)
  size = max(_BATCH_VALUES // (found.shape[1] * known.rows.shape[1]), 1)
  distances = np.concatenate(
    [
      space.distances(queries[i : i + size], known.rows[found[i : i + size]])
      for i in range(0, len(queries), size)
    ]
  )
  closest = np.argsort(distances, axis=1, kind='stable')[:, :_N_CANDIDATES]
  nearest = np.take_along_axis(found, closest, axis=1)
  return copy_distances.nearness(distances, space.floor), nearest


def _rank_test(nearness: np.ndarray, null: np.ndarray) -> float:
  """Returns the p-value that more of `nearness` [n] than of `null` [m] are among the highest of both."""
  if not len(nearness):
    return 1.0
  pooled, p_values = np.sort(np.concatenate([nearness, null]))[::-1], []
  for tail in _TAILS:
    limit = pooled[max(int(np.ceil(tail * len(pooled))), 1) - 1]
    n_highest, n_samples = int(np.sum(pooled >= limit)), int(np.sum(nearness >= limit))
    p_values.append(stats.hypergeom.sf(n_samples - 1, len(pooled), len(nearness), n_highest))
  return min(1.0, len(_TAILS) * float(min(p_values)))


def _near_shares(nearness: np.ndarray, null: np.ndarray) -> tuple[float, float]:
  """Returns the shares of `nearness` and of one half of `null` above all but 1 % of the other half."""
  calibration, rest = null[::2], null[1::2]
  rank = max(round(_NEAR * (len(calibration) + 1)), 1)
  limit = np.sort(calibration)[-rank]
  near = float(np.mean(nearness > limit)) if len(nearness) else 0.0
  return near, float(np.mean(rest > limit))


def _compare_pairs(
  space: _Space,
  train: np.ndarray | Iterable[np.ndarray],
  fake: np.ndarray,
  candidates: dict[int, np.ndarray],
) -> list[tuple[int, int, float, str]]:
  """Compares samples with their candidates, numbers of training examples, and keeps the closest pairs."""
  numbers = np.unique(np.concatenate([*candidates.values(), np.empty(0, np.int64)]))
  examples = dict(zip(numbers.tolist(), _read_examples(train, numbers), strict=True))
  pairs = []
  for sample, near in candidates.items():
    compared = [
      (number, *space.compare(fake[sample], examples[number])) for number in near.tolist()
    ]
    pairs.append((sample, *min(compared, key=lambda pair: (pair[2] == 'alike', pair[1]))))
  # The candidates come in the order of their nearness, which sorting keeps.
  ranks = {'equal': 0, 'alike': 2}
  return sorted(pairs, key=lambda pair: ranks.get(pair[3], 1))[:_N_PAIRS]
