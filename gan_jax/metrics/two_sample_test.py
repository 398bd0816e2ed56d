"""Tests whether two sets differ, by the accuracy of a classifier (Lopez-Paz & Oquab, 2017)."""

import math
from typing import NamedTuple

import numpy as np


class C2st(NamedTuple):
  """Holds the result of a classifier two-sample test (Lopez-Paz & Oquab, 2017)."""

  accuracy: float  # mean of the accuracies on both sets
  p: float  # one-sided p-value of the accuracy
  n: int  # examples of both sets


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
