"""Tests what probes prove together: bounds, p-values, and the divergence that they would have found."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from gan_jax.diagnosis import separation
from gan_jax.diagnosis.probe_types import ProbeScores
from gan_jax.metrics import embeddings

N = 400
COMPILE_OPTIMIZED = True  # probes run longer than they compile


def normal(seed, n=N, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, (n, 2)).astype(np.float32)


def test_the_detectable_divergence_is_that_of_normals_at_the_power_of_the_rank_test():
  n, level = 800, 0.001
  value = separation.detectable_divergence(n, n, level)
  # The distance of two normals of this divergence, and how often a test finds it.
  distances = np.linspace(0.05, 0.6, 200)

  def jsd(distance):
    p, q = scipy.stats.norm(0, 1).pdf, scipy.stats.norm(distance, 1).pdf
    terms = lambda x: (
      (p(x) * np.log(2 * p(x) / (p(x) + q(x))) + q(x) * np.log(2 * q(x) / (p(x) + q(x)))) / 2
    )
    return scipy.integrate.quad(terms, -9, 9)[0]

  distance = float(np.interp(value, [jsd(d) for d in distances], distances))
  rng = np.random.default_rng(0)
  found = [
    scipy.stats.mannwhitneyu(
      rng.normal(distance, 1, n), rng.normal(size=n), alternative='greater', method='asymptotic'
    ).pvalue
    < level
    for _ in range(400)
  ]
  assert np.mean(found) == pytest.approx(0.9, abs=0.05)


def test_more_examples_detect_less():
  few, many = (separation.detectable_divergence(n, n, 0.005) for n in (100, 4000))
  assert many < few / 20 < math.log(2)


def test_a_difference_that_only_the_extra_probe_sees_is_found():
  flags = {0: 1.0, 1: -1.0}
  real, fake = normal(0), normal(1)

  def knowing_probe(seed, real_parts, fake_parts):
    del seed
    logits = [
      np.full(len(parts.test), 3 * flags[i]) for i, parts in enumerate((real_parts, fake_parts))
    ]
    return ProbeScores('knows the set', 0.05, *logits)

  without = separation.measure_separation(0, real, fake, embeddings.point_embedding)
  assert without.p > 0.01
  assert [probe.name for probe in without.probes] == ['points']
  found = separation.measure_separation(0, real, fake, embeddings.point_embedding, knowing_probe)
  assert [probe.name for probe in found.probes] == ['knows the set', 'points']
  assert found.p < 1e-6
  assert found.bound.value == pytest.approx(math.log(2) - np.log1p(np.exp(-3.0)), abs=1e-6)
  assert sum(len(fold.real) for fold in found.logits) == N


def test_a_shift_is_bounded_by_its_divergence():
  found = separation.measure_separation(
    0, normal(0), normal(1, shift=1.0), embeddings.point_embedding
  )
  # Normals at a distance of sqrt 2 in units of their std: a JSD of .211 nats.
  assert found.p < 1e-6
  assert 0.1 < found.bound.value < 0.211 + (found.bound.high - found.bound.value)
  assert found.probes[0].chance < 0.03
  ladder = [probe.bound.value for _, probe in found.ladder]
  assert [sigma for sigma, _ in found.ladder] == list(separation.NOISE_LEVELS)
  assert ladder[-1] > 0.05
