"""What can be found out about samples: fresh probes, coverage, memory, and what the run's own D says."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.diagnosis import probes
from gan_jax.diagnosis.discriminator_bound import (
  DiscriminatorOutputs,
  DiscriminatorStatistics,
  compute_discriminator_statistics,
)
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.metrics import cell_occupancy as cells_lib
from gan_jax.metrics import (
  feature_scores,
  frechet_distance,
  kmeans,
  memorisation,
  precision_recall,
  two_sample,
)
from gan_jax.metrics import support_size as support_lib
from gan_jax.metrics.cell_occupancy import CellOccupancy
from gan_jax.metrics.embeddings import Embedding
from gan_jax.metrics.nearest_neighbours import nearest_neighbour
from gan_jax.metrics.precision_recall import PrecisionRecall
from gan_jax.metrics.two_sample import C2st, JsdBound

N_SHARP = 20_000  # examples of each set for the probes without noise, which see the finest detail
N_NOISY = 5000  # for those with noise, and for real against real
N_MOMENTS = 10_000  # for Frechet distances, and for the cells of the data
N_NEAR = 5000  # for everything about neighbours
N_TRAIN = 50_000  # training examples that copies are looked for among
_CELLS = 25
_BIRTHDAYS = 700  # samples among which near-duplicates are looked for
_FAR = 100.0  # standard deviations of the data, beyond which all is far


class MemorisationScores(NamedTuple):
  """Whether samples are training data."""

  authentic: float  # AuthPct, per cent
  copying: float  # C_T
  near: float  # share of samples nearer to training data than 95 % of held-out data are


class MonitorHistory(NamedTuple):
  """The course of a run, from its records."""

  steps: list[int]
  gap: list[float]  # energy distance to held-out data, in mean distances of the data
  near: list[float]  # how much farther nearest neighbours are than those of data
  drift: list[float]  # how far G is from its own average, in mean distances of the data
  slope: list[float]
  own: list[float]  # probability that D ranks a held-out example above a sample


class DiagnosticStatistics(NamedTuple):
  """Everything that a verdict is made from; None where there was nothing to ask."""

  n: dict[str, int]
  finite: bool  # no sample is infinite or NaN
  far: float  # largest spread of samples in a coordinate, over the data's
  embedding: str
  ladder: list[tuple[float, JsdBound]]  # bound on the divergence by the noise on both sets
  null: JsdBound  # the same for real against real
  c2st: C2st
  manifold: PrecisionRecall
  manifold_null: PrecisionRecall
  frechet: float
  frechet_null: float
  cells: CellOccupancy
  cells_null: CellOccupancy
  memory: MemorisationScores | None
  memory_null: MemorisationScores | None
  own: DiscriminatorStatistics | None = None
  history: MonitorHistory | None = None
  duality: DualityGap | None = None
  support: float = math.nan  # of samples, by near-duplicates; see `_supported`
  support_null: float = math.nan


class ReferenceStatistics(NamedTuple):
  """Real data where they are compared, and what a perfect sampler would get: good for any number of samples."""

  n: dict[str, int]  # examples of 'train' and 'held_out'
  embedding: Embedding
  key: jax.Array
  real: np.ndarray  # held-out data, embedded [n, d]
  moments: frechet_distance.Moments  # of them
  centres: jax.Array  # of the cells of the data
  train_plain: np.ndarray | None  # plainly embedded, as copies are looked for
  real_plain: np.ndarray  # the same of held-out data
  null: JsdBound
  manifold_null: PrecisionRecall
  frechet_null: float
  cells_null: CellOccupancy
  memory_null: MemorisationScores | None
  near: float  # how far the nearest two of some hundred held-out examples are apart, in the median
  support_null: float


def compute_reference_statistics(
  train: np.ndarray | None, held_out: np.ndarray, embedding: Embedding, seed: int = 0
) -> ReferenceStatistics:
  """Prepare to judge samples beside data [n, ...]; `train` is None where nobody kept it.

  Then nothing can be said about memory. The null takes training data for samples, or half of the
  held-out data where those are few.
  """
  key = jax.random.key(seed)
  null_key, cell_key, memory_key, rest_key = jax.random.split(key, 4)
  twin_key = jax.random.fold_in(key, 4)
  n = {'train': 0 if train is None else len(train), 'held_out': len(held_out)}
  real, spare = _spare(train, held_out)
  ours, spares = embedding.full(real[:N_SHARP]), embedding.full(spare[:N_MOMENTS])
  moments = frechet_distance.moments(ours[:N_MOMENTS])
  centres = kmeans.fit_centres(
    cell_key, jnp.asarray(spares[:N_NEAR]), min(_CELLS, len(spares) // 40 + 1)
  )
  train_plain, memory_null = None, None
  real_plain = embedding.raw(real[:N_NEAR])
  if train is not None:
    train_plain = embedding.raw(train[:N_TRAIN])
    fresh = embedding.raw(held_out[-N_NEAR:])
    memory_null = _remembered(memory_key, train_plain, real_plain, fresh)
  twins = support_lib.median_closest_pair(
    jnp.asarray(real_plain), twin_key, min(_BIRTHDAYS, len(real_plain)) * 2 // 3
  )
  return ReferenceStatistics(
    n,
    embedding,
    rest_key,
    ours,
    moments,
    centres,
    train_plain,
    real_plain,
    two_sample.jsd_bound(*_probe(null_key, ours, spares, 0.0, N_NOISY)),
    _manifold(ours, spares),
    feature_scores.frechet_or_nan(moments, frechet_distance.moments(spares)),
    cells_lib.cell_occupancy(centres, ours[:N_MOMENTS], spares),
    memory_null,
    twins,
    _supported(twin_key, embedding.raw(spare[:N_NEAR]), twins),
  )


def compute_diagnostic_statistics(
  reference: ReferenceStatistics,
  fake: np.ndarray,
  outputs: DiscriminatorOutputs | None = None,
  history: MonitorHistory | None = None,
  duality: DualityGap | None = None,
) -> DiagnosticStatistics:
  """Ask everything of samples `fake` [m, ...]; what only a run can tell is handed on."""
  ref, n = reference, reference.n | {'fake': len(fake)}
  finite = np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)
  made = fake[finite] if finite.sum() >= probes.MIN_EXAMPLES else np.zeros_like(fake)
  theirs = ref.embedding.full(made[:N_SHARP])
  spread = theirs.std(axis=0, dtype=np.float64)  # whose squares float32 might not hold
  far = float(np.max(spread / np.maximum(ref.real.std(axis=0), 1e-3)))
  theirs = np.clip(theirs, -_FAR, _FAR)
  keys = jax.random.split(ref.key, len(probes.NOISE_LEVELS) + 1)
  answers = [
    _probe(key, ref.real, theirs, sigma, N_NOISY if sigma else N_SHARP)
    for key, sigma in zip(keys, probes.NOISE_LEVELS, strict=False)
  ]
  made_plain = np.clip(ref.embedding.raw(made[:N_NEAR]), -_FAR, _FAR)
  memory = None
  if ref.train_plain is not None:
    memory = _remembered(keys[-1], ref.train_plain, ref.real_plain, made_plain)
  return DiagnosticStatistics(
    n,
    bool(finite.all()),
    far,
    ref.embedding.name,
    [(s, two_sample.jsd_bound(*x)) for s, x in zip(probes.NOISE_LEVELS, answers, strict=True)],
    ref.null,
    two_sample.c2st(*answers[0]),
    _manifold(ref.real, theirs),
    ref.manifold_null,
    feature_scores.frechet_or_nan(ref.moments, frechet_distance.moments(theirs[:N_MOMENTS])),
    ref.frechet_null,
    cells_lib.cell_occupancy(ref.centres, ref.real[:N_MOMENTS], theirs[:N_MOMENTS]),
    ref.cells_null,
    memory,
    ref.memory_null,
    None if outputs is None else compute_discriminator_statistics(outputs),
    history,
    duality,
    _supported(keys[-1], made_plain, ref.near),
    ref.support_null,
  )


def _spare(train: np.ndarray | None, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Held-out data to compare with, and real data that stand for a perfect sampler."""
  if train is not None and len(train) >= min(len(held_out), N_NEAR):
    return held_out, train
  half = len(held_out) // 2
  return held_out[:half], held_out[half:]


