"""Tests whether two sets differ, from a classifier's logits on held-out examples of both.

The classifier was trained on other examples, so for equal distributions the logits of both sets are
exchangeable, whatever it learned: no second training on real data is needed for the null.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

_CLIP = 10.0  # of logits in the test of means: no single example decides


class C2st(NamedTuple):
  """Holds the result of a classifier two-sample test (Lopez-Paz & Oquab, 2017)."""

  accuracy: float  # mean of the accuracies on both sets
  p: float  # one-sided p-value of the accuracy
  n: int  # examples of both sets


class HeldOutLogits(NamedTuple):
  """Holds a classifier's logits on held-out examples of two sets, positive for the first."""

  real: np.ndarray  # [n]
  fake: np.ndarray  # [m]
  real_groups: np.ndarray  # [n], equal for examples that are copies of each other
  fake_groups: np.ndarray  # [m]


class SeparationTest(NamedTuple):
  """Holds how surely a classifier separates two sets."""

  auc: float  # probability that a real example gets the larger logit; 1/2 for equal distributions
  p: float  # one-sided, of ranks and of mean logits, corrected for looking at both


def c2st(real: np.ndarray, fake: np.ndarray) -> C2st:
  """Returns the two-sample test of a classifier's logits `real` [n] and `fake` [m] on held-out examples.

  For equal distributions the accuracy is normal with mean 1/2 and variance (1/n + 1/m) / 16, the paper's
  1 / (4 (n + m)) for n = m. Raises ValueError without examples of both.
  """
  n, m = len(real), len(fake)
  if not (n and m):
    raise ValueError(f'{n} real and {m} fake logits: a test needs both')
  # A logit of 0 counts as half correct.
  correct = [np.mean(sign * x > 0) + np.mean(x == 0) / 2 for sign, x in ((1, real), (-1, fake))]
  accuracy = float(np.mean(correct))
  z = (accuracy - 0.5) / math.sqrt((1 / n + 1 / m) / 16)
  return C2st(accuracy, math.erfc(z / math.sqrt(2)) / 2, n + m)


def separation_test(folds: Sequence[HeldOutLogits]) -> SeparationTest:
  """Tests whether logits of real examples tend to be larger, over one or several cross-fitted folds.

  Two statistics: the Mann-Whitney area, and the difference of mean logits, whose permutation is that of the
  cross-entropy. Copies of an example count as one observation of several times its weight. Raises
  ValueError without two examples of both.
  """
  areas, differences = zip(*(_area_and_difference(fold) for fold in folds), strict=True)
  z = [_combined_z(estimates) for estimates in (areas, differences)]
  p = min(1.0, 2 * float(special.ndtr(-max(z))))
  return SeparationTest(0.5 + float(np.mean([area for area, _ in areas])), p)


def family_wise(p_values: Sequence[float]) -> list[float]:
  """Returns p-values [m] corrected for looking at all of them (Holm, 1979)."""
  order = np.argsort(p_values)
  corrected = np.asarray(p_values)[order] * (len(p_values) - np.arange(len(p_values)))
  corrected = np.minimum(np.maximum.accumulate(corrected), 1.0)
  result = np.empty(len(p_values))
  result[order] = corrected
  return result.tolist()


def _combined_z(estimates: Sequence[tuple[float, float]]) -> float:
  """Returns the z score of the mean of independent estimates, each (value, variance), with expectation 0."""
  values, variances = np.asarray(estimates).T
  return float(values.sum() / math.sqrt(variances.sum())) if variances.sum() > 0 else 0.0


def _area_and_difference(fold: HeldOutLogits) -> tuple[tuple[float, float], tuple[float, float]]:
  """Returns the area under the ROC curve less 1/2, and the difference of mean logits, each with a variance."""
  n, m = len(fold.real), len(fold.fake)
  if min(n, m) < 2:
    raise ValueError(f'{n} real and {m} fake logits: a test needs two of each')
  both = np.concatenate([fold.real, fold.fake]).astype(np.float64)
  # Placements of DeLong et al. (1988): the share of the other set below each example.
  above = np.searchsorted(np.sort(fold.fake), fold.real, 'left')
  below = np.searchsorted(np.sort(fold.fake), fold.real, 'right')
  real_ranks = (above + below) / (2 * m)
  above = np.searchsorted(np.sort(fold.real), fold.fake, 'left')
  below = np.searchsorted(np.sort(fold.real), fold.fake, 'right')
  fake_ranks = 1 - (above + below) / (2 * n)
  is_exchangeable = (n + m + 1) / (12 * n * m) if np.ptp(both) > 0 else 0.0
  grouped = _variance_of_mean(real_ranks, fold.real_groups)
  grouped += _variance_of_mean(fake_ranks, fold.fake_groups)
  area = (float(real_ranks.mean() - 0.5), max(is_exchangeable, grouped))
  real, fake = (np.clip(x, -_CLIP, _CLIP).astype(np.float64) for x in (fold.real, fold.fake))
  pooled = np.clip(both, -_CLIP, _CLIP).var() * (1 / n + 1 / m)
  separate = _variance_of_mean(real, fold.real_groups) + _variance_of_mean(fake, fold.fake_groups)
  return area, (float(real.mean() - fake.mean()), max(pooled, separate))


def _variance_of_mean(values: np.ndarray, groups: np.ndarray) -> float:
  """Returns the variance of the mean of values [n], of which those of one group vary together."""
  _, index = np.unique(groups, return_inverse=True)
  sums = np.bincount(index, weights=values - values.mean())
  n_groups = len(sums)
  return float(np.sum(sums**2) / len(values) ** 2 * n_groups / max(n_groups - 1, 1))
