"""How good a generator is, with the references that a score has to stand beside."""

import contextlib
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset
from gan_jax.data import dataset as dataset_lib
from gan_jax.evaluation import sampling
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import parzen
from gan_jax.metrics.feature_scores import FeatureScores
from gan_jax.metrics.kmeans import k_means
from gan_jax.utils.files import write_atomically

N_SAMPLES = 10_000  # Parzen windows, as in 2014

# Nats on MNIST's test set, Table 1 of Goodfellow et al. (2014).
PUBLISHED = {
  'mnist': {
    'adversarial nets (2014)': (225.0, 2.0),
    'deep GSN': (214.0, 1.1),
    'DBN': (138.0, 2.0),
    'stacked CAE': (121.0, 1.6),
  }
}


# What each of `REFERENCES` is, as a reader wants it said.
REFERENCE_NAMES = {
  'kmeans': '{n:,} k-means centroids',
  'real': '{n:,} training images',
  'mean': 'the mean training image',
  'marginals': 'independent pixels, right marginals',
  'noise': 'uniform noise',
}


def flat(images: np.ndarray) -> jax.Array:
  """uint8 images [n, h, w, c] as rows [n, d] in [0, 1], the space of Parzen figures."""
  return jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255


class Samples(NamedTuple):
  """Samples of one set of weights."""

  unit: np.ndarray  # float32 rows [windows, d] in [0, 1]: the first of the samples
  painted: np.ndarray  # all as pictures, uint8 [n, h, w, c]


def draw(
  gan: Gan,
  state: GanState,
  seed: int,
  n: int = N_SAMPLES,
  n_windows: int = N_SAMPLES,
  labels: jax.Array | None = None,
) -> dict[str, Samples]:
  """The first n samples of `seed` from the 'raw' and the 'ema' generator, `n_windows` of them as rows too.

  Of the others no more than a batch is ever held in float32. Labels [n] as in `sampling.batches`.
  """
  latents = sampling.fixed_latents(gan.latent, seed, n)
  drawn = {}
  for which in ('raw', 'ema'):
    rows, pictures, missing = [], [], n_windows
    for x in sampling.batches(gan, sampling.weights(state, which), latents, labels):
      painted = np.asarray(sampling.to_uint8(x, gan.contrast))
      pictures.append(painted)
      if missing > 0:
        seen = flat(painted[:missing]) if gan.contrast else (x[:missing] + 1) / 2
        rows.append(np.asarray(seen).reshape(len(seen), -1))
        missing -= len(seen)
    unit = np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    drawn[which] = Samples(unit, np.concatenate(pictures))
  return drawn


def repainted(dataset: Dataset, contrast: float) -> Dataset:
  """The data set whose images have lost their mean and contrast, and are painted as samples then are."""
  arrays = dataset.arrays()
  for split in ('train', 'validation', 'test'):
    arrays[split] = sampling.repaint(arrays[split], contrast)
  return dataset_lib.from_arrays(dataset.name, arrays, dataset.stack)


def parzen_scores(
  drawn: dict[str, Samples], dataset: Dataset, split: str
) -> dict[str, parzen.LogLikelihood]:
  """The Parzen log-likelihood of each set of samples on 'test' or 'validation'.

  Sigma is chosen on the first 1,000 validation images either way; on 'validation' the score is over
  the others.
  """
  selection, queries = held_out(dataset, split)
  return {name: parzen.parzen(jnp.asarray(x.unit), selection, queries) for name, x in drawn.items()}


def held_out(dataset: Dataset, split: str) -> tuple[jax.Array, jax.Array]:
  """Rows on which sigma is chosen, and rows of `split` on which the score is taken."""
  validation, n = flat(dataset.validation), n_selection(dataset)
  return validation[:n], flat(dataset.test) if split == 'test' else validation[n:]


def n_selection(dataset: Dataset) -> int:
  """Validation images that choose sigma: 1,000 as in 2014, and half of them in small sets."""
  return min(parzen.N_SELECTION, len(dataset.validation) // 2)


def _real(key: jax.Array, train: jax.Array) -> jax.Array:
  return train[jax.random.permutation(key, len(train))[:N_SAMPLES]]


def _marginals(key: jax.Array, train: jax.Array) -> jax.Array:
  # Each pixel from a training image of its own: right marginals, no structure.
  rows = jax.random.randint(key, (N_SAMPLES, train.shape[1]), 0, len(train))
  return jnp.take_along_axis(train, rows, axis=0)


_REFERENCE_VERSION = 1  # to be raised when a sampler below or the procedure changes

# Floors and ceilings of a Parzen figure: samplers (key, train [n, d]) whose quality everybody knows.
REFERENCES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  # With so many centroids three rounds take the figure to within a few nats of its end.
  'kmeans': lambda key, train: k_means(train, _real(key, train), max_steps=3),
  'real': _real,
  'mean': lambda key, train: train.mean(axis=0, keepdims=True),
  'marginals': _marginals,
  'noise': lambda key, train: jax.random.uniform(key, (N_SAMPLES, train.shape[1])),
}