def _probe(
  key: jax.Array, real: np.ndarray, fake: np.ndarray, sigma: float, most: int
) -> tuple[np.ndarray, np.ndarray]:
  n = min(most, len(real), len(fake))
  ours, theirs, _ = probes.train_probes(key, jnp.asarray(real[:n]), jnp.asarray(fake[:n]), sigma, n)
  return np.asarray(ours), np.asarray(theirs)


def _manifold(real: np.ndarray, fake: np.ndarray) -> PrecisionRecall:
  return precision_recall.precision_recall(jnp.asarray(real[:N_NEAR]), jnp.asarray(fake[:N_NEAR]))


def _remembered(
  key: jax.Array, train: np.ndarray, held_out: np.ndarray, fake: np.ndarray
) -> MemorisationScores:
  known, fresh, made = (jnp.asarray(x) for x in (train, held_out, fake))
  limit = np.quantile(np.asarray(nearest_neighbour(fresh, known)[1]), 0.05)
  near = float(np.mean(np.asarray(nearest_neighbour(made, known)[1]) <= limit))
  copying = memorisation.data_copying_score(known, fresh, made, key, min(10, len(train) // 10 + 1))
  return MemorisationScores(memorisation.authenticity(known, made), copying, near)


def _supported(key: jax.Array, rows: np.ndarray, near: float) -> float:
  """As many equally likely samples would come as near to one another as soon; `near` makes 150,000 of data.

  Only the ratio to what data get means anything: a generator with few different samples has less.
  """
  batch = min(_BIRTHDAYS, len(rows))
  return support_lib.estimate_support_size(jnp.asarray(rows), near, key, batch, 100).size


def statistics_as_json(evidence: DiagnosticStatistics) -> dict[str, Any]:
  """The evidence as plain numbers, lists and dicts, in the shape that the report page reads."""
  e = evidence
  rungs = [
    {'sigma': sigma, 'bound': b.value, 'low': b.low, 'high': b.high} for sigma, b in e.ladder
  ]
  rungs[0] |= {'null': e.null.value, 'null_high': e.null.high}
  own = None
  if e.own is not None:
    own = {
      'held_out': e.own.held_out.value,
      'train': e.own.train.value,
      'overfit': e.own.overfit,
      'mean_real': e.own.mean_real,
      'mean_fake': e.own.mean_fake,
    }
  found: dict[str, Any] = {
    'n': e.n,
    'finite': e.finite,
    'ladder': rungs,
    'c2st': e.c2st._asdict(),
    'own': own,
    'manifold': e.manifold._asdict(),
    'manifold_null': e.manifold_null._asdict(),
    'frechet': {'fake': e.frechet, 'null': e.frechet_null},
    'support': {'fake': e.support, 'null': e.support_null},
    'cells': {
      'real': e.cells.real.tolist(),
      'fake': e.cells.fake.tolist(),
      'names': None,
      'divergence': e.cells.divergence,
      'missing': e.cells.missing,
      'width': e.cells.width,
    },
  }
  if e.memory is not None and e.memory_null is not None:
    found |= {'memorisation': e.memory._asdict(), 'memorisation_null': e.memory_null._asdict()}
  if e.own is not None:
    found |= {'gradient': {'slope': e.own.slope}, 'histogram': e.own.histogram}
  if e.duality is not None:
    found['duality'] = e.duality._asdict() | {'gap': e.duality.gap}
  if e.history is not None:
    found['history'] = e.history._asdict() | {'score': e.history.near, 'name': 'nearest neighbours'}
  return found


def monitor_history_from_records(
  records: Sequence[dict[str, Any]], ema_decay: float = 0.0
) -> MonitorHistory | None:
  """The course of a run from the records of its metrics.jsonl; None where nobody watched it.

  How far G is from its average is unknown (NaN) until that has forgotten how G began.
  """
  watched = [r for r in records if 'watch_gap' in r]
  if not watched:
    return None
  pick = lambda name: [float(r[name]) for r in watched]
  steps = [int(r['step']) for r in watched]
  found = MonitorHistory(steps, *(pick(f'watch_{name}') for name in MonitorHistory._fields[1:]))
  settled = 3 / (1 - ema_decay)
  drift = [x if step >= settled else math.nan for step, x in zip(steps, found.drift, strict=True)]
  return found._replace(drift=drift)
