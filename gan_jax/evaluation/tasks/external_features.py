"""Scores generated images in the features of a network trained on other images, such as Inception-v3."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import Progress
from gan_jax.evaluation import sampling
from gan_jax.evaluation.feature_networks import FeatureNetwork, cached_features
from gan_jax.evaluation.score_tables import SET_TITLES
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.evaluation.tasks.task import EvaluationReport
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics.feature_scores import NetworkScores, network_scores
from gan_jax.utils.files import json_safe

REFERENCE_SPLITS = ('held_out', 'train')
N_SAMPLES = 10_000
_COLUMNS = ('Frechet', 'FD inf', 'kernel', 'precision', 'recall', 'density', 'coverage', 'IS')


def external_report(
  task: ImageTask,
  network: FeatureNetwork,
  gan: Gan,
  state: GanState,
  split: str,
  seed: int,
  n: int = N_SAMPLES,
  against: str = 'held_out',
  cache: Path | None = None,
) -> EvaluationReport:
  """Scores samples of both weights, and real images beside them, in the features of `network`.

  Training images ('train') show the scores of a generator that reproduces them, other held-out images
  ('fresh') those of a perfect generator. Both are compared with `split`, 'test' or 'validation', where
  `against` is 'held_out', and with training images, as most published scores, where it is 'train'; `n`
  bounds the number of samples and of real images. The folder `cache` keeps the features of real images.
  Raises UserError where n samples exceed the memory or the network does not take such images.
  """
  sampling.check_sample_memory(n, task.shape, gan.latent.size)
  target, others = _real_sets(task, split, against)
  progress, key = Progress(), jax.random.key(0)
  real_features = lambda images: cached_features(network, images[:n], cache, progress)
  real = real_features(target)
  score = lambda x: network_scores(real, x, network.probabilities(x), key)
  scores: dict[str, NetworkScores] = {}
  counts: dict[str, int] = {}
  drawn = sampling.draw_samples(gan, state, seed, n, 0, task.scorer.sample_labels(gan, n))
  for name, samples in drawn.items():
    scores[name], counts[name] = score(network.features(samples.images, progress)), n
  for name, images in others.items():
    scores[name], counts[name] = score(real_features(images)), min(n, len(images))
  protocol = _protocol(task, network, split, against)
  protocol |= {'n_real': len(real), 'n_samples': n, 'seed': seed}
  by_name = {name: x._asdict() for name, x in scores.items()}
  values = {'protocol': protocol, 'scores': by_name, 'n': counts}
  text = '\n'.join(_table(scores, counts, protocol, network.title))
  return EvaluationReport(text, json_safe(values), {name: by_name[name] for name in drawn})


def _real_sets(
  task: ImageTask, split: str, against: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Returns the images to compare with, and the other real images by name."""
  train, (held_out, fresh) = task.scorer.real_images.train, task.scorer.held_out_sets(split)
  if against == 'train':
    return train, {'fresh': held_out}
  return held_out, {'train': train, 'fresh': fresh}


def _protocol(task: ImageTask, network: FeatureNetwork, split: str, against: str) -> dict[str, Any]:
  """Returns the settings, but for numbers of images, that two comparable reports share."""
  data = task.scorer.real_images
  return {
    'dataset': data.name,
    'fingerprint': data.fingerprint,
    'split': 'train' if against == 'train' else split,
    'features': f'{network.name} {network.hash[:16]}',
    'preparation': network.preparation,
    'inception_score': 'of all samples at once',
  }


def _table(
  scores: dict[str, NetworkScores], counts: dict[str, int], protocol: dict[str, Any], title: str
) -> list[str]:
  """Formats a row of scores for each set of images; a dash where too few images give no score."""
  kind = 'training' if protocol['split'] == 'train' else protocol['split']
  lines = [f'against {protocol["n_real"]:,} {kind} images, in the features of {title}']
  lines.append(f'{"":<32}' + ''.join(f'{name:>10}' for name in _COLUMNS))
  for name, row in scores.items():
    cells = ('-' if math.isnan(value) else f'{value:.3f}' for value in row)
    head = f'{SET_TITLES[name]} ({counts[name]:,})'
    lines.append(f'{head:<32}' + ''.join(f'{cell:>10}' for cell in cells))
  if all(math.isnan(row.frechet_infinity) for row in scores.values()):
    lines.append('FD inf needs more than ten samples for each feature: raise --num_samples')
  lines.append('protocol: ' + ', '.join(f'{name} {value}' for name, value in protocol.items()))
  return lines
