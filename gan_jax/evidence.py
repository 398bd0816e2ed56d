"""What can be found out about samples: fresh probes, coverage, memory, and what the run's own D says."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.embeddings import Embedding
from gan_jax.metrics import cells as cells_lib
from gan_jax.metrics import features, frechet, manifold, memorisation, probes, two_sample
from gan_jax.metrics.cells import Cells
from gan_jax.metrics.manifold import Manifold
from gan_jax.metrics.neighbours import nearest
from gan_jax.metrics.two_sample import Bound, C2st

N_SHARP = 20_000  # examples of each set for the probes without noise, which see the finest detail
N_NOISY = 5000  # for those with noise, and for real against real
N_MOMENTS = 10_000  # for Frechet distances, and for the cells of the data
N_NEAR = 5000  # for everything about neighbours
N_TRAIN = 50_000  # training examples that copies are looked for among
_CELLS = 25
_FAR = 100.0  # standard deviations of the data, beyond which all is far
_BINS = 40
_JUDGED = 4000  # examples of each set that the run's own D is shown


class Outputs(NamedTuple):
  """What a run's own D gives to three sets, and how steep G's loss is there."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  slope: float  # mean |d loss of G / d output|, of each sample: 0 where G learns nothing


class Memory(NamedTuple):
  """Whether samples are training data."""

  authentic: float  # AuthPct, per cent
  copying: float  # C_T
  near: float  # share of samples nearer to training data than 95 % of held-out data are


class Own(NamedTuple):
  """What the run's own D knows, once its confidence is mended."""

  held_out: Bound  # of the Jensen-Shannon divergence, in nats
  train: Bound  # the same on training data
  overfit: float  # probability that D ranks a training example above a held-out one, 1/2 if not
  overfit_std: float  # of its null
  slope: float
  mean_real: float  # mean of sigmoid of its output, held out
  mean_fake: float
  histogram: dict[str, list[float]]


class History(NamedTuple):
  """The course of a run, from its records."""

  steps: list[int]
  gap: list[float]  # energy distance to held-out data, in mean distances of the data
  near: list[float]  # how much farther nearest neighbours are than those of data
  drift: list[float]  # how far G is from its own average, in mean distances of the data
  slope: list[float]
  own: list[float]  # probability that D ranks a held-out example above a sample


class Evidence(NamedTuple):
  """Everything that a verdict is made from; None where there was nothing to ask."""

  n: dict[str, int]
  finite: bool  # no sample is infinite or NaN
  far: float  # largest spread of samples in a coordinate, over the data's
  embedding: str
  ladder: list[tuple[float, Bound]]  # bound on the divergence by the noise on both sets
  null: Bound  # the same for real against real
  c2st: C2st
  manifold: Manifold
  manifold_null: Manifold
  frechet: float
  frechet_null: float
  cells: Cells
  cells_null: Cells
  memory: Memory | None
  memory_null: Memory | None
  own: Own | None = None
  history: History | None = None


class Reference(NamedTuple):
  """Real data where they are compared, and what a perfect sampler would get: good for any number of samples."""

  n: dict[str, int]  # examples of 'train' and 'held_out'
  embedding: Embedding
  key: jax.Array
  real: np.ndarray  # held-out data, embedded [n, d]
  moments: frechet.Moments  # of them
  centres: jax.Array  # of the cells of the data
  train_plain: (
    np.ndarray | None
  )  # training and held-out data, plainly embedded, as copies are looked for
  real_plain: np.ndarray
  null: Bound
  manifold_null: Manifold
  frechet_null: float
  cells_null: Cells
  memory_null: Memory | None


