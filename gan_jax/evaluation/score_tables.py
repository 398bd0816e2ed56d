"""Formats the scores of an evaluation as lines of text."""

import math
from typing import Any

from gan_jax.evaluation.parzen_evaluation import PUBLISHED
from gan_jax.metrics.feature_scores import FeatureScores
from gan_jax.metrics.parzen import ParzenScore

# Titles of the keys of `parzen_evaluation.REFERENCES`.
REFERENCE_TITLES = {
  'kmeans': '{n:,} k-means centroids',
  'real': '{n:,} training images',
  'mean': 'the mean training image',
  'marginals': 'independent pixels, right marginals',
  'noise': 'uniform noise',
}
# Titles of the sets of images that features are computed of.
SET_TITLES = {
  'raw': 'last weights',
  'ema': 'averaged weights',
  'train': 'training images',
  'fresh': 'other held-out images',
}


def parzen_table(
  scores: dict[str, ParzenScore], references: dict[str, ParzenScore], protocol: dict[str, Any]
) -> list[str]:
  """Formats Parzen log-likelihoods, best first, of a run, of reference samplers and as published.

  `scores` holds those of 'raw' and 'ema' weights, `protocol` the result of `parzen_protocol`.
  """
  dataset, split = protocol['dataset'], protocol['split']
  rows = []
  for name, score in references.items():
    title = REFERENCE_TITLES[name].format(n=protocol['n_training_images'])
    rows.append((title, score.mean, score.standard_error, ''))
  if split == 'test' and not protocol.get('contrast'):
    published = PUBLISHED.get(dataset, {})
    rows += [(f'{name}, as published', *value, '') for name, value in published.items()]
  for which, score in scores.items():
    title, note = f'this run, {SET_TITLES[which]}', f'  sigma {score.sigma:.3f}  <--'
    rows.append((title, score.mean, score.standard_error, note))
  rows.sort(key=lambda row: (math.isnan(row[1]), -row[1]))
  return [
    f'Parzen log-likelihood on {dataset}, {split} images (nats per image; it rewards blur above reality)',
    *(f'  {title:<44} {mean:8.1f} +- {error:4.1f}{note}' for title, mean, error, note in rows),
  ]


def feature_table(scores: dict[str, FeatureScores], split: str) -> list[str]:
  """Formats scores in a classifier's features, a row for each set of `SET_TITLES`."""
  columns: tuple[str, ...] = (
    'Frechet',
    'kernel',
    'precision',
    'recall',
    'density',
    'coverage',
    'authentic',
    'C_T',
  )
  rows = [('', *columns)]
  for name, x in scores.items():
    copying = (f'{x.authentic:.0f} %', f'{x.copying:.1f}')
    rows.append((SET_TITLES[name], *(f'{value:.3f}' for value in x[:6]), *copying))
  lines = (f'{title:<24}' + ''.join(f'{cell:>11}' for cell in cells) for title, *cells in rows)
  return [f"against {split} images, in the classifier's features", *lines]


def pixel_frechet_line(distances: dict[str, float], split: str, features: str) -> str:
  """Formats Frechet distances of 'raw', 'ema' and 'real' in `features` that need no labels."""
  return (
    f'Frechet distance of {features}, against {split} images (there are no labels for better '
    f'features): last weights {distances["raw"]:.3f}, averaged weights {distances["ema"]:.3f}, '
    f'training images {distances["real"]:.3f}'
  )


def class_fractions_line(fractions: list[float]) -> str:
  """Formats the fraction of samples in each class."""
  n_present = sum(fraction > 0.01 for fraction in fractions)
  percents = ' '.join(f'{100 * fraction:.1f}' for fraction in fractions)
  return f'classes with over 1 % of samples: {n_present} of {len(fractions)}   (%: {percents})'


def modes_line(scores: dict[str, dict[str, float]], n: int, uniform_kl: float) -> str:
  """Formats the modes in n samples of 'raw' and 'ema' weights, with their KL to uniform in nats.

  `uniform_kl` is the mean KL of n draws from the uniform distribution over modes.
  """
  raw, ema = scores['raw'], scores['ema']
  return (
    f'modes of {n:,} samples: last {raw["modes"]:.0f}, KL {raw["modes_kl"]:.4f}; '
    f'averaged {ema["modes"]:.0f}, KL {ema["modes_kl"]:.4f} '
    f'(a uniform sampler: KL {uniform_kl:.4f})'
  )
