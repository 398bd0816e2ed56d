"""Defines what every probe takes and gives: parts of two sets, and calibrated logits of the test parts."""

from typing import NamedTuple

import numpy as np


class ExampleParts(NamedTuple):
  """Holds disjoint parts of one set of examples: uint8 images [n, h, w, c] or float32 rows [n, d]."""

  train: np.ndarray
  validation: np.ndarray  # chooses the step, stops early, and calibrates
  test: np.ndarray  # scored once


class ProbeScores(NamedTuple):
  """Holds how a trained probe scores examples that it has not seen."""

  name: str
  validation_cross_entropy: (
    float  # nats on the equal mixture of both sets; log 2 without information
  )
  real: (
    np.ndarray
  )  # logits of the real test part, positive for real, calibrated on the validation part
  fake: np.ndarray
