"""Computes the statistics that decide a verdict: of samples, beside those of real data in their place."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis import fresh_discriminators
from gan_jax.diagnosis.discriminator_calibration import (
  DiscriminatorOutputs,
  DiscriminatorStatistics,
  compute_discriminator_statistics,
)
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.diagnosis.fresh_discriminators import NOISE_LEVELS
from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.metrics import (
  cell_occupancy,
  feature_scores,
  frechet_distance,
  jsd_bound,
  kmeans,
  memorisation as memorisation_lib,
  precision_recall,
  support_size,
  two_sample_test,
)
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.content_order import shuffle_by_content
from gan_jax.metrics.embeddings import Embedding
from gan_jax.metrics.jsd_bound import JsdBound
from gan_jax.metrics.nearest_neighbours import nearest_neighbour
from gan_jax.metrics.precision_recall import PrecisionRecall
from gan_jax.metrics.two_sample_test import C2st

N_NOISELESS_PROBE = 20_000  # examples of each set for probes without added noise
N_NOISY_PROBE = 5000  # for probes with added noise, and for real against real
N_MOMENTS = 10_000  # for Frechet distances and cell occupancies
N_NEIGHBOURS = 5000  # for statistics of nearest neighbours
_N_TRAIN = 50_000  # training examples among which copies are searched
_N_CELLS = 25
_SUPPORT_BATCH = 700  # samples among which near-duplicates are searched
_CLIP = 100.0  # standard deviations of the data, to which embedded samples are clipped


class MemorisationScores(NamedTuple):
  """Holds scores of how far samples copy the training data."""

  authentic: float  # AuthPct (Alaa et al., 2022), per cent
  copying: float  # C_T (Meehan et al., 2020)
  near: float  # fraction of samples nearer to training data than 95 % of held-out data are


class SampleScores(NamedTuple):
  """Holds scores of samples, or of real data in the place of samples, beside held-out data."""

  precision_recall: PrecisionRecall
  frechet_distance: float
  cells: CellOccupancy
  support_size: float = math.nan
  memorisation: MemorisationScores | None = None  # None without training data


class EmbeddedData(NamedTuple):
  """Holds embedded real data, with which samples are compared."""

  held_out: np.ndarray  # [n, d]
  moments: frechet_distance.Moments  # of `held_out`
  centres: jax.Array  # k-means centres [cells, d]
  train_raw: np.ndarray | None  # training data in the raw embedding
  held_out_raw: np.ndarray
  duplicate_distance: float  # median distance of the closest two of 467 held-out examples


class ReferenceStatistics(NamedTuple):
  """Holds embedded real data, and the scores of real data in the place of samples."""

  set_sizes: dict[str, int]  # of 'train' and 'held_out'
  embedding: Embedding
  key: jax.Array  # for the comparison with samples
  data: EmbeddedData
  null_bound: JsdBound
  null_scores: SampleScores


class DiagnosticStatistics(NamedTuple):
  """Holds all statistics of one set of samples; `null_*` are those of real data in the place of samples.

  None stands for a statistic whose input is missing.
  """

  set_sizes: dict[str, int]  # of 'train', 'held_out' and 'fake'
  all_finite: bool  # no sample is infinite or NaN
  spread_ratio: float  # largest ratio, over coordinates, of the std of samples to that of data
  probe_bounds: list[tuple[float, JsdBound]]  # (std of added noise, lower bound on the divergence)
  null_bound: JsdBound  # without noise
  two_sample_test: C2st
  scores: SampleScores
  null_scores: SampleScores
  discriminator: DiscriminatorStatistics | None = None  # of the run's own discriminator
  history: MonitorHistory | None = None
  duality_gap: DualityGap | None = None
  rates_are_zero: bool = False  # the run's learning-rate schedules have ended at 0


def compute_reference_statistics(
  train: np.ndarray | None, held_out: np.ndarray, embedding: Embedding, seed: int = 0
) -> ReferenceStatistics:
  """Embeds training and held-out data [n, ...] and scores real data in the place of samples.

  Training data replace the samples, or half of the held-out data where training data are few or None.
  Without training data memorisation is not measured. The order of the examples has no effect.
  """
  train, held_out = (
    train if train is None else shuffle_by_content(train),
    shuffle_by_content(held_out),
  )
  key = jax.random.key(seed)
  null_key, cell_key, memorisation_key, rest_key = jax.random.split(key, 4)
  support_key = jax.random.fold_in(key, 4)
  if train is not None and len(train) >= min(len(held_out), N_NEIGHBOURS):
    real, substitute = held_out, train
  else:
    real, substitute = np.split(held_out, [len(held_out) // 2])
  rows, fake = embedding.full(real[:N_NOISELESS_PROBE]), embedding.full(substitute[:N_MOMENTS])
  n_cells = min(_N_CELLS, len(fake) // 40 + 1)
  held_out_raw = embedding.raw(real[:N_NEIGHBOURS])
  n_duplicates = min(_SUPPORT_BATCH, len(held_out_raw)) * 2 // 3
  data = EmbeddedData(
    rows,
    frechet_distance.moments(rows[:N_MOMENTS]),
    kmeans.fit_centres(cell_key, jnp.asarray(fake[:N_NEIGHBOURS]), n_cells),
    None if train is None else embedding.raw(train[:_N_TRAIN]),
    held_out_raw,
    support_size.median_closest_pair(jnp.asarray(held_out_raw), support_key, n_duplicates),
  )
  scores = _score(support_key, data, fake, embedding.raw(substitute[:N_NEIGHBOURS]))
  last_raw = embedding.raw(held_out[-N_NEIGHBOURS:])
  memorised = _score_copies(memorisation_key, data, last_raw)
  logits = _probe_logits(null_key, rows[:N_NOISY_PROBE], fake[:N_NOISY_PROBE], 0.0)
  return ReferenceStatistics(
    {'train': 0 if train is None else len(train), 'held_out': len(held_out)},
    embedding,
    rest_key,
    data,
    jsd_bound.jsd_bound(*logits),
    scores._replace(memorisation=memorised),
  )


def compute_diagnostic_statistics(
  reference: ReferenceStatistics,
  fake: np.ndarray,
  outputs: DiscriminatorOutputs | None = None,
  history: MonitorHistory | None = None,
  duality_gap: DualityGap | None = None,
  rates_are_zero: bool = False,
) -> DiagnosticStatistics:
  """Computes all statistics of samples `fake` [m, ...], of which those that are not finite are left out.

  `outputs` of D and what follows are those of the run that made the samples, where known.
  """
  set_sizes, embedding, key, data, null_bound, null_scores = reference
  finite = np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)
  enough = finite.sum() >= fresh_discriminators.MIN_EXAMPLES
  kept = shuffle_by_content(fake[finite]) if enough else np.zeros_like(fake)
  rows = embedding.full(kept[:N_NOISELESS_PROBE])
  std = rows.std(axis=0, dtype=np.float64)  # float32 would overflow
  spread_ratio = float(np.max(std / np.maximum(data.held_out.std(axis=0), 1e-3)))
  rows = np.clip(rows, -_CLIP, _CLIP)
  *keys, last_key = jax.random.split(key, len(NOISE_LEVELS) + 1)
  probes = zip(keys, NOISE_LEVELS, strict=True)
  logits = [_probe_logits(key, data.held_out, rows, sigma) for key, sigma in probes]
  bounds = [jsd_bound.jsd_bound(*each) for each in logits]
  raw = np.clip(embedding.raw(kept[:N_NEIGHBOURS]), -_CLIP, _CLIP)
  memorised = _score_copies(last_key, data, raw)
  return DiagnosticStatistics(
    set_sizes | {'fake': len(fake)},
    bool(finite.all()),
    spread_ratio,
    list(zip(NOISE_LEVELS, bounds, strict=True)),
    null_bound,
    two_sample_test.c2st(*logits[0]),
    _score(last_key, data, rows, raw)._replace(memorisation=memorised),
    null_scores,
    None if outputs is None else compute_discriminator_statistics(outputs),
    history,
    duality_gap,
    rates_are_zero,
  )


def _probe_logits(
  key: jax.Array, real: np.ndarray, fake: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a probe's logits of test examples of `real` [n, d] and `fake` [m, d] under noise of std `sigma`."""
  n = min(N_NOISY_PROBE if sigma else N_NOISELESS_PROBE, len(real), len(fake))
  sets = (jnp.asarray(real[:n]), jnp.asarray(fake[:n]))
  real_logits, fake_logits, _ = fresh_discriminators.train_probes(key, *sets, sigma, n)
  return np.asarray(real_logits), np.asarray(fake_logits)


