"""Computes the statistics that decide a verdict: of samples, beside those of real data in their place."""

import math
from typing import NamedTuple

import jax
import numpy as np

from gan_jax.diagnosis import fresh_discriminators
from gan_jax.diagnosis.discriminator_calibration import (
  DiscriminatorOutputs,
  DiscriminatorStatistics,
  compute_discriminator_statistics,
)
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.diagnosis.reference_statistics import (
  N_MOMENTS,
  N_NEIGHBOURS,
  N_NOISELESS_PROBE,
  MemorisationScores,
  ReferenceStatistics,
  estimate_support,
  memorisation_scores,
  precision_recall_of_rows,
  probe_logits,
)
from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.metrics import cell_occupancy, feature_scores, frechet_distance, two_sample
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.precision_recall import PrecisionRecall
from gan_jax.metrics.two_sample import C2st, JsdBound

_CLIP = 100.0  # standard deviations of the data, to which embedded samples are clipped


class DiagnosticStatistics(NamedTuple):
  """Holds all statistics of one set of samples; `null_*` are those of real data in the place of samples.

  None stands for a statistic whose input is missing.
  """

  set_sizes: dict[str, int]  # of 'train', 'held_out' and 'fake'
  all_finite: bool  # no sample is infinite or NaN
  spread_ratio: float  # largest ratio, over coordinates, of the std of samples to that of data
  probe_bounds: list[
    tuple[float, JsdBound]
  ]  # lower bound on the divergence by the std of added noise
  null_bound: JsdBound  # without noise
  two_sample_test: C2st
  precision_recall: PrecisionRecall
  null_precision_recall: PrecisionRecall
  frechet_distance: float
  null_frechet_distance: float
  cells: CellOccupancy
  null_cells: CellOccupancy
  memorisation: MemorisationScores | None
  null_memorisation: MemorisationScores | None
  discriminator: DiscriminatorStatistics | None = None  # of the run's own discriminator
  history: MonitorHistory | None = None
  duality_gap: DualityGap | None = None
  support_size: float = math.nan
  null_support_size: float = math.nan


def compute_diagnostic_statistics(
  reference: ReferenceStatistics,
  fake: np.ndarray,
  outputs: DiscriminatorOutputs | None = None,
  history: MonitorHistory | None = None,
  duality_gap: DualityGap | None = None,
) -> DiagnosticStatistics:
  """Computes all statistics of a generator.

  Args:
    reference: statistics of the real data.
    fake: samples [m, ...]; those that are not finite are left out.
    outputs: of the run's discriminator.
    history: of the run's training monitors.
    duality_gap: of the run's state.
  """
  ref = reference
  finite = np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)
  kept = fake[finite] if finite.sum() >= fresh_discriminators.MIN_EXAMPLES else np.zeros_like(fake)
  rows = ref.embedding.full(kept[:N_NOISELESS_PROBE])
  std = rows.std(axis=0, dtype=np.float64)  # float32 would overflow
  spread_ratio = float(np.max(std / np.maximum(ref.held_out.std(axis=0), 1e-3)))
  rows = np.clip(rows, -_CLIP, _CLIP)
  keys = jax.random.split(ref.key, len(fresh_discriminators.NOISE_LEVELS) + 1)
  logits = [
    probe_logits(key, ref.held_out, rows, sigma)
    for key, sigma in zip(keys, fresh_discriminators.NOISE_LEVELS, strict=False)
  ]
  raw = np.clip(ref.embedding.raw(kept[:N_NEIGHBOURS]), -_CLIP, _CLIP)
  memorised = None
  if ref.train_raw is not None:
    memorised = memorisation_scores(keys[-1], ref.train_raw, ref.held_out_raw, raw)
  return DiagnosticStatistics(
    ref.set_sizes | {'fake': len(fake)},
    bool(finite.all()),
    spread_ratio,
    [
      (s, two_sample.jsd_bound(*x))
      for s, x in zip(fresh_discriminators.NOISE_LEVELS, logits, strict=True)
    ],
    ref.bound,
    two_sample.c2st(*logits[0]),
    precision_recall_of_rows(ref.held_out, rows),
    ref.precision_recall,
    feature_scores.frechet_or_nan(ref.moments, frechet_distance.moments(rows[:N_MOMENTS])),
    ref.frechet_distance,
    cell_occupancy.cell_occupancy(ref.centres, ref.held_out[:N_MOMENTS], rows[:N_MOMENTS]),
    ref.cells,
    memorised,
    ref.memorisation,
    None if outputs is None else compute_discriminator_statistics(outputs),
    history,
    duality_gap,
    estimate_support(keys[-1], raw, ref.duplicate_distance),
    ref.support_size,
  )