def references(
  dataset: Dataset,
  split: str,
  seed: int,
  names: Iterable[str] = tuple(REFERENCES),
  cache: Path | None = None,
) -> dict[str, parzen.LogLikelihood]:
  """What the same procedure gives for the known samplers `names` of `REFERENCES`.

  They depend on the data alone, so they are kept in the folder `cache` where one is given.
  """
  path = (
    cache
    and cache / f'references/{_REFERENCE_VERSION}-{dataset.fingerprint[:16]}-{split}-{seed}.json'
  )
  stored = json.loads(path.read_text()) if path and path.exists() else {}
  scores = {name: parzen.LogLikelihood(*stored[name]) for name in names if name in stored}
  missing = [name for name in names if name not in scores]
  if missing:
    train = flat(dataset.train)
    selection, queries = held_out(dataset, split)
    key = jax.random.key(seed)
    scores |= {
      name: parzen.parzen(REFERENCES[name](key, train), selection, queries) for name in missing
    }
    if path and len(queries) and len(selection):
      with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(stored | scores).encode())
  return {name: scores[name] for name in names}


def protocol(dataset: Dataset, split: str, seed: int, n: int = N_SAMPLES) -> dict[str, Any]:
  """Everything that has to be equal for two Parzen figures to be compared."""
  n_queries = len(dataset.test)
  if split == 'validation':
    n_queries = len(dataset.validation) - n_selection(dataset)
  return {
    'metric': 'Parzen-window log-likelihood, nats per image, pixels in [0, 1]',
    'dataset': dataset.name,
    'fingerprint': dataset.fingerprint,
    'split': split,
    'n_queries': n_queries,
    'n_training_images': min(N_SAMPLES, len(dataset.train)),
    'n_samples': n,
    'sigma': f'the best of logspace(-1, 0, 10) on the first {n_selection(dataset)} validation images',
    'seed': seed,
    'error': 'std / sqrt(n_queries): spread over images only, not over seeds or runs',
  }


def as_json(scores: dict[str, parzen.LogLikelihood]) -> dict[str, dict[str, float]]:
  """Scores by name, each as a dictionary."""
  return {name: score._asdict() for name, score in scores.items()}


def as_lines(
  scores: dict[str, parzen.LogLikelihood],
  references: dict[str, parzen.LogLikelihood],
  protocol: dict[str, Any],
) -> list[str]:
  """A table for a person: the scores among floors and ceilings."""
  dataset, split = protocol['dataset'], protocol['split']
  rows = [
    (
      REFERENCE_NAMES[name].format(n=protocol['n_training_images']),
      score.mean,
      score.standard_error,
      '',
    )
    for name, score in references.items()
  ]
  if split == 'test' and not protocol.get('contrast'):
    rows += [
      (f'{name}, as published', *value, '') for name, value in PUBLISHED.get(dataset, {}).items()
    ]
  names = {'raw': 'this run, last weights', 'ema': 'this run, averaged weights'}
  for which, score in scores.items():
    rows.append((names[which], score.mean, score.standard_error, f'  sigma {score.sigma:.3f}  <--'))
  rows.sort(key=lambda row: (math.isnan(row[1]), -row[1]))
  return [
    f'Parzen log-likelihood on {dataset}, {split} images (nats per image; it rewards blur above reality)',
    *(f'  {name:<44} {mean:8.1f} +- {error:4.1f}{note}' for name, mean, error, note in rows),
  ]


ROW_NAMES = {
  'raw': 'last weights',
  'ema': 'averaged weights',
  'train': 'training images',
  'fresh': 'other held-out images',
}


def feature_lines(scores: dict[str, FeatureScores], split: str) -> list[str]:
  """A table for a person: samples, what memory gets, and what a perfect sampler gets."""
  columns = ('Frechet', 'kernel', 'precision', 'recall', 'density', 'coverage', 'authentic', 'C_T')
  lines = [f"against {split} images, in the classifier's features"]
  lines.append(f'{"":<24}' + ''.join(f'{name:>11}' for name in columns))
  for name, row in scores.items():
    numbers = (f'{row.authentic:.0f} %', f'{row.copying:.1f}')
    cells = (*(f'{value:.3f}' for value in row[:6]), *numbers)
    lines.append(f'{ROW_NAMES[name]:<24}' + ''.join(f'{cell:>11}' for cell in cells))
  return lines


def pixel_line(distances: dict[str, float], split: str, features: str) -> str:
  """Frechet distances in features that need no labels, for a person."""
  return (
    f'Frechet distance of {features}, against {split} images (there are no labels for better '
    f'features): last weights {distances["raw"]:.3f}, averaged weights {distances["ema"]:.3f}, '
    f'training images {distances["real"]:.3f}'
  )


def share_line(shares: list[float]) -> str:
  """The share of samples in each class, for a person."""
  there = sum(share > 0.01 for share in shares)
  percents = ' '.join(f'{100 * share:.1f}' for share in shares)
  return f'classes with over 1 % of samples: {there} of {len(shares)}   (%: {percents})'


def mode_line(found: dict[str, dict[str, float]], n: int, floor: float) -> str:
  """Modes and their KL in n samples of each set of weights, for a person."""
  last, mean = found['raw'], found['ema']
  return (
    f'modes of {n:,} samples: last {last["modes"]:.0f}, KL {last["modes_kl"]:.4f}; '
    f'averaged {mean["modes"]:.0f}, KL {mean["modes_kl"]:.4f} '
    f'(a perfect sampler of even modes: KL {floor:.4f})'
  )
