"""Tests which differences between settings are significant: confidence intervals over seeds, and rank tests."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # a corrected p below it is significant


class SeedSummary(NamedTuple):
  """Holds statistics of a metric over the seeds of a setting; values that are not finite are left out."""

  n: int  # finite values
  lost: int  # other values
  mean: float
  deviation: float
  low: float  # of the 95 % confidence interval of the mean
  high: float
  median: float


class PairTest(NamedTuple):
  """Holds the comparison of two settings, the one with the better median first."""

  better: str
  worse: str
  p: float  # two-sided, Mann & Whitney (1947)
  corrected: float  # over all pairs, Holm (1979)

  @property
  def significant(self) -> bool:
    """Returns whether the corrected p is below LEVEL."""
    return self.corrected < LEVEL


def summarize_seeds(values: Sequence[float]) -> SeedSummary:
  """Returns mean, standard deviation and Student's confidence interval of the mean over seeds."""
  finite = [x for x in values if math.isfinite(x)]
  n, lost = len(finite), len(values) - len(finite)
  if not finite:
    return SeedSummary(0, lost, *([math.nan] * 5))
  mean = statistics.mean(finite)
  if n == 1:
    return SeedSummary(1, lost, mean, math.nan, math.nan, math.nan, mean)
  deviation = statistics.stdev(finite)
  half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
  return SeedSummary(n, lost, mean, deviation, mean - half, mean + half, statistics.median(finite))


def holm_correction(p: Sequence[float]) -> list[float]:
  """Returns p-values corrected for their number by the step-down procedure of Holm (1979)."""
  corrected, largest = np.empty(len(p)), 0.0
  for rank, i in enumerate(np.argsort(p)):
    largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
    corrected[i] = largest
  return [float(x) for x in corrected]


def compare_pairs(values: Mapping[str, Sequence[float]], higher_is_better: bool) -> list[PairTest]:
  """Returns a rank test of every pair of settings, in order of rising p.

  `values` are the metrics of the seeds of each setting. A run without a finite metric has the worst rank.
  Settings with fewer than two runs are left out.
  """
  worst = -math.inf if higher_is_better else math.inf
  ranked = {k: [x if math.isfinite(x) else worst for x in v] for k, v in values.items()}
  ranked = {k: v for k, v in ranked.items() if len(v) > 1}
  pairs: list[tuple[str, str, float]] = []
  for a, b in itertools.combinations(ranked, 2):
    x, y = ranked[a], ranked[b]
    same = len({*x, *y}) == 1
    ranks = stats.rankdata([*x, *y])  # the test takes ranks for values, so infinities do no harm
    p = 1.0 if same else float(stats.mannwhitneyu(ranks[: len(x)], ranks[len(x) :]).pvalue)
    first_is_higher = np.median(ranks[: len(x)]) > np.median(ranks[len(x) :])
    pairs.append((a, b, p) if first_is_higher == higher_is_better else (b, a, p))
  corrected = holm_correction([p for *_, p in pairs])
  tests = [PairTest(a, b, p, q) for (a, b, p), q in zip(pairs, corrected, strict=True)]
  return sorted(tests, key=lambda test: (test.corrected, test.p))
