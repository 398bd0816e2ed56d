"""Tests whether two distributions differ, from a classifier's logits on held-out examples of both."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class JsdBound(NamedTuple):
  """Holds a lower bound on the Jensen-Shannon divergence in nats, with its 95 % bootstrap interval."""

  value: float
  low: float
  high: float


def jsd_bound(
  real: np.ndarray,
  fake: np.ndarray,
  seed: int = 0,
  n_draws: int = 500,
  groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> JsdBound:
  """Returns log 2 - L as a lower bound on JSD(p, q), L the classifier's mean cross-entropy on both sets.

  L >= log 2 - JSD for any classifier (theorem 1 of Goodfellow et al., 2014), on average over examples that it
  was not trained on. Logits are `real` [n] and `fake` [m], positive for real. Not clipped: below 0, the
  classifier is worse than a constant 1/2. The interval resamples `groups` ([n], [m]; by default single
  examples), of which each holds copies of one example. Raises ValueError without examples of both.
  """
  if not (len(real) and len(fake)):
    raise ValueError(f'{len(real)} real and {len(fake)} fake logits: a bound needs both')
  terms = [math.log(2) - np.logaddexp(0, -np.asarray(x, np.float64)) for x in (real, -fake)]
  value = float(np.mean([x.mean() for x in terms]))
  rng = np.random.default_rng([seed, len(real), len(fake)])
  groups = groups or (np.arange(len(real)), np.arange(len(fake)))
  means = [_bootstrap_means(rng, *pair, n_draws) for pair in zip(terms, groups, strict=True)]
  low, high = np.quantile((means[0] + means[1]) / 2, [0.025, 0.975])
  return JsdBound(value, min(float(low), value), max(float(high), value))


def combine_bounds(bounds: Sequence[JsdBound]) -> JsdBound:
  """Returns the mean of cross-fitted bounds; the interval holds their spread, thus that of training, too."""
  values = np.asarray([bound.value for bound in bounds])
  half_widths = np.asarray([(bound.high - bound.low) / 2 for bound in bounds]) / 1.96
  k = len(bounds)
  if k == 1:
    return bounds[0]
  within = np.sum(half_widths**2) / k**2
  error = math.sqrt(max(within, values.var(ddof=1) / k))
  value = float(values.mean())
  return JsdBound(value, value - 1.96 * error, value + 1.96 * error)


def _bootstrap_means(
  rng: np.random.Generator, values: np.ndarray, groups: np.ndarray, n_draws: int
) -> np.ndarray:
  """Returns the means of bootstrap resamples of groups of `values` [n]: [n_draws]."""
  _, index = np.unique(groups, return_inverse=True)
  sums, counts = np.bincount(index, weights=values), np.bincount(index)
  weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=n_draws)
  return weights @ sums / (weights @ counts)


def roc_auc(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """Returns the area under the ROC curve of `a` [n] against `b` [m], and its std for equal distributions.

  The area is P(a_i > b_j) + P(a_i = b_j) / 2: 1/2 for equal distributions.
  """
  n, m = len(a), len(b)
  _, order, counts = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
  ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]
  area = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
  return float(area), math.sqrt((n + m + 1) / (12 * n * m))


def platt_scaling(real: np.ndarray, fake: np.ndarray, steps: int = 50) -> tuple[float, float]:
  """Returns the slope (>= 0) and offset that calibrate a discriminator's outputs into logits (Platt, 1999).

  Fits a logistic regression of real [n] against fake [m] outputs, both classes weighted equally, by `steps`
  Newton steps. A ridge keeps the slope of separable outputs finite, and that of few outputs small.
  """
  scale = float(np.std(np.concatenate([real, fake]))) or 1.0
  x = np.concatenate([real, fake]).astype(np.float64) / scale
  inputs = np.stack([x, np.ones_like(x)], axis=1)
  target = np.concatenate([np.ones(len(real)), np.zeros(len(fake))])
  weights = np.concatenate([np.full(len(s), 0.5 / len(s)) for s in (real, fake)])
  theta, ridge = np.zeros(2), max(1e-4, 15 / len(x) ** 2) * np.eye(2)
  for _ in range(steps):
    probabilities = 1 / (1 + np.exp(-np.clip(inputs @ theta, -50, 50)))
    gradient = inputs.T @ (weights * (probabilities - target)) + ridge @ theta
    hessian = (inputs * (weights * probabilities * (1 - probabilities))[:, None]).T @ inputs + ridge
    step = np.linalg.solve(hessian, gradient)
    theta -= step / max(1.0, np.abs(step).max() / 4)
  return (float(theta[0]) / scale, float(theta[1])) if theta[0] > 0 else (0.0, 0.0)
