"""Which differences between settings are real: intervals over seeds, and rank tests."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # below which a corrected p counts as a difference


class Summary(NamedTuple):
  """What the seeds of a setting reached; values that are not finite are counted and left out."""

  n: int
  lost: int
  mean: float
  deviation: float
  low: float  # of the 95 % interval of the mean
  high: float
  median: float


class Pair(NamedTuple):
  """Two settings, the one with the better median first."""

  better: str
  worse: str
  p: float  # two-sided, Mann & Whitney (1947)
  corrected: float  # over all pairs, Holm (1979)

  @property
  def real(self) -> bool:
    """Whether chance is no good explanation."""
    return self.corrected < LEVEL


def summarize(values: Sequence[float]) -> Summary:
  """Mean, deviation and Student's interval of the mean over seeds."""
  good = [x for x in values if math.isfinite(x)]
  n, lost = len(good), len(values) - len(good)
  if not good:
    return Summary(0, lost, *([math.nan] * 5))
  mean = statistics.mean(good)
  if n == 1:
    return Summary(1, lost, mean, math.nan, math.nan, math.nan, mean)
  deviation = statistics.stdev(good)
  half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
  return Summary(n, lost, mean, deviation, mean - half, mean + half, statistics.median(good))


def holm(p: Sequence[float]) -> list[float]:
  """P-values corrected for their number, step by step: Holm (1979)."""
  order = np.argsort(p)
  corrected = np.empty(len(p))
  largest = 0.0
  for place, i in enumerate(order):
    largest = max(largest, min(1.0, (len(p) - place) * p[i]))
    corrected[i] = largest
  return [float(x) for x in corrected]


def pairs(values: Mapping[str, Sequence[float]], higher_is_better: bool) -> list[Pair]:
  """Every two settings compared by ranks, the surest difference first.

  A run that diverged has the worst rank. Two settings of fewer than two runs each say nothing and are
  left out.
  """
  worst = -math.inf if higher_is_better else math.inf
  ranked = {k: [x if math.isfinite(x) else worst for x in v] for k, v in values.items()}
  ranked = {k: v for k, v in ranked.items() if len(v) > 1}
  found: list[tuple[str, str, float]] = []
  for a, b in itertools.combinations(ranked, 2):
    x, y = ranked[a], ranked[b]
    same = len({*x, *y}) == 1
    # Ranks only, so that infinities are numbers like any other.
    ranks = stats.rankdata([*x, *y])
    p = 1.0 if same else float(stats.mannwhitneyu(ranks[: len(x)], ranks[len(x) :]).pvalue)
    first_wins = np.median(ranks[: len(x)]) > np.median(ranks[len(x) :])
    found.append((a, b, p) if first_wins == higher_is_better else (b, a, p))
  corrected = holm([p for *_, p in found])
  every = [Pair(a, b, p, q) for (a, b, p), q in zip(found, corrected, strict=True)]
  return sorted(every, key=lambda pair: (pair.corrected, pair.p))
