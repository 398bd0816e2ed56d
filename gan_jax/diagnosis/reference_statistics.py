"""Compares real data with real data: the scores of a perfect sampler, and the comparisons themselves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis import fresh_discriminators
from gan_jax.metrics import (
  cell_occupancy,
  feature_scores,
  frechet_distance,
  kmeans,
  memorisation,
  precision_recall,
  support_size,
  two_sample,
)
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.embeddings import Embedding
from gan_jax.metrics.nearest_neighbours import nearest_neighbour
from gan_jax.metrics.precision_recall import PrecisionRecall
from gan_jax.metrics.two_sample import JsdBound

N_NOISELESS_PROBE = 20_000  # examples of each set for probes without added noise
N_NOISY_PROBE = 5000  # for probes with added noise, and for real against real
N_MOMENTS = 10_000  # for Frechet distances and cell occupancies
N_NEIGHBOURS = 5000  # for statistics of nearest neighbours
_N_TRAIN = 50_000  # training examples among which copies are searched
_N_CELLS = 25
_SUPPORT_BATCH = 700  # samples among which near-duplicates are searched


class MemorisationScores(NamedTuple):
  """Holds scores of how far samples copy the training data."""

  authentic: float  # AuthPct (Alaa et al., 2022), per cent
  copying: float  # C_T (Meehan et al., 2020)
  near: float  # fraction of samples nearer to training data than 95 % of held-out data are


class ReferenceStatistics(NamedTuple):
  """Holds embedded real data, and the scores of real data in the place of samples."""

  set_sizes: dict[str, int]  # of 'train' and 'held_out'
  embedding: Embedding
  key: jax.Array  # for the comparison with samples
  held_out: np.ndarray  # embedded [n, d]
  moments: frechet_distance.Moments  # of `held_out`
  centres: jax.Array  # k-means centres [cells, d] of real data
  train_raw: np.ndarray | None  # training data in the raw embedding
  held_out_raw: np.ndarray
  bound: JsdBound
  precision_recall: PrecisionRecall
  frechet_distance: float
  cells: CellOccupancy
  memorisation: MemorisationScores | None
  duplicate_distance: float  # median distance of the closest two of 467 held-out examples
  support_size: float


def compute_reference_statistics(
  train: np.ndarray | None, held_out: np.ndarray, embedding: Embedding, seed: int = 0
) -> ReferenceStatistics:
  """Embeds training and held-out data [n, ...] and scores real data in the place of samples.

  Training data replace the samples, or half of the held-out data where training data are few or None.
  Without training data memorisation is not measured.
  """
  key = jax.random.key(seed)
  null_key, cell_key, memorisation_key, rest_key = jax.random.split(key, 4)
  support_key = jax.random.fold_in(key, 4)
  real, substitute = _split_real_data(train, held_out)
  rows, fake_rows = (
    embedding.full(real[:N_NOISELESS_PROBE]),
    embedding.full(substitute[:N_MOMENTS]),
  )
  moments = frechet_distance.moments(rows[:N_MOMENTS])
  centres = kmeans.fit_centres(
    cell_key, jnp.asarray(fake_rows[:N_NEIGHBOURS]), min(_N_CELLS, len(fake_rows) // 40 + 1)
  )
  train_raw, memorised = None, None
  held_out_raw = embedding.raw(real[:N_NEIGHBOURS])
  if train is not None:
    train_raw = embedding.raw(train[:_N_TRAIN])
    last_raw = embedding.raw(held_out[-N_NEIGHBOURS:])
    memorised = memorisation_scores(memorisation_key, train_raw, held_out_raw, last_raw)
  duplicate_distance = support_size.median_closest_pair(
    jnp.asarray(held_out_raw), support_key, min(_SUPPORT_BATCH, len(held_out_raw)) * 2 // 3
  )
  substitute_raw = embedding.raw(substitute[:N_NEIGHBOURS])
  return ReferenceStatistics(
    {'train': 0 if train is None else len(train), 'held_out': len(held_out)},
    embedding,
    rest_key,
    rows,
    moments,
    centres,
    train_raw,
    held_out_raw,
    two_sample.jsd_bound(
      *probe_logits(null_key, rows[:N_NOISY_PROBE], fake_rows[:N_NOISY_PROBE], 0.0)
    ),
    precision_recall_of_rows(rows, fake_rows),
    feature_scores.frechet_or_nan(moments, frechet_distance.moments(fake_rows)),
    cell_occupancy.cell_occupancy(centres, rows[:N_MOMENTS], fake_rows),
    memorised,
    duplicate_distance,
    estimate_support(support_key, substitute_raw, duplicate_distance),
  )


def _split_real_data(
  train: np.ndarray | None, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns held-out data to compare with, and real data in the place of samples."""
  if train is not None and len(train) >= min(len(held_out), N_NEIGHBOURS):
    return held_out, train
  half = len(held_out) // 2
  return held_out[:half], held_out[half:]


def probe_logits(
  key: jax.Array, real: np.ndarray, fake: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a probe's logits of test examples of `real` [n, d] and `fake` [m, d] under noise of std `sigma`."""
  n = min(N_NOISY_PROBE if sigma else N_NOISELESS_PROBE, len(real), len(fake))
  real_logits, fake_logits, _ = fresh_discriminators.train_probes(
    key, jnp.asarray(real[:n]), jnp.asarray(fake[:n]), sigma, n
  )
  return np.asarray(real_logits), np.asarray(fake_logits)


def precision_recall_of_rows(real: np.ndarray, fake: np.ndarray) -> PrecisionRecall:
  """Computes precision, recall, density and coverage of the first `N_NEIGHBOURS` rows [n, d]."""
  return precision_recall.precision_recall(
    jnp.asarray(real[:N_NEIGHBOURS]), jnp.asarray(fake[:N_NEIGHBOURS])
  )


def memorisation_scores(
  key: jax.Array, train: np.ndarray, held_out: np.ndarray, fake: np.ndarray
) -> MemorisationScores:
  """Scores how far `fake` rows [m, d] copy `train` rows [l, d], beside `held_out` rows [n, d]."""
  known, real, samples = (jnp.asarray(x) for x in (train, held_out, fake))
  limit = np.quantile(np.asarray(nearest_neighbour(real, known)[1]), 0.05)
  near = float(np.mean(np.asarray(nearest_neighbour(samples, known)[1]) <= limit))
  n_cells = min(10, len(train) // 10 + 1)
  copying = memorisation.data_copying_score(known, real, samples, key, n_cells)
  return MemorisationScores(memorisation.authenticity(known, samples), copying, near)


def estimate_support(key: jax.Array, rows: np.ndarray, duplicate_distance: float) -> float:
  """Estimates the number of distinct samples, of which `rows` [n, d] are draws, by the birthday paradox.

  Only the ratio to the estimate for real data, about 150,000 by the choice of `duplicate_distance`, counts.
  """
  batch = min(_SUPPORT_BATCH, len(rows))
  return support_size.estimate_support_size(
    jnp.asarray(rows), duplicate_distance, key, batch, 100
  ).size
