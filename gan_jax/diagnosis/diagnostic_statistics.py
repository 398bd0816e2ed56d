"""Computes the statistics that decide a verdict: of samples, beside those of real data in their place."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.diagnosis import divergence_parts, separation as separation_lib
from gan_jax.diagnosis.discriminator_calibration import (
  DiscriminatorOutputs,
  DiscriminatorStatistics,
  compute_discriminator_statistics,
)
from gan_jax.diagnosis.divergence_parts import DivergencePart
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.diagnosis.separation import CLIP, ExtraProbe, FitEmbedding, Separation
from gan_jax.diagnosis.training_monitors import MonitorHistory
from gan_jax.metrics import (
  cell_occupancy,
  copy_search,
  feature_scores,
  frechet_distance,
  kmeans,
  memorisation as memorisation_lib,
  precision_recall,
  support_size,
)
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.content_order import shuffle_by_content
from gan_jax.metrics.copy_search import CopyReport
from gan_jax.metrics.embeddings import Embedding
from gan_jax.metrics.energy_distance import energy_distance
from gan_jax.metrics.nearest_neighbours import nearest_neighbour
from gan_jax.metrics.precision_recall import PrecisionRecall

MIN_EXAMPLES = 100  # held-out examples, and samples, below which nothing can be said
N_MOMENTS = 10_000  # for Frechet distances and cell occupancies
N_NEIGHBOURS = 5000  # for statistics of nearest neighbours
N_DISTANCE = 4000  # for energy distances
_N_TRAIN = 20_000  # training examples for AuthPct and C_T; copies are searched among all
_N_CELLS = 25
_SUPPORT_BATCH = 700  # samples among which near-duplicates are searched
# The range of pixels bounds images; float32 squares of points must not overflow.
_MOST = 1e15


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
  fit_embedding: FitEmbedding
  seed: int
  key: jax.Array  # for the comparison with samples
  train: np.ndarray | None  # in an order by content
  held_out: np.ndarray
  data: EmbeddedData
  null_scores: SampleScores


class RunEvidence(NamedTuple):
  """Holds what only the run that made the samples can tell; None or False where it is not known."""

  config: Config | None = None
  outputs: DiscriminatorOutputs | None = None
  history: MonitorHistory | None = None
  duality_gap: DualityGap | None = None
  rates_are_zero: bool = False  # the run's learning-rate schedules have ended at 0
  extra_probe: ExtraProbe | None = None  # its own discriminator, to be trained anew
  class_shares: tuple[np.ndarray, np.ndarray] | None = None  # of real and fake examples [classes]
  other_fake: np.ndarray | None = (
    None  # samples of the averaged weights beside the last ones, or vice versa
  )


class DiagnosticStatistics(NamedTuple):
  """Holds all statistics of one set of samples; `null_*` are those of real data in the place of samples.

  None stands for a statistic whose input is missing.
  """

  set_sizes: dict[str, int]  # of 'train', 'held_out' and 'fake'
  finite_share: float  # of samples
  spread_ratio: float  # largest ratio, over coordinates, of the std of samples to that of data
  separation: Separation
  parts: list[DivergencePart]  # of the divergence, the largest first
  scores: SampleScores
  null_scores: SampleScores
  copies: CopyReport | None = None  # None without training data
  config: Config | None = None  # of the run
  distances: tuple[float, float] | None = (
    None  # energy distances to data, of samples and of other weights'
  )
  discriminator: DiscriminatorStatistics | None = None  # of the run's own discriminator
  history: MonitorHistory | None = None
  duality_gap: DualityGap | None = None
  rates_are_zero: bool = False
  copied: tuple[np.ndarray, np.ndarray] | None = None  # samples and examples of the closest pairs


def compute_reference_statistics(
  train: np.ndarray | None, held_out: np.ndarray, fit_embedding: FitEmbedding, seed: int = 0
) -> ReferenceStatistics:
  """Embeds training and held-out data [n, ...] and scores real data in the place of samples.

  Training data replace the samples, or half of the held-out data where training data are few or None.
  Without training data memorisation is not measured. The order of the examples has no effect.
  `fit_embedding` is applied to training data; without any, probes refit it to parts that they do not score.
  """
  train, held_out = (
    train if train is None else shuffle_by_content(train),
    shuffle_by_content(held_out),
  )
  embedding = fit_embedding(held_out if train is None else train)
  key = jax.random.key(seed)
  _, cell_key, memorisation_key, rest_key = jax.random.split(key, 4)
  support_key = jax.random.fold_in(key, 4)
  if train is not None and len(train) >= min(len(held_out), N_NEIGHBOURS):
    real, substitute = held_out, train
  else:
    real, substitute = np.split(held_out, [len(held_out) // 2])
  rows, fake = embedding.full(real[:N_MOMENTS]), embedding.full(substitute[:N_MOMENTS])
  n_cells = min(_N_CELLS, len(fake) // 40 + 1)
  held_out_raw = embedding.raw(real[:N_NEIGHBOURS])
  n_duplicates = min(_SUPPORT_BATCH, len(held_out_raw)) * 2 // 3
  data = EmbeddedData(
    rows,
    frechet_distance.moments(rows),
    kmeans.fit_centres(cell_key, jnp.asarray(fake[:N_NEIGHBOURS]), n_cells),
    None if train is None else embedding.raw(train[:_N_TRAIN]),
    held_out_raw,
    support_size.median_closest_pair(jnp.asarray(held_out_raw), support_key, n_duplicates),
  )
  scores = _score(support_key, data, fake, embedding.raw(substitute[:N_NEIGHBOURS]))
  last_raw = embedding.raw(held_out[-N_NEIGHBOURS:])
  memorised = _score_copies(memorisation_key, data, last_raw)
  return ReferenceStatistics(
    {'train': 0 if train is None else len(train), 'held_out': len(held_out)},
    embedding,
    fit_embedding if train is None else lambda _: embedding,
    seed,
    rest_key,
    train,
    held_out,
    data,
    scores._replace(memorisation=memorised),
  )


def compute_diagnostic_statistics(
  reference: ReferenceStatistics,
  fake: np.ndarray,
  run: RunEvidence | None = None,
  thorough: bool = True,
) -> DiagnosticStatistics:
  """Computes all statistics of samples `fake` [m, ...], of which those that are not finite are left out.

  `run` is that of the run that made the samples, where one is known. Without `thorough` there are no probes
  under noise, on which no verdict rests. Raises ValueError for fewer than `MIN_EXAMPLES` finite samples.
  """
  run = run or RunEvidence()
  embedding, data, held_out = reference.embedding, reference.data, reference.held_out
  finite = np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)
  if finite.sum() < MIN_EXAMPLES:
    raise ValueError(f'{finite.sum()} finite samples: at least {MIN_EXAMPLES} are needed')
  kept = shuffle_by_content(fake[finite])
  if kept.dtype != np.uint8:
    kept = np.clip(kept, -_MOST, _MOST)
  unclipped = embedding.full(kept[:N_MOMENTS])
  std = unclipped.std(axis=0, dtype=np.float64)
  spread_ratio = float(np.max(std / np.maximum(data.held_out.std(axis=0), 1e-3)))
  separation = separation_lib.measure_separation(
    reference.seed, held_out, kept, reference.fit_embedding, run.extra_probe, thorough
  )
  raw = np.clip(embedding.raw(kept[:N_NEIGHBOURS]), -CLIP, CLIP)
  scores = _score(reference.key, data, np.clip(unclipped, -CLIP, CLIP), raw)
  by_vectors = separation.vectors.bound.value
  train, copies, copied = reference.train, None, None
  if train is not None:
    copies = copy_search.search_copies(train, held_out, kept, reference.seed)
    pairs = [list(rows) for rows in zip(*(pair[:2] for pair in copies.pairs), strict=True)]
    copied = (kept[pairs[0]], train[pairs[1]]) if pairs else None
  return DiagnosticStatistics(
    reference.set_sizes | {'fake': len(fake)},
    float(finite.mean()),
    spread_ratio,
    separation,
    divergence_parts.divide_divergence(
      separation.bound.value, by_vectors, scores.cells, run.class_shares, held_out.ndim == 4
    ),
    scores._replace(memorisation=_score_copies(reference.key, data, raw)),
    reference.null_scores,
    copies,
    run.config,
    _distances(embedding, held_out, fake, run.other_fake),
    None if run.outputs is None else compute_discriminator_statistics(run.outputs),
    run.history,
    run.duality_gap,
    run.rates_are_zero,
    copied,
  )


def _distances(
  embedding: Embedding, held_out: np.ndarray, fake: np.ndarray, other: np.ndarray | None
) -> tuple[float, float] | None:
  """Returns the energy distances to held-out data of samples and of `other` ones, in vectors.

  Both are of the same latents in the same order: the chance of a draw does not make either look nearer.
  """
  if other is None or not (np.isfinite(other).all() and np.isfinite(fake).all()):
    return None
  sets = [np.clip(embedding.full(x[:N_DISTANCE]), -CLIP, CLIP) for x in (held_out, fake, other)]
  return energy_distance(sets[0], sets[1]), energy_distance(sets[0], sets[2])


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