def reference(
  train: np.ndarray | None, held_out: np.ndarray, embedding: Embedding, seed: int = 0
) -> Reference:
  """Prepare to judge samples beside data [n, ...]; `train` is None where nobody kept it.

  Then nothing can be said about memory. The null takes training data for samples, or half of the
  held-out data where those are few.
  """
  key = jax.random.key(seed)
  null_key, cell_key, memory_key, rest_key = jax.random.split(key, 4)
  n = {'train': 0 if train is None else len(train), 'held_out': len(held_out)}
  real, spare = _spare(train, held_out)
  ours, spares = embedding.whole(real[:N_SHARP]), embedding.whole(spare[:N_MOMENTS])
  moments = frechet.moments(ours[:N_MOMENTS])
  centres = cells_lib.partition_of(
    cell_key, jnp.asarray(spares[:N_NEAR]), min(_CELLS, len(spares) // 40 + 1)
  )
  train_plain, memory_null = None, None
  real_plain = embedding.plain(real[:N_NEAR])
  if train is not None:
    train_plain = embedding.plain(train[:N_TRAIN])
    fresh = embedding.plain(held_out[-N_NEAR:])
    memory_null = _remembered(memory_key, train_plain, real_plain, fresh)
  return Reference(
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
    features.frechet_between(moments, frechet.moments(spares)),
    cells_lib.cells(centres, ours[:N_MOMENTS], spares),
    memory_null,
  )


def gather(
  reference: Reference,
  fake: np.ndarray,
  outputs: Outputs | None = None,
  history: History | None = None,
) -> Evidence:
  """Ask everything of samples `fake` [m, ...]; the run's outputs and course if there are."""
  ref, n = reference, reference.n | {'fake': len(fake)}
  finite = np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)
  made = fake[finite] if finite.sum() >= probes.LEAST else np.zeros_like(fake)
  theirs = ref.embedding.whole(made[:N_SHARP])
  far = float(np.max(theirs.std(axis=0) / np.maximum(ref.real.std(axis=0), 1e-3)))
  theirs = np.clip(theirs, -_FAR, _FAR)
  keys = jax.random.split(ref.key, len(probes.NOISE) + 1)
  answers = [
    _probe(key, ref.real, theirs, sigma, N_NOISY if sigma else N_SHARP)
    for key, sigma in zip(keys, probes.NOISE, strict=False)
  ]
  memory = None
  if ref.train_plain is not None:
    made_plain = ref.embedding.plain(made[:N_NEAR])
    memory = _remembered(keys[-1], ref.train_plain, ref.real_plain, made_plain)
  return Evidence(
    n,
    bool(finite.all()),
    far,
    ref.embedding.name,
    [(s, two_sample.jsd_bound(*x)) for s, x in zip(probes.NOISE, answers, strict=True)],
    ref.null,
    two_sample.c2st(*answers[0]),
    _manifold(ref.real, theirs),
    ref.manifold_null,
    features.frechet_between(ref.moments, frechet.moments(theirs[:N_MOMENTS])),
    ref.frechet_null,
    cells_lib.cells(ref.centres, ref.real[:N_MOMENTS], theirs[:N_MOMENTS]),
    ref.cells_null,
    memory,
    ref.memory_null,
    None if outputs is None else judge_own(outputs),
    history,
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
  ours, theirs, _ = probes.ask(key, jnp.asarray(real[:n]), jnp.asarray(fake[:n]), sigma, n)
  return np.asarray(ours), np.asarray(theirs)


def _manifold(real: np.ndarray, fake: np.ndarray) -> Manifold:
  return manifold.manifold(jnp.asarray(real[:N_NEAR]), jnp.asarray(fake[:N_NEAR]))


def _remembered(
  key: jax.Array, train: np.ndarray, held_out: np.ndarray, fake: np.ndarray
) -> Memory:
  known, fresh, made = (jnp.asarray(x) for x in (train, held_out, fake))
  limit = np.quantile(np.asarray(nearest(fresh, known)[1]), 0.05)
  near = float(np.mean(np.asarray(nearest(made, known)[1]) <= limit))
  copying = memorisation.data_copying(known, fresh, made, key, min(10, len(train) // 10 + 1))
  return Memory(memorisation.authenticity(known, made), copying, near)


def judge_own(outputs: Outputs) -> Own:
  """What the run's own D knows; one half of its outputs mends its confidence, the other is scored."""
  train, held_out, fake = (np.asarray(x, np.float64) for x in outputs[:3])
  n = min(len(held_out), len(fake)) // 2

  def bound(real: np.ndarray) -> Bound:
    half = min(n, len(real) // 2)
    slope, offset = two_sample.calibrated(real[:half], fake[:half])
    return two_sample.jsd_bound(slope * real[half:] + offset, slope * fake[half:] + offset)

  overfit, std = two_sample.ranked_above(train, held_out)
  low, high = np.quantile(np.concatenate([train, held_out, fake]), [0.005, 0.995])
  edges = np.linspace(low, high + 1e-6, _BINS + 1)
  histogram = {'edges': edges.tolist()} | {
    name: (np.histogram(x, edges)[0] / len(x)).tolist()
    for name, x in (('train', train), ('held_out', held_out), ('fake', fake))
  }
  mean = lambda x: float(np.mean(1 / (1 + np.exp(-np.clip(x, -50, 50)))))
  known = bound(train) if len(train) >= 20 else Bound(math.nan, math.nan, math.nan)
  return Own(
    bound(held_out), known, overfit, std, outputs.slope, mean(held_out), mean(fake), histogram
  )


def as_json(evidence: Evidence) -> dict[str, Any]:
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
  if e.history is not None:
    found['history'] = e.history._asdict() | {'score': e.history.near, 'name': 'nearest neighbours'}
  return found


def history_of(records: Sequence[dict[str, Any]]) -> History | None:
  """The course of a run from the records of its metrics.jsonl; None where nobody watched it."""
  watched = [r for r in records if 'watch_gap' in r]
  if not watched:
    return None
  pick = lambda name: [float(r[name]) for r in watched]
  steps = [int(r['step']) for r in watched]
  return History(steps, *(pick(f'watch_{name}') for name in History._fields[1:]))
