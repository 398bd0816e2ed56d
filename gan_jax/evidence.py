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
N_NOISY = 10_000  # for those with noise, and for real against real
N_NEAR = 5000  # for everything about neighbours
_CELLS = 25
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
  score: list[float]  # lower is better, held out
  drift: list[float]  # how far G is from its own average, in mean distances of the data
  slope: list[float]
  name: str  # of the score


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


def gather(
  train: np.ndarray | None,
  held_out: np.ndarray,
  fake: np.ndarray,
  embedding: Embedding,
  seed: int = 0,
  outputs: Outputs | None = None,
  history: History | None = None,
) -> Evidence:
  """Ask everything of samples `fake` [m, ...] beside data [n, ...]; the run's outputs and course if there are.

  `train` is None where nobody kept it: then nothing can be said about memory. The real-against-real
  null takes training data for samples, or half of the held-out data where those are few.
  """
  n = {'train': 0 if train is None else len(train), 'held_out': len(held_out), 'fake': len(fake)}
  keys = jax.random.split(jax.random.key(seed), 3)
  finite = bool(np.isfinite(fake).all()) if fake.dtype.kind == 'f' else True
  real, spare = _spare(train, held_out)
  made = fake[np.isfinite(fake.reshape(len(fake), -1)).all(axis=1)] if not finite else fake
  if len(made) < probes.LEAST:  # nothing is left to look at: say so with what is there
    made = np.zeros_like(fake)
  ours, theirs, spares = (embedding.whole(x) for x in (real, made, spare))
  far = float(np.max(theirs.std(axis=0) / np.maximum(ours.std(axis=0), 1e-3)))
  theirs = np.clip(theirs, -1e4, 1e4)
  ladder, null, test = _ask_probes(keys[0], ours, theirs, spares)
  near = lambda x: jnp.asarray(x[:N_NEAR])
  centres = cells_lib.partition_of(keys[1], near(spares), min(_CELLS, len(spares) // 40 + 1))
  known = lambda x: cells_lib.cells(centres, ours[:N_NOISY], x[:N_NOISY])
  moments = [frechet.moments(x[:N_NOISY]) for x in (ours, theirs, spares)]
  memory = memory_null = None
  if train is not None:
    plain = [embedding.plain(x) for x in (train[:N_NOISY], real[:N_NEAR], made[:N_NEAR])]
    spare_plain = embedding.plain(held_out[-N_NEAR:])
    memory = _remembered(*plain, keys[2])
    memory_null = _remembered(plain[0], plain[1], spare_plain, keys[2])
  return Evidence(
    n,
    finite,
    far,
    embedding.name,
    ladder,
    null,
    test,
    manifold.manifold(near(ours), near(theirs)),
    manifold.manifold(near(ours), near(spares)),
    features.frechet_between(moments[0], moments[1]),
    features.frechet_between(moments[0], moments[2]),
    known(theirs),
    known(spares),
    memory,
    memory_null,
    None if outputs is None else judge_own(outputs),
    history,
  )


def _spare(train: np.ndarray | None, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Held-out data to compare with, and real data that stand for a perfect sampler."""
  if train is not None and len(train) >= min(len(held_out), N_NEAR):
    return held_out, train
  half = len(held_out) // 2
  return held_out[:half], held_out[half:]


def _ask_probes(
  key: jax.Array, real: np.ndarray, fake: np.ndarray, spare: np.ndarray
) -> tuple[list[tuple[float, Bound]], Bound, C2st]:
  sharp = min(N_SHARP, len(real), len(fake))
  noisy = min(N_NOISY, len(real), len(fake), len(spare))
  ours, theirs, spares = (jnp.asarray(x) for x in (real, fake, spare))
  first = probes.ask(key, ours[:sharp], theirs[None, :sharp], jnp.zeros(1), sharp)
  sigmas = jnp.asarray((*probes.NOISE[1:], 0.0))
  sets = jnp.stack([theirs[:noisy]] * (len(sigmas) - 1) + [spares[:noisy]])
  others = probes.ask(key, ours[:noisy], sets, sigmas, noisy)
  pairs = list(zip(np.asarray(first[0]), np.asarray(first[1]), strict=True))
  pairs += list(zip(np.asarray(others[0]), np.asarray(others[1]), strict=True))
  bounds = [two_sample.jsd_bound(a, b) for a, b in pairs]
  test = two_sample.c2st(*pairs[0])
  return list(zip(probes.NOISE, bounds[:-1], strict=True)), bounds[-1], test


def _remembered(
  train: np.ndarray, held_out: np.ndarray, fake: np.ndarray, key: jax.Array
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
    found['history'] = e.history._asdict()
  return found


def history_of(records: Sequence[dict[str, Any]]) -> History | None:
  """The course of a run from the records of its metrics.jsonl; None where nobody watched it."""
  watched = [r for r in records if 'watch_gap' in r]
  if not watched:
    return None
  pick = lambda name: [float(r[name]) for r in watched]
  steps = [int(r['step']) for r in watched]
  return History(steps, pick('watch_gap'), pick('watch_drift'), pick('watch_slope'), 'watch_gap')
