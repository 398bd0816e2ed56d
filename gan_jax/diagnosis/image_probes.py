"""Trains probes that look at images themselves: boosted trees on statistics, and convolutional networks."""

import functools
from typing import NamedTuple

import numpy as np

from gan_jax.diagnosis import boosted_trees, convolutional_probes
from gan_jax.diagnosis.convolutional_probes import FittedProbe, ProbeNetwork
from gan_jax.diagnosis.probe_calibration import calibrate_scores
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.metrics.image_statistics import image_statistics, pool_images

# Faults of texture show in the first at every place; moved images show the second what does not depend on it.
NETWORKS = {
  'convolutional, 8 channels': ProbeNetwork(8, 2, full_resolution=True),
  'convolutional, 24 channels': ProbeNetwork(24, 3, shift=2),
}
Pair = tuple[np.ndarray, np.ndarray]
_POOLED_SIDE = 32  # pixels, of the whole image where networks see crops


class ImageProbes(NamedTuple):
  """Holds the scores of all probes, and the best network that sees pixels at full resolution."""

  scores: list[ProbeScores]
  network: FittedProbe


def train_image_probes(seed: int, real: ExampleParts, fake: ExampleParts) -> list[ProbeScores]:
  """Trains probes of several kinds to tell real from fake uint8 images [n, h, w, c] of equal shape."""
  return fit_image_probes(seed, real, fake).scores


def fit_image_probes(seed: int, real: ExampleParts, fake: ExampleParts) -> ImageProbes:
  """Does as `train_image_probes`, and returns the best network as well."""
  fitted, found = [], []
  for name, network in NETWORKS.items():
    fitted.append(convolutional_probes.fit_convolutional_probe(name, network, seed, real, fake))
    found.append(_score_network(fitted[-1], real, fake))
  best = int(np.argmin([each.scores.validation_cross_entropy for each in found]))
  if convolutional_probes.is_cropped(real.train.shape):
    name, network = list(NETWORKS.items())[-1]
    pooled = [ExampleParts(*(_pool(x) for x in parts)) for parts in (real, fake)]
    name = f'{name}, whole images of {_POOLED_SIDE} pixels'
    probe = convolutional_probes.fit_convolutional_probe(name, network, seed, *pooled)
    found.append(_score_network(probe, *pooled))
  found.insert(0, _score_statistics(seed, real, fake))
  return ImageProbes([*(each.scores for each in found), _combine(found)], fitted[best])


def score_statistics(seed: int, real: ExampleParts, fake: ExampleParts) -> ProbeScores:
  """Trains boosted trees on `image_statistics` and scores the test parts: the cheapest of the probes."""
  return _score_statistics(seed, real, fake).scores


class _Scored(NamedTuple):
  """Holds the scores of a probe, and its logits on the validation parts (real [n], fake [m])."""

  scores: ProbeScores
  validation: Pair


def _score_statistics(seed: int, real: ExampleParts, fake: ExampleParts) -> _Scored:
  rows = [[image_statistics(part) for part in parts] for parts in (real, fake)]
  train, validation, test = zip(*rows, strict=True)
  model = boosted_trees.fit_boosted_trees(seed, train, validation)
  predict = functools.partial(boosted_trees.predict_logits, model)
  held_out = (predict(validation[0]), predict(validation[1]))
  tested = (predict(test[0]), predict(test[1]))
  return _Scored(calibrate_scores('trees on statistics of pixels', held_out, tested), held_out)


def _score_network(probe: FittedProbe, real: ExampleParts, fake: ExampleParts) -> _Scored:
  predict = lambda x: convolutional_probes.predict_logits(probe, x)
  held_out = (predict(real.validation), predict(fake.validation))
  tested = (predict(real.test), predict(fake.test))
  return _Scored(calibrate_scores(probe.name, held_out, tested), held_out)


def _combine(found: list[_Scored]) -> ProbeScores:
  """Adds the calibrated logits of all probes: one that tells nothing adds next to nothing."""
  calibrated = [calibrate_scores('', each.validation, each.validation) for each in found]
  held_out = (
    np.sum([x.real for x in calibrated], axis=0),
    np.sum([x.fake for x in calibrated], axis=0),
  )
  tested = [each.scores for each in found]
  test = (np.sum([x.real for x in tested], axis=0), np.sum([x.fake for x in tested], axis=0))
  return calibrate_scores('all image probes together', held_out, test)


def _pool(images: np.ndarray) -> np.ndarray:
  return np.rint(255 * pool_images(images, _POOLED_SIDE)).astype(np.uint8)
