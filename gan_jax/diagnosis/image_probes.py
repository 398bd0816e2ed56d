"""Trains probes that look at images themselves: boosted trees on statistics, and convolutional networks."""

import functools

import numpy as np

from gan_jax.diagnosis import boosted_trees, convolutional_probes
from gan_jax.diagnosis.convolutional_probes import FittedProbe, ProbeNetwork
from gan_jax.diagnosis.probe_calibration import calibrate_scores
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.metrics.image_statistics import image_statistics, pool_images

NETWORKS = {
  'convolutional, 8 channels': ProbeNetwork(8, 2, full_resolution=True),
  'convolutional, 24 channels': ProbeNetwork(24, 3),
}
_POOLED_SIDE = 32  # pixels, of the whole image where networks see crops


def train_image_probes(seed: int, real: ExampleParts, fake: ExampleParts) -> list[ProbeScores]:
  """Trains probes of several kinds to tell real from fake uint8 images [n, h, w, c] of equal shape."""
  scores = [score_statistics(seed, real, fake)]
  for name, network in NETWORKS.items():
    probe = convolutional_probes.fit_convolutional_probe(name, network, seed, real, fake)
    scores.append(_score_network(probe, real, fake))
  if max(real.train.shape[1:3]) > convolutional_probes.LARGEST_WHOLE:
    name, network = list(NETWORKS.items())[-1]
    pooled = [ExampleParts(*(_pool(x) for x in parts)) for parts in (real, fake)]
    name = f'{name}, whole images of {_POOLED_SIDE} pixels'
    probe = convolutional_probes.fit_convolutional_probe(name, network, seed, *pooled)
    scores.append(_score_network(probe, *pooled))
  return scores


def score_statistics(seed: int, real: ExampleParts, fake: ExampleParts) -> ProbeScores:
  """Trains boosted trees on `image_statistics` and scores the test parts."""
  rows = [[image_statistics(part) for part in parts] for parts in (real, fake)]
  train, validation, test = zip(*rows, strict=True)
  model = boosted_trees.fit_boosted_trees(seed, train, validation)
  predict = functools.partial(boosted_trees.predict_logits, model)
  held_out = (predict(validation[0]), predict(validation[1]))
  tested = (predict(test[0]), predict(test[1]))
  return calibrate_scores('trees on statistics of pixels', held_out, tested)


def _score_network(probe: FittedProbe, real: ExampleParts, fake: ExampleParts) -> ProbeScores:
  predict = lambda x: convolutional_probes.predict_logits(probe, x)
  validation = (predict(real.validation), predict(fake.validation))
  return calibrate_scores(probe.name, validation, (predict(real.test), predict(fake.test)))


def _pool(images: np.ndarray) -> np.ndarray:
  return np.rint(255 * pool_images(images, _POOLED_SIDE)).astype(np.uint8)