def _score(key: jax.Array, data: EmbeddedData, rows: np.ndarray, raw: np.ndarray) -> SampleScores:
  """Scores all but memorisation of samples, embedded in `rows` [m, d] and, raw, in `raw` [m, e].

  The support size is that by the birthday paradox. Only its ratio to the one of real data, about 150,000 by
  the choice of `duplicate_distance`, counts.
  """
  points, batch = jnp.asarray(raw), min(_SUPPORT_BATCH, len(raw))
  support = support_size.estimate_support_size(points, data.duplicate_distance, key, batch, 100)
  real, fake = (jnp.asarray(x[:N_NEIGHBOURS]) for x in (data.held_out, rows))
  return SampleScores(
    precision_recall.precision_recall(real, fake),
    feature_scores.frechet_or_nan(data.moments, frechet_distance.moments(rows[:N_MOMENTS])),
    cell_occupancy.cell_occupancy(data.centres, data.held_out[:N_MOMENTS], rows[:N_MOMENTS]),
    support.size,
  )


def _score_copies(key: jax.Array, data: EmbeddedData, raw: np.ndarray) -> MemorisationScores | None:
  """Scores how far samples `raw` [m, e] copy training data, beside held-out data; None without the former."""
  if data.train_raw is None:
    return None
  known, real, samples = (jnp.asarray(x) for x in (data.train_raw, data.held_out_raw, raw))
  limit = np.quantile(np.asarray(nearest_neighbour(real, known)[1]), 0.05)
  near = float(np.mean(np.asarray(nearest_neighbour(samples, known)[1]) <= limit))
  n_cells = min(10, len(known) // 10 + 1)
  copying = memorisation_lib.data_copying_score(known, real, samples, key, n_cells)
  return MemorisationScores(memorisation_lib.authenticity(known, samples), copying, near)
