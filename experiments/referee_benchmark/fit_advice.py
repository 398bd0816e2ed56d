"""Fits the weights by which the referee predicts what a change does, to one half of the real runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from gan_jax.diagnosis.change_advice import UNCHANGED, design_row
from gan_jax.diagnosis.run_features import RunFeatures

_LIMIT = 1.5  # to which log-ratios are clipped, so that no diverged fork decides
_SHARED = 0.5  # scale of the weights that all changes share, against those of one change
RIDGES = (1.0, 3.0, 10.0, 30.0)


class JudgedRun(NamedTuple):
  """Holds what the referee sees of a run, and what changes did to it."""

  name: str
  features: RunFeatures
  usual: dict[str, float]  # `distance_from_usual` by change
  effects: dict[str, dict[str, Any]]  # as in a result of the interventions


def effect(run: JudgedRun, change: str) -> float:
  """Returns the measured log-ratio of a change; of going on unchanged, that against the start."""
  values = run.effects[change]
  return float(values['log_ratio_start' if change == UNCHANGED else 'log_ratio'])


def fit_weights(runs: Sequence[JudgedRun], ridge: float) -> dict[str, np.ndarray]:
  """Returns the weights of each change, by a ridge regression in which changes share a part of them."""
  changes = sorted({change for run in runs for change in run.effects})
  size = len(design_row(runs[0].features, 0.0))
  rows, targets = [], []
  for run in runs:
    for change in run.effects:
      row = design_row(run.features, run.usual.get(change, 0.0))
      own = np.zeros((len(changes), size))
      own[changes.index(change)] = row
      shared = _SHARED * row[-1:]  # the pull towards usual settings
      rows.append(np.concatenate([shared, own.ravel()]))
      targets.append(np.clip(effect(run, change), -_LIMIT, _LIMIT))
  x, y = np.asarray(rows), np.asarray(targets)
  penalty = np.full(x.shape[1], ridge)
  penalty[1::size] = 0.1 * ridge  # of constants
  solution = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y)
  own = solution[1:].reshape(len(changes), size)
  own[:, -1] += _SHARED * solution[0]
  return dict(zip(changes, own, strict=True))


def predict(weights: dict[str, np.ndarray], run: JudgedRun) -> dict[str, float]:
  """Returns the predicted log-ratio of each change that was tried on a run."""
  row = lambda change: design_row(run.features, run.usual.get(change, 0.0))
  return {
    change: float(row(change) @ weights[change]) for change in run.effects if change in weights
  }


def left_out_predictions(runs: Sequence[JudgedRun], ridge: float) -> list[dict[str, float]]:
  """Returns the predictions for each run by weights fitted to the other ones."""
  others = lambda i: [run for j, run in enumerate(runs) if j != i]
  return [predict(fit_weights(others(i), ridge), run) for i, run in enumerate(runs)]


def fit_calibration(
  runs: Sequence[JudgedRun], predictions: Sequence[dict[str, float]]
) -> tuple[float, float]:
  """Returns slope and offset of the log-odds that a change helps, given its predicted log-ratio."""
  pairs = [
    (predicted, bool(run.effects[change]['helps']))
    for run, by_change in zip(runs, predictions, strict=True)
    for change, predicted in by_change.items()
    if change != UNCHANGED
  ]
  x, y = (np.asarray(column) for column in zip(*pairs, strict=True))
  model = LogisticRegression(C=10.0).fit(x[:, None], y)
  return float(model.coef_[0, 0]), float(model.intercept_[0])


def squared_error(runs: Sequence[JudgedRun], predictions: Sequence[dict[str, float]]) -> float:
  """Returns the mean squared error of predicted log-ratios."""
  errors = [
    np.clip(effect(run, change), -_LIMIT, _LIMIT) - predicted
    for run, by_change in zip(runs, predictions, strict=True)
    for change, predicted in by_change.items()
  ]
  return float(np.mean(np.square(errors)))
