"""Whether two sets of examples differ, from the logits that a classifier gives to held-out ones."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class JsdBound(NamedTuple):
  """A lower bound on the Jensen-Shannon divergence in nats, with a bootstrap interval of 95 %."""

  value: float
  low: float
  high: float


class C2st(NamedTuple):
  """A classifier two-sample test (Lopez-Paz & Oquab, 2017)."""

  accuracy: float  # mean of the accuracies on either set
  p: float  # of so much accuracy by chance, one-sided
  n: int  # examples of both sets


def jsd_bound(real: np.ndarray, fake: np.ndarray, seed: int = 0, n_draws: int = 500) -> JsdBound:
  """Log 2 - L, L the mean cross-entropy of logits `real` [n] and `fake` [m] on the equal mixture.

  No classifier's L is below log 2 - JSD (theorem 1 of Goodfellow et al., 2014), so with logits of
  examples that it was not trained on this bounds JSD(p, q) from below, on average. Not clipped: below 0
  the classifier is worse than no answer. Raises ValueError without examples of both.
  """
  if not (len(real) and len(fake)):
    raise ValueError(f'{len(real)} real and {len(fake)} fake logits: a bound needs both')
  terms = [math.log(2) - np.logaddexp(0, -np.asarray(x, np.float64)) for x in (real, -fake)]
  value = float(np.mean([x.mean() for x in terms]))
  means = [
    np.asarray(_resampled(jax.random.key(2 * seed + i), jnp.asarray(x, jnp.float32), n_draws))
    for i, x in enumerate(terms)
  ]
  low, high = np.quantile((means[0] + means[1]) / 2, [0.025, 0.975])
  return JsdBound(value, min(float(low), value), max(float(high), value))


@functools.partial(jax.jit, static_argnames='n_draws')
def _resampled(key: jax.Array, values: jax.Array, n_draws: int) -> jax.Array:
  """The means of as many values drawn with replacement from `values` [n]: [n_draws]."""
  n = len(values)

  def draw(key: jax.Array) -> jax.Array:
    return values[jax.random.randint(key, (n,), 0, n)].mean()

  return jax.lax.map(draw, jax.random.split(key, n_draws))


def c2st(real: np.ndarray, fake: np.ndarray) -> C2st:
  """The two-sample test of a classifier's logits `real` [n] and `fake` [m] on held-out examples.

  Where nothing differs the accuracy is normal about 1/2, with a variance of (1/n + 1/m) / 16: for
  n = m the 1/(4 (n + m)) of the paper. Raises ValueError without examples of both.
  """
  n, m = len(real), len(fake)
  if not (n and m):
    raise ValueError(f'{n} real and {m} fake logits: a test needs both')
  # A logit of 0 is no answer, and counts as half of one.
  right = [np.mean(sign * x > 0) + np.mean(x == 0) / 2 for sign, x in ((1, real), (-1, fake))]
  accuracy = float(np.mean(right))
  z = (accuracy - 0.5) / math.sqrt((1 / n + 1 / m) / 16)
  return C2st(accuracy, math.erfc(z / math.sqrt(2)) / 2, n + m)


def roc_auc(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """The probability that a number of `a` [n] exceeds one of `b` [m], ties half, and its null's std.

  The area under the curve of the receiver: 1/2 where nothing tells them apart.
  """
  n, m = len(a), len(b)
  _, order, counts = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
  ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]
  area = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
  return float(area), math.sqrt((n + m + 1) / (12 * n * m))


def platt_scaling(real: np.ndarray, fake: np.ndarray, steps: int = 50) -> tuple[float, float]:
  """Slope (at least 0) and offset that turn outputs into the log-odds of least cross-entropy.

  Logistic regression on one number by Newton's method (Platt, 1999): what a D says once its
  confidence is mended, whatever its loss. A touch of ridge keeps separable outputs finite.
  """
  scale = float(np.std(np.concatenate([real, fake]))) or 1.0
  x = np.concatenate([real, fake]).astype(np.float64) / scale
  inputs = np.stack([x, np.ones_like(x)], axis=1)
  target = np.concatenate([np.ones(len(real)), np.zeros(len(fake))])
  share = np.concatenate([np.full(len(s), 0.5 / len(s)) for s in (real, fake)])
  theta, ridge = np.zeros(2), 1e-4 * np.eye(2)
  for _ in range(steps):
    odds = 1 / (1 + np.exp(-np.clip(inputs @ theta, -50, 50)))
    gradient = inputs.T @ (share * (odds - target)) + ridge @ theta
    curvature = (inputs * (share * odds * (1 - odds))[:, None]).T @ inputs + ridge
    step = np.linalg.solve(curvature, gradient)
    theta -= step / max(1.0, np.abs(step).max() / 4)
  return (float(theta[0]) / scale, float(theta[1])) if theta[0] > 0 else (0.0, 0.0)
