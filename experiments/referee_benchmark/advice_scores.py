"""Scores advice by what the advised change did: how often the first one helps, and how often none was needed.

Beside any adviser stand random advice, always the same advice, a person's rule of thumb, and forests fitted to
what people look at: loss curves, a distance with its trend, precision and recall. Only runs of the half 'tune'
fit anything; the others are scored.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from . import interventions
from .accuracy_tables import format_share

Record = Mapping[str, Any]  # a line of results.jsonl
Adviser = Callable[[Record], Sequence[str]]  # changes, best first; none where nothing would help
_LARGEST = 1.5  # log-ratio that a forest sees: more is no better advice
_MISSING = -99.0
_CURVES = ('d_loss', 'g_loss', 'd_real', 'd_fake')


class AdviceScore(NamedTuple):
  """Holds how good the advice of one method was."""

  helped: float  # runs whose first advice helps, among `n`: a number of runs, or its expectation
  n: int  # runs where any change helps
  needless: float  # runs without advice, among `n_nothing`
  n_nothing: int  # runs where no change helps
  log_ratio: float  # mean log-ratio of the first advice in the `n` runs, 0 where there was none

  @property
  def share(self) -> float:
    """Returns the share of runs whose first advice helps, among those where any change does."""
    return self.helped / max(self.n, 1)


def compact_record(record: Record) -> dict[str, Any]:
  """Returns the part of a result that scores and baselines need, with rounded numbers."""
  keys = ('name', 'world', 'kind', 'half', 'held_out_kind', 'helps')
  summary = record['summary']
  effects = {
    name: {key: effect[key] for key in ('log_ratio', 'error', 'log_ratio_start')}
    for name, effect in record['effects'].items()
  }
  kept = ('step', 'diverged', 'log_distance', 'log_distance_ema', 'distances', 'precision_recall')
  curve = {name: summary['curve'].get(name, []) for name in _CURVES}
  parts = {name: summary[name] for name in kept} | {'curve': curve}
  parts['distance_curve'] = [[row[0], row[-1]] for row in summary['distance_curve']]
  return {key: record[key] for key in keys} | _rounded({'effects': effects, 'summary': parts})


def _rounded(tree: Any) -> Any:
  """Returns a JSON tree with numbers of four significant digits."""
  if isinstance(tree, dict):
    return {key: _rounded(value) for key, value in tree.items()}
  if isinstance(tree, list):
    return [_rounded(value) for value in tree]
  return float(f'{tree:.4g}') if isinstance(tree, float) else tree


def helping_changes(record: Record, left_out: frozenset[str] = frozenset()) -> list[str]:
  """Returns the changes that help a run, best first."""
  return [name for name in record['helps'] if name not in left_out]


def applicable(record: Record, left_out: frozenset[str] = frozenset()) -> list[str]:
  """Returns the changes that were tried in forks of a run."""
  return [x for x in record['effects'] if x != interventions.UNCHANGED and x not in left_out]


def score_advice(
  records: Sequence[Record], advise: Adviser, left_out: frozenset[str] = frozenset()
) -> AdviceScore:
  """Scores the first advice that `advise` gives for each run, without the changes in `left_out`.

  Changes that were not tried in a run are passed over, because nobody knows what they would have done.
  """
  helped, ratios, needless, n, n_nothing = 0, [], 0, 0, 0
  for record in records:
    tried = set(applicable(record, left_out))
    first = next((name for name in advise(record) if name in tried), None)
    helps = helping_changes(record, left_out)
    if not helps:
      n_nothing += 1
      needless += first is None
      continue
    n += 1
    helped += first in helps
    ratios.append(0.0 if first is None else record['effects'][first]['log_ratio'])
  return AdviceScore(helped, n, needless, n_nothing, float(np.mean(ratios)) if ratios else math.nan)


def score_random_advice(
  records: Sequence[Record], left_out: frozenset[str] = frozenset()
) -> AdviceScore:
  """Returns the expected score of a change drawn uniformly among those that were tried."""
  pairs = [(helping_changes(r, left_out), applicable(r, left_out), r['effects']) for r in records]
  sick = [pair for pair in pairs if pair[0]]
  helped = sum(len(helps) / len(tried) for helps, tried, _ in sick)
  ratios = [np.mean([effects[x]['log_ratio'] for x in tried]) for _, tried, effects in sick]
  mean = float(np.mean(ratios)) if ratios else math.nan
  return AdviceScore(helped, len(sick), 0, len(pairs) - len(sick), mean)


def same_advice(records: Sequence[Record], left_out: frozenset[str] = frozenset()) -> Adviser:
  """Returns the adviser that always gives the changes that helped most of `records`, in this order."""
  counts: dict[str, int] = {}
  for record in records:
    for name in helping_changes(record, left_out):
      counts[name] = counts.get(name, 0) + 1
  ranked = sorted(counts, key=lambda name: (-counts[name], name))
  return lambda record: ranked


def rule_of_thumb(record: Record) -> list[str]:
  """Returns what an experienced person tries after a look at losses, D's probabilities and the distance.

  In this order: a run that broke off, or whose losses jump, gets lower rates; a D that is certain gets a lower
  rate or a penalty; a D near chance on both sets is made stronger; samples without variety get another loss
  and larger minibatches; a distance that still falls needs time only; else both networks are made larger.
  """
  summary = record['summary']
  curve, scores = summary['curve'], summary['precision_recall']
  last = lambda name: curve[name][-1] if curve.get(name) else math.nan
  d_losses = np.asarray(curve.get('d_loss', [math.nan]), float)
  jumps = float(np.std(d_losses[len(d_losses) // 2 :])) > 0.5
  if summary['diverged'] or jumps:
    return ['lower_rates', 'no_momentum', 'penalty_up']
  if last('d_real') > 0.9 and last('d_fake') < 0.1:
    return ['d_lr_down', 'penalty_up', 'other_loss']
  if abs(last('d_real') - last('d_fake')) < 0.05:
    return ['more_d_updates', 'd_lr_up', 'larger_d']
  if scores and scores[1] is not None and scores[1] < 0.3 * (scores[0] or 0):
    return ['other_loss', 'larger_batch', 'lower_rates']
  if _recent_trend(summary) < -0.2:
    return []
  return ['larger_g', 'larger_d', 'lower_rates']


def _distances(summary: Mapping[str, Any]) -> list[float]:
  """Returns the logarithms of the distances during a run, at equal intervals."""
  return [float(x[-1]) for x in summary['distance_curve'] if x[-1] is not None]


def _recent_trend(summary: Mapping[str, Any]) -> float:
  logs = _distances(summary)
  return logs[-1] - logs[-2] if len(logs) > 1 else math.nan


def _loss_features(record: Record) -> list[float]:
  """Returns the end, the change and the spread of losses and of D's mean probabilities over the last half."""
  features = [float(record['summary']['diverged'])]
  for name in _CURVES:
    values = np.asarray(record['summary']['curve'].get(name, []), float)
    half = values[len(values) // 2 :]
    features += [half[-1], half[-1] - half[0], half.std()] if len(half) else [_MISSING] * 3
  return features


def _distance_features(record: Record) -> list[float]:
  summary = record['summary']
  logs = _distances(summary)
  best = min(logs, default=_MISSING)
  return [
    summary['log_distance'] or _MISSING,
    _recent_trend(summary),
    best,
    *(logs[:1] or [_MISSING]),
  ]


def _precision_features(record: Record) -> list[float]:
  return [_MISSING if x is None else float(x) for x in record['summary']['precision_recall']]


FEATURES: dict[str, Callable[[Record], list[float]]] = {
  'loss curves': _loss_features,
  'distance and its trend': _distance_features,
  'precision, recall, density, coverage': _precision_features,
}


def fit_adviser(
  features: Callable[[Record], list[float]],
  records: Sequence[Record],
  left_out: frozenset[str] = frozenset(),
) -> Adviser:
  """Fits a random forest from `features` to the log-ratios of all changes; advises those it expects to help.

  The log-ratio from which on it gives no advice is the one that is right most often, out of bag.
  """
  names = sorted({name for record in records for name in applicable(record, left_out)})
  rows = np.asarray([_finite(features(record)) for record in records])
  effect = lambda record, name: record['effects'].get(name, {'log_ratio': 0.0})['log_ratio']
  targets = np.asarray([[effect(record, name) for name in names] for record in records])
  forest = RandomForestRegressor(300, min_samples_leaf=3, oob_score=True, random_state=0, n_jobs=1)
  forest.fit(rows, np.clip(targets, -_LARGEST, _LARGEST).squeeze())
  expected = forest.oob_prediction_.reshape(len(records), len(names))
  thresholds = np.linspace(-0.6, 0.1, 29)
  right = [_n_right(records, names, expected, threshold, left_out) for threshold in thresholds]
  threshold = float(thresholds[int(np.argmax(right))])

  def advise(record: Record) -> list[str]:
    predicted = forest.predict([_finite(features(record))]).reshape(-1)
    return _rank(names, predicted, threshold)

  return advise


def _finite(features: Sequence[float]) -> np.ndarray:
  return np.nan_to_num(np.asarray(features, float), nan=_MISSING, posinf=1e6, neginf=-1e6)


def _rank(names: Sequence[str], expected: np.ndarray, threshold: float) -> list[str]:
  """Returns the names whose expected log-ratio is below the threshold, lowest first."""
  order = np.argsort(expected, kind='stable')
  return [names[i] for i in order if expected[i] < threshold]


def _n_right(
  records: Sequence[Record],
  names: Sequence[str],
  expected: np.ndarray,
  threshold: float,
  left_out: frozenset[str],
) -> float:
  by_run = {
    record['name']: _rank(names, row, threshold)
    for record, row in zip(records, expected, strict=True)
  }
  score = score_advice(records, lambda record: by_run[record['name']], left_out)
  return score.helped + score.needless


def compare_advisers(
  records: Sequence[Record], others: Mapping[str, Adviser], left_out: frozenset[str] = frozenset()
) -> dict[str, AdviceScore]:
  """Scores `others` and the baselines on the half 'test'; the baselines are fitted to the half 'tune'."""
  tune = [record for record in records if record['half'] == 'tune']
  test = [record for record in records if record['half'] == 'test']
  advisers: dict[str, Adviser] = {
    **others,
    **{name: fit_adviser(features, tune, left_out) for name, features in FEATURES.items()},
    'rule of thumb': rule_of_thumb,
    'always the same': same_advice(tune, left_out),
  }
  scores = {name: score_advice(test, advise, left_out) for name, advise in advisers.items()}
  return scores | {'random': score_random_advice(test, left_out)}


def format_advice_table(scores: Mapping[str, AdviceScore]) -> str:
  """Formats a table in Markdown: shares with exact intervals of 95 %, and the mean effect of the advice."""
  lines = [
    '| | first advice helps, where any does | no advice, where none helps | distance |',
    '|---|---|---|---|',
  ]
  for name, score in scores.items():
    helps = format_share(round(score.helped), score.n)
    nothing = format_share(round(score.needless), score.n_nothing)
    lines.append(f'| {name} | {helps} | {nothing} | x {math.exp(score.log_ratio):.2f} |')
  return '\n'.join(lines)
