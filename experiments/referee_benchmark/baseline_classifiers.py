"""What else one might look at, each read by a forest: losses, a Frechet distance, precision and its kin."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

Record = dict[str, Any]
_UNKNOWN = -99.0  # of a number that a case does not have


def _loss_curves(record: Record) -> list[float]:
  """Losses of D and G, their course and unrest over the last half of a run, and mean D(x) and D(G(z))."""
  evidence = record['evidence']
  if evidence['own'] is None:
    return [_UNKNOWN] * 8
  now, beliefs = (
    _losses(evidence['histogram']),
    [evidence['own'][f'mean_{x}'] for x in ('real', 'fake')],
  )
  if record['losses'] is None:
    return [*now, *[_UNKNOWN] * 4, *beliefs]
  course = np.asarray(record['losses'], float)
  half = course[len(course) // 2 :]
  return [*now, *(half[-1] - half[0]), *half.std(axis=0), *beliefs]


def _losses(histogram: dict[str, list[float]]) -> list[float]:
  """The losses of D and of G in the non-saturating game, from histograms of D's outputs."""
  edges = np.asarray(histogram['edges'])
  outputs = (edges[1:] + edges[:-1]) / 2
  on_data, on_samples = (np.asarray(histogram[name]) for name in ('train', 'fake'))
  d_loss = on_data @ np.logaddexp(0, -outputs) + on_samples @ np.logaddexp(0, outputs)
  return [float(d_loss), float(on_samples @ np.logaddexp(0, -outputs))]


def _frechet(record: Record) -> list[float]:
  found = record['evidence']['frechet']
  return [found['fake'], found['null'], found['fake'] / max(found['null'], 1e-9)]


def _manifold(record: Record) -> list[float]:
  evidence = record['evidence']
  return [
    evidence[kind][name]
    for kind in ('manifold', 'manifold_null')
    for name in sorted(evidence[kind])
  ]


BASELINES: dict[str, Callable[[Record], list[float]]] = {
  'loss curves alone': _loss_curves,
  'Frechet distance alone': _frechet,
  'precision, recall, density, coverage alone': _manifold,
}


def predict_verdicts(
  read: Callable[[Record], list[float]], known: Sequence[Record], asked: Sequence[Record]
) -> list[str]:
  """What a forest of 500 trees, grown on the `known` cases with their truth, says of those `asked`."""
  rows = [np.nan_to_num(np.asarray([read(r) for r in part], float), nan=_UNKNOWN, posinf=1e6, neginf=-1e6)
          for part in (known, asked)]  # fmt: skip
  forest = RandomForestClassifier(500, random_state=0).fit(rows[0], [r['truth'][0] for r in known])
  return [str(name) for name in forest.predict(rows[1])]
