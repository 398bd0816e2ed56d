"""Predicts verdicts by random forests on other statistics: losses, Frechet distances, precision and recall."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

Record = dict[str, Any]
_MISSING = -99.0  # a feature that a case does not have


def _loss_features(record: Record) -> list[float]:
  """Returns the losses of D and G, their change and std over the last half of a run, and mean probabilities."""
  evidence = record['evidence']
  if evidence['own'] is None:
    return [_MISSING] * 8
  final = _final_losses(evidence['histogram'])
  probabilities = [evidence['own'][f'mean_{x}'] for x in ('real', 'fake')]
  if record['losses'] is None:
    return [*final, *[_MISSING] * 4, *probabilities]
  losses = np.asarray(record['losses'], float)
  half = losses[len(losses) // 2 :]
  return [*final, *(half[-1] - half[0]), *half.std(axis=0), *probabilities]


def _final_losses(histogram: dict[str, list[float]]) -> list[float]:
  """Computes the non-saturating losses of D and of G from histograms of D's outputs."""
  edges = np.asarray(histogram['edges'])
  outputs = (edges[1:] + edges[:-1]) / 2
  on_data, on_samples = (np.asarray(histogram[name]) for name in ('train', 'fake'))
  d_loss = on_data @ np.logaddexp(0, -outputs) + on_samples @ np.logaddexp(0, outputs)
  return [float(d_loss), float(on_samples @ np.logaddexp(0, -outputs))]


def _frechet_features(record: Record) -> list[float]:
  distances = record['evidence']['frechet']
  fake, null = distances['fake'], distances['null']
  return [fake, null, fake / max(null, 1e-9)]


def _precision_recall_features(record: Record) -> list[float]:
  evidence = record['evidence']
  return [
    evidence[kind][name]
    for kind in ('manifold', 'manifold_null')
    for name in sorted(evidence[kind])
  ]


BASELINES: dict[str, Callable[[Record], list[float]]] = {
  'loss curves alone': _loss_features,
  'Frechet distance alone': _frechet_features,
  'precision, recall, density, coverage alone': _precision_recall_features,
}


def predict_verdicts(
  features: Callable[[Record], list[float]], train: Sequence[Record], test: Sequence[Record]
) -> list[str]:
  """Fits a random forest of 500 trees to `features` of the training cases, and predicts the test cases."""
  train_rows, test_rows = (
    np.nan_to_num(
      np.asarray([features(r) for r in part], float), nan=_MISSING, posinf=1e6, neginf=-1e6
    )
    for part in (train, test)
  )
  forest = RandomForestClassifier(500, random_state=0).fit(
    train_rows, [r['truth'][0] for r in train]
  )
  return [str(name) for name in forest.predict(test_rows)]
