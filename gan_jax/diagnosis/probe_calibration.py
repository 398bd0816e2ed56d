"""Calibrates the logits of probes on validation examples (Platt, 1999)."""

import numpy as np

from gan_jax.diagnosis.probe_types import ProbeScores
from gan_jax.metrics.jsd_bound import platt_scaling

_LEAST_SLOPE = (
  1e-3  # per standard deviation of the logits: it keeps their order where they tell nothing
)


def calibrate_scores(
  name: str, validation: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> ProbeScores:
  """Calibrates (real [n], fake [m]) `test` logits on the `validation` logits of both sets."""
  slope, offset = _fit(*validation)
  real, fake = (slope * x.astype(np.float64) + offset for x in test)
  return ProbeScores(name, calibrated_cross_entropy(*validation), real, fake)


def calibrated_cross_entropy(real: np.ndarray, fake: np.ndarray) -> float:
  """Returns the cross-entropy of logits [n], [m] after calibration on the same examples, in nats."""
  slope, offset = _fit(real, fake)
  real, fake = (slope * x.astype(np.float64) + offset for x in (real, fake))
  return float(np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()) / 2


def _fit(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
  slope, offset = platt_scaling(real, fake, steps=15)
  if slope:
    return slope, offset
  both = np.concatenate([real, fake]).astype(np.float64)
  slope = _LEAST_SLOPE / (float(both.std()) or 1.0)
  return slope, -slope * float(both.mean())
