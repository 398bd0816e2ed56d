"""Scores images by their Parzen-window log-likelihood (Goodfellow et al., 2014), beside reference samplers."""

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.data import Dataset
from gan_jax.evaluation import sampling
from gan_jax.evaluation.sampling import GeneratedSamples
from gan_jax.metrics import parzen
from gan_jax.metrics.kmeans import k_means
from gan_jax.metrics.parzen import ParzenScore
from gan_jax.utils.files import write_atomically

# Mean and standard error in nats on MNIST's test set, Table 1 of Goodfellow et al. (2014).
PUBLISHED = {
  'mnist': {
    'adversarial nets (2014)': (225.0, 2.0),
    'deep GSN': (214.0, 1.1),
    'DBN': (138.0, 2.0),
    'stacked CAE': (121.0, 1.6),
  }
}


def parzen_scores(
  drawn: dict[str, GeneratedSamples], dataset: Dataset, split: str
) -> dict[str, ParzenScore]:
  """Returns the Parzen log-likelihood of `split`, 'test' or 'validation', under each set of samples.

  The window width sigma is chosen on the first validation images; a score on 'validation' leaves them out.
  """
  rows = selection_and_query_rows(dataset, split)
  return {k: parzen.parzen_score(jnp.asarray(x.unit_rows), *rows) for k, x in drawn.items()}


def selection_and_query_rows(dataset: Dataset, split: str) -> tuple[jax.Array, jax.Array]:
  """Returns the flattened images [m, d] that choose the bandwidth, and those of `split` to score [n, d]."""
  validation, n = sampling.to_unit_rows(dataset.validation), n_selection_images(dataset)
  return validation[:n], sampling.to_unit_rows(dataset.test) if split == 'test' else validation[n:]


def n_selection_images(dataset: Dataset) -> int:
  """Returns the number of validation images that choose sigma: 1,000 as in 2014, at most half of them."""
  return min(parzen.N_SELECTION, len(dataset.validation) // 2)


def _training_rows(key: jax.Array, train: jax.Array) -> jax.Array:
  return train[jax.random.permutation(key, len(train))[: sampling.N_SAMPLES]]


def _independent_pixels(key: jax.Array, train: jax.Array) -> jax.Array:
  """Draws each pixel from another training image: right marginals, no structure."""
  rows = jax.random.randint(key, (sampling.N_SAMPLES, train.shape[1]), 0, len(train))
  return jnp.take_along_axis(train, rows, axis=0)


_REFERENCE_VERSION = 1  # to be raised when a sampler below or the procedure changes

# Samplers of known quality, (key, training rows [n, d]) -> rows: lower and upper bounds for a score.
REFERENCES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  # With this many centroids three steps bring the score to within a few nats of its limit.
  'kmeans': lambda key, train: k_means(train, _training_rows(key, train), max_steps=3),
  'real': _training_rows,
  'mean': lambda key, train: train.mean(axis=0, keepdims=True),
  'marginals': _independent_pixels,
  'noise': lambda key, train: jax.random.uniform(key, (sampling.N_SAMPLES, train.shape[1])),
}


def reference_scores(
  dataset: Dataset,
  split: str,
  seed: int,
  names: Iterable[str] = tuple(REFERENCES),
  cache: Path | None = None,
) -> dict[str, ParzenScore]:
  """Returns the Parzen log-likelihoods of the samplers `names` of `REFERENCES`, by name.

  They depend on the data and the seed alone and are kept in the folder `cache` where one is given.
  """
  file = f'{_REFERENCE_VERSION}-{dataset.fingerprint[:16]}-{split}-{seed}.json'
  path = cache and cache / 'references' / file
  stored = json.loads(path.read_text()) if path and path.exists() else {}
  scores = {name: ParzenScore(*stored[name]) for name in names if name in stored}
  missing = [name for name in names if name not in scores]
  if missing:
    train, key = sampling.to_unit_rows(dataset.train), jax.random.key(seed)
    rows = selection_and_query_rows(dataset, split)
    scores |= {name: parzen.parzen_score(REFERENCES[name](key, train), *rows) for name in missing}
    if path and all(map(len, rows)):
      with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(stored | scores).encode())
  return {name: scores[name] for name in names}


def parzen_protocol(
  dataset: Dataset, split: str, seed: int, n: int = sampling.N_SAMPLES
) -> dict[str, Any]:
  """Returns the settings that two Parzen scores of n samples must share to be comparable."""
  n_selection = n_selection_images(dataset)
  n_validation = len(dataset.validation) - n_selection
  return {
    'metric': 'Parzen-window log-likelihood, nats per image, pixels in [0, 1]',
    'dataset': dataset.name,
    'fingerprint': dataset.fingerprint,
    'split': split,
    'n_queries': n_validation if split == 'validation' else len(dataset.test),
    'n_training_images': min(sampling.N_SAMPLES, len(dataset.train)),
    'n_samples': n,
    'sigma': f'the best of logspace(-1, 0, 10) on the first {n_selection} validation images',
    'seed': seed,
    'error': 'std / sqrt(n_queries): spread over images only, not over seeds or runs',
  }
