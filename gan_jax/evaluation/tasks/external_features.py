"""Sets of images judged in the features of a network that was trained on others: Inception, say."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.data import Progress
from gan_jax.evaluation import evaluate, sampling
from gan_jax.evaluation.feature_networks import FeatureNetwork, remembered
from gan_jax.evaluation.tasks.images import ImageTask
from gan_jax.evaluation.tasks.task import Report
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import feature_scores
from gan_jax.metrics.feature_scores import NetworkScores
from gan_jax.utils.files import json_safe

AGAINST = ('held_out', 'train')
N_SAMPLES = 10_000
_COLUMNS = ('Frechet', 'FD inf', 'kernel', 'precision', 'recall', 'density', 'coverage', 'IS')


def report(
  task: ImageTask,
  network: FeatureNetwork,
  gan: Gan,
  state: GanState,
  split: str,
  seed: int,
  n: int = N_SAMPLES,
  against: str = 'held_out',
  cache: Path | None = None,
) -> Report:
  """What the network says of the first `n` samples of `seed`, against the first `n` real images.

  Those are the images of `split`, or where `against` is 'train' the training images, as in most published
  figures. Beside the samples, as many training images ('train'), where they are not the measure
  themselves, and held-out images ('fresh'): what memory gets, and what a perfect sampler gets. What is
  found of real images is kept in the folder `cache`. Raises UserError where n are too many for the
  memory, or the network cannot see such images.
  """
  sampling.check_memory(n, task.shape, gan.latent.size)
  target, known = _real(task, split, against)
  progress, key = Progress(), jax.random.key(0)
  of_real = lambda images: remembered(network, images[:n], cache, progress)
  reals = of_real(target)
  judge = lambda x: feature_scores.network_scores(reals, x, network.probabilities(x), key)
  scores: dict[str, NetworkScores] = {}
  counts: dict[str, int] = {}
  drawn = evaluate.draw(gan, state, seed, n, 0, task.judge.classes(gan, n))
  for name, x in drawn.items():
    scores[name], counts[name] = judge(network.features(x.painted, progress)), n
  for name, images in known.items():
    scores[name], counts[name] = judge(of_real(images)), min(n, len(images))
  protocol = _protocol(task, network, split, against)
  protocol |= {'n_real': len(reals), 'n_samples': n, 'seed': seed}
  found = {name: x._asdict() for name, x in scores.items()}
  values = {'protocol': protocol, 'scores': found, 'n': counts}
  text = '\n'.join(_lines(scores, counts, protocol, network.title))
  return Report(text, json_safe(values), {name: found[name] for name in drawn})


def _real(task: ImageTask, split: str, against: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """The images to compare with, and by name the sets of known quality that stand beside the samples."""
  data = task.judge.whole
  held_out, other = data.test, data.validation
  if split == 'validation':
    held_out, other = other, held_out
  if against == 'train':
    return data.train, {'fresh': held_out}
  return held_out, {'train': data.train, 'fresh': other}


def _protocol(task: ImageTask, network: FeatureNetwork, split: str, against: str) -> dict[str, Any]:
  """Everything but the numbers of images that has to be equal for two such figures to be compared."""
  return {
    'dataset': task.judge.whole.name,
    'fingerprint': task.judge.whole.fingerprint,
    'split': 'train' if against == 'train' else split,
    'features': f'{network.name} {network.hash[:16]}',
    'preparation': network.preparation,
    'inception_score': 'of all samples at once',
  }


def _lines(
  scores: dict[str, NetworkScores], counts: dict[str, int], protocol: dict[str, Any], title: str
) -> list[str]:
  """The scores for a person; a dash where there are too few images for one."""
  kind = 'training' if protocol['split'] == 'train' else protocol['split']
  lines = [f'against {protocol["n_real"]:,} {kind} images, in the features of {title}']
  lines.append(f'{"":<32}' + ''.join(f'{name:>10}' for name in _COLUMNS))
  for name, row in scores.items():
    cells = ('-' if math.isnan(value) else f'{value:.3f}' for value in row)
    head = f'{evaluate.ROW_NAMES[name]} ({counts[name]:,})'
    lines.append(f'{head:<32}' + ''.join(f'{cell:>10}' for cell in cells))
  if all(math.isnan(row.frechet_infinity) for row in scores.values()):
    lines.append('FD inf needs more than ten samples for each feature: raise --num_samples')
  lines.append('protocol: ' + ', '.join(f'{name} {value}' for name, value in protocol.items()))
  return lines
