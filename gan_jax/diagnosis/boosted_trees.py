"""Fits boosted trees of scikit-learn: a classifier of rows of statistics, few of which need to matter."""

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gan_jax.diagnosis.probe_calibration import calibrated_cross_entropy

if TYPE_CHECKING:
  from sklearn.ensemble import HistGradientBoostingClassifier

_MAX_TREES = 200
_PATIENCE = 25  # trees without a better validation cross-entropy
_SETTINGS = {
  **dict(learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=6, l2_regularization=2.0),
  **dict(max_features=0.35, max_bins=63),
}


class BoostedTrees(NamedTuple):
  """Holds a fitted ensemble, and how many of its trees count."""

  ensemble: 'HistGradientBoostingClassifier'
  n_trees: int


def fit_boosted_trees(
  seed: int,
  train: tuple[np.ndarray, np.ndarray],
  validation: tuple[np.ndarray, np.ndarray],
) -> BoostedTrees:
  """Fits trees to (real [n, d], fake [m, d]) by gradient boosting of the cross-entropy (Friedman, 2001).

  The number of trees is the best by the calibrated cross-entropy on `validation`; calibration also makes up
  for sets of unequal size.
  """
  from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to import

  (x, y), (held_out, held_out_labels) = (_rows_and_labels(part) for part in (train, validation))
  ensemble = HistGradientBoostingClassifier(
    max_iter=_MAX_TREES,
    n_iter_no_change=_PATIENCE,
    early_stopping=True,
    random_state=seed,
    **_SETTINGS,
  )
  ensemble.fit(x, y, X_val=held_out, y_val=held_out_labels)
  losses = [
    calibrated_cross_entropy(logits[held_out_labels == 1], logits[held_out_labels == 0])
    for logits in ensemble.staged_decision_function(held_out)
  ]
  return BoostedTrees(ensemble, int(np.argmin(losses)) + 1)


def predict_logits(model: BoostedTrees, rows: np.ndarray) -> np.ndarray:
  """Returns the logits [n] of rows [n, d], positive for real ones."""
  stages = model.ensemble.staged_decision_function(rows)
  return next(itertools.islice(stages, model.n_trees - 1, None))


def _rows_and_labels(parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  return np.concatenate(parts), np.repeat([1, 0], [len(part) for part in parts])
