"""Builds statistics of samples and of runs by hand, for tests of verdicts and advice."""

import numpy as np

from gan_jax.diagnosis.diagnostic_statistics import (
  DiagnosticStatistics,
  MemorisationScores,
  SampleScores,
)
from gan_jax.diagnosis.discriminator_calibration import DiscriminatorStatistics
from gan_jax.diagnosis.divergence_parts import DivergencePart
from gan_jax.diagnosis.separation import ProbeEvidence, Separation
from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.copy_search import CopyReport
from gan_jax.metrics.jsd_bound import JsdBound
from gan_jax.metrics.precision_recall import PrecisionRecall

REAL = PrecisionRecall(0.98, 0.98, 1.0, 0.97)
EVEN = CellOccupancy(np.full(4, 0.25), np.full(4, 0.25), 4000, 4000, np.ones(4))


def bound(value):
  return JsdBound(value, value - 0.005, value + 0.005)


def separation(value, p=1e-9, detectable=0.002):
  probes = [ProbeEvidence(name, bound(value), 0.5, p, 0.001, 0.6) for name in ('points', 'trees')]
  return Separation(probes, p, detectable, [(0.1, probes[0])], [], probes[0])


def copies(exact=0.0, near=0.01, p=0.5):
  return CopyReport(20_000, exact, 0.0, near, 0.01, p, [])


def discriminator(held_out=0.3, train=None, overfit=0.5, slope=0.5):
  train = held_out if train is None else train
  return DiscriminatorStatistics(
    bound(held_out), bound(train), overfit, 0.01, slope, 0.6, 0.4, {'edges': [0.0, 1.0]}
  )


def history(gap=(0.1,) * 12, near=(1.0,) * 12, drift=0.05, d=0.8):
  n = len(gap)
  return MonitorHistory(list(range(n)), list(gap), list(near), [drift] * n, [0.5] * n, [d] * n)


def with_scores(statistics, **changes):
  return statistics._replace(scores=statistics.scores._replace(**changes))


SCORES = SampleScores(REAL, 0.01, EVEN, memorisation=MemorisationScores(38.0, 0.0, 0.05))
PERFECT = DiagnosticStatistics(
  set_sizes={'train': 20_000, 'held_out': 20_000, 'fake': 20_000},
  finite_share=1.0,
  spread_ratio=1.0,
  separation=separation(0.0, p=0.6),
  parts=[],
  scores=SCORES,
  null_scores=SCORES,
  copies=copies(),
)
BAD = with_scores(
  PERFECT._replace(
    separation=separation(0.3), parts=[DivergencePart('shape within modes', 0.3, 'wide')]
  ),
  precision_recall=PrecisionRecall(0.3, 0.9, 0.2, 0.3),
)
