"""Fits boosted decision trees: a classifier of rows of statistics, few of which need to matter."""

from typing import NamedTuple

import numpy as np

_N_BINS = 32  # of each statistic, by quantiles
_DEPTH = 3
_N_TREES = 200
_RATE = 0.1
_N_ROWS = 3000  # most rows that a tree is fitted to
_COLUMN_SHARE = 0.35  # of the statistics, drawn for each tree
_MIN_COLUMNS = 32  # drawn where there are as many
_RIDGE = 2.0  # of the values of leaves
_MIN_ROWS = 6.0  # of a leaf
_PATIENCE = 25  # trees without a better validation cross-entropy


class Tree(NamedTuple):
  """Holds a complete binary tree of `_DEPTH` levels; a row goes right where its bin is above the threshold."""

  columns: np.ndarray  # int [2**depth - 1]
  thresholds: np.ndarray  # int [2**depth - 1], bins
  values: np.ndarray  # float [2**depth], of leaves


class BoostedTrees(NamedTuple):
  """Holds the edges of bins [d, bins - 1] and the trees, whose sum is the logit."""

  edges: np.ndarray
  trees: list[Tree]


def fit_boosted_trees(
  seed: int,
  train: tuple[np.ndarray, np.ndarray],
  validation: tuple[np.ndarray, np.ndarray],
) -> BoostedTrees:
  """Fits trees to (real [n, d], fake [m, d]) by gradient boosting of the cross-entropy (Friedman, 2001).

  Both classes weigh the same. Each tree sees some of the rows and of the columns; their number is the best by
  cross-entropy on `validation`.
  """
  rng = np.random.default_rng([seed, 0x7EE5])
  rows = np.concatenate(train)
  edges = _bin_edges(rows)
  bins = [_to_bins(edges, x) for x in (rows, np.concatenate(validation))]
  target, weights = _targets(train)
  held_target, held_weights = _targets(validation)
  logits, held_logits = np.zeros(len(rows)), np.zeros(len(bins[1]))
  trees: list[Tree] = []
  best, n_best = np.log(2.0), 0
  for _ in range(_N_TREES):
    probability = 1 / (1 + np.exp(-logits))
    gradients = weights * (target - probability)
    chosen = _draw_rows(rng, len(rows))
    columns = rng.permutation(rows.shape[1])[
      : max(_MIN_COLUMNS, int(_COLUMN_SHARE * rows.shape[1]))
    ]
    hessians = weights * probability * (1 - probability)
    tree = _fit_tree(bins[0][chosen], gradients[chosen], hessians[chosen], columns)
    trees.append(tree)
    logits += tree.values[_leaves(tree, bins[0])]
    held_logits += tree.values[_leaves(tree, bins[1])]
    loss = _cross_entropy(held_logits, held_target, held_weights)
    if loss < best - 1e-6:
      best, n_best = loss, len(trees)
    if len(trees) - n_best >= _PATIENCE or best < 1e-3:
      break
  return BoostedTrees(edges, trees[: max(n_best, 5)])


def predict_logits(model: BoostedTrees, rows: np.ndarray) -> np.ndarray:
  """Returns the logits [n] of rows [n, d]."""
  bins = _to_bins(model.edges, rows)
  return np.sum([tree.values[_leaves(tree, bins)] for tree in model.trees], axis=0)


def _bin_edges(rows: np.ndarray) -> np.ndarray:
  quantiles = np.quantile(
    rows[:20_000], np.linspace(0, 1, _N_BINS + 1)[1:-1], axis=0, method='linear'
  )
  return quantiles.T.astype(np.float32)


def _to_bins(edges: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Returns the bin of each value of rows [n, d], uint8 [n, d]: values equal to an edge lie below it."""
  columns = [np.searchsorted(edge, x, 'left') for edge, x in zip(edges, rows.T, strict=True)]
  return np.stack(columns, axis=1).astype(np.uint8)


def _targets(parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  sizes = [len(part) for part in parts]
  target = np.repeat([1.0, 0.0], sizes)
  return target, np.repeat([sum(sizes) / (2 * max(size, 1)) for size in sizes], sizes)


def _cross_entropy(logits: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
  losses = np.logaddexp(0, np.where(target > 0, -logits, logits))
  return float((weights * losses).sum() / weights.sum())


def _draw_rows(rng: np.random.Generator, n: int) -> np.ndarray:
  return rng.permutation(n)[: min(_N_ROWS, max(int(0.7 * n), 1))]


def _fit_tree(
  bins: np.ndarray, gradients: np.ndarray, hessians: np.ndarray, columns: np.ndarray
) -> Tree:
  """Fits a tree level by level: each node takes the split that gains most."""
  n_nodes = 2**_DEPTH - 1
  split_columns, thresholds = np.zeros(n_nodes, int), np.full(n_nodes, _N_BINS)
  chosen = bins[:, columns].astype(np.int32)
  offsets = (np.arange(len(columns), dtype=np.int32) * _N_BINS)[None]
  flat = chosen + offsets
  node = np.zeros(len(bins), int)
  for level in range(_DEPTH):
    first, width = 2**level - 1, len(columns) * _N_BINS
    keys = (flat + (node[:, None] * width).astype(np.int32)).ravel()
    size = 2**level * width
    repeated = np.broadcast_to(gradients[:, None], flat.shape).ravel()
    g = np.bincount(keys, weights=repeated, minlength=size).reshape(2**level, len(columns), _N_BINS)
    n = np.bincount(keys, minlength=size).reshape(g.shape)
    g, n = g.cumsum(axis=2), n.cumsum(axis=2)
    for k in range(2**level):
      column, threshold = _best_split(g[k], n[k])
      split_columns[first + k], thresholds[first + k] = columns[column], threshold
    i = first + node
    node = 2 * node + (bins[np.arange(len(bins)), split_columns[i]] > thresholds[i])
  sums = np.bincount(node, weights=gradients, minlength=2**_DEPTH)
  curvature = np.bincount(node, weights=hessians, minlength=2**_DEPTH)
  values = _RATE * np.clip(sums / (curvature + _RIDGE), -4, 4)
  return Tree(split_columns, thresholds, values)


def _best_split(g: np.ndarray, n: np.ndarray) -> tuple[int, int]:
  """Returns the column and the bin of the best split, from cumulative gradients and counts [columns, bins]."""
  total_g, total_n = g[0, -1], n[0, -1]
  right_g, right_n = total_g - g, total_n - n
  # A quarter: the largest curvature of the cross-entropy.
  gain = g**2 / (n / 4 + _RIDGE) + right_g**2 / (right_n / 4 + _RIDGE)
  gain = np.where((n >= _MIN_ROWS) & (right_n >= _MIN_ROWS), gain, -np.inf)
  best = int(np.argmax(gain))
  if not np.isfinite(gain.flat[best]):
    return 0, _N_BINS
  return best // _N_BINS, best % _N_BINS


def _leaves(tree: Tree, bins: np.ndarray) -> np.ndarray:
  node, row = np.zeros(len(bins), int), np.arange(len(bins))
  for _ in range(_DEPTH):
    node = 2 * node + 1 + (bins[row, tree.columns[node]] > tree.thresholds[node])
  return node - (2**_DEPTH - 1)
