"""Tests the calibration of probes on validation logits."""

import math

import numpy as np
import pytest

from gan_jax.diagnosis.probe_calibration import calibrate_scores, calibrated_cross_entropy

RNG = np.random.default_rng(0)


def logits(n, scale=1.0):
  """Log-odds of normals at 1 and -1 are twice the value."""
  return scale * RNG.normal(1, 1, n), scale * RNG.normal(-1, 1, n)


def test_logits_of_any_scale_become_log_odds():
  test = logits(4000, scale=10)
  probe = calibrate_scores('probe', logits(4000, scale=10), test)
  assert np.polyfit(test[0], probe.real, 1)[0] == pytest.approx(0.2, rel=0.1)
  assert probe.validation_cross_entropy == pytest.approx(
    calibrated_cross_entropy(*logits(4000)), abs=0.02
  )


def test_logits_without_information_keep_their_order_and_prove_nothing():
  noise = (RNG.normal(size=300), RNG.normal(size=300))
  test = (RNG.normal(size=300), RNG.normal(size=300))
  probe = calibrate_scores('probe', noise, test)
  np.testing.assert_array_equal(np.argsort(probe.real), np.argsort(test[0]))
  assert np.abs(probe.real).max() < 0.5
  assert probe.validation_cross_entropy == pytest.approx(math.log(2), abs=0.01)
