"""What is looked at in a set of images, and what is found in samples of it."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset, image_arrays
from gan_jax.evaluation import classifier as classifier_lib
from gan_jax.evaluation import evaluate, sampling
from gan_jax.evaluation.evaluate import Samples
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import feature_scores, frechet_distance, mode_coverage, parzen
from gan_jax.metrics.feature_scores import FeatureScores

_JUDGED = 60_000  # images of each split that are looked at, at most, ...
_JUDGED_BYTES = 2**29  # or so many bytes of them, but as many as there are samples
_PARZEN_LIMIT = 4096  # numbers in an image, above which windows say nothing and cost much
_STACKED = 20_000  # stacked training images that pictures and references are taken from
_N_STACKED = 26_000  # samples of a stacked set whose modes are counted, as published


class ImageJudge:
  """The images of a set that are looked at, its classifier, and the scores of samples beside them."""

  def __init__(self, dataset: Dataset, cache: Path | None, contrast: float):
    self._dataset, self._cache, self._contrast = dataset, cache, contrast
    self.n_classes = dataset.n_classes

  @functools.cached_property
  def judged(self) -> Dataset:
    """The data set with a fixed sample of each split that holds more than can be judged."""
    n = max(evaluate.N_SAMPLES, _JUDGED_BYTES // self._dataset.train[0].nbytes)
    return self._dataset.thinned(min(n, _JUDGED))

  @functools.cached_property
  def _painted(self) -> Dataset:
    """The same in the space of painted samples: scores compare like with like."""
    return evaluate.repainted(self.judged, self._contrast) if self._contrast else self.judged

  @functools.cached_property
  def whole(self) -> Dataset:
    """The data set as scores see it, training images whole: of a stacked one, a fixed sample."""
    data = self.judged
    if data.stack == 1:
      return self._painted
    key = jax.random.key(0)
    indices = jax.random.randint(key, (data.stack, _STACKED), 0, len(data.train))
    train = np.asarray(image_arrays.stack(jnp.asarray(data.train), indices))
    if self._contrast:
      train = sampling.repaint(train, self._contrast)
    return self._painted._replace(train=train, train_labels=None, stack=1)

  @functools.cached_property
  def classifier(self) -> 'classifier_lib.Classifier | None':
    """The classifier of this set, trained at its first use; None without labels."""
    if not self.n_classes:
      return None
    return classifier_lib.load_or_train(self._painted, self._cache)

  @property
  def has_parzen(self) -> bool:
    """Whether Parzen windows are worth their time."""
    return math.prod(self._dataset.shape) <= _PARZEN_LIMIT

  def draw(self, gan: Gan, state: GanState, seed: int) -> dict[str, Samples]:
    """Samples to be scored; a conditional generator is asked for classes as often as training images are."""
    n = evaluate.N_SAMPLES if self._dataset.stack == 1 else _N_STACKED
    n_windows = evaluate.N_SAMPLES if self.has_parzen else 0
    return evaluate.draw(gan, state, seed, n, n_windows, self.classes(gan, n))

  def classes(self, gan: Gan, n: int) -> jax.Array | None:
    """The classes [n] of samples that are to be scored; None for a generator that asks for none."""
    data = self._dataset
    if not gan.n_classes or data.train_labels is None:
      return None
    return sampling.labels_like(data.train_labels, n, data.stack, data.n_part_classes)

  def frechet_distances(self, drawn: dict[str, Samples], split: str) -> dict[str, float]:
    """The Frechet distance of each set of samples to `split`, in the classifier's features.

    Without a classifier in pixels averaged to 8 x 8. Beside them 'real': as many training images, what a
    perfect memory of the training set would get.
    """
    data, n = self.whole, evaluate.N_SAMPLES
    look = feature_scores.averaged if self.classifier is None else self.classifier.features
    held_out = frechet_distance.moments(look(data.test if split == 'test' else data.validation))
    sets = {name: x.painted for name, x in drawn.items()} | {'real': data.train}
    return {
      name: feature_scores.frechet_between(frechet_distance.moments(look(x[:n])), held_out)
      for name, x in sets.items()
    }

  def feature_scores(self, drawn: dict[str, Samples], split: str) -> dict[str, FeatureScores]:
    """What the classifier's features say of each set of samples against `split`, 10,000 of either.

    Beside them 'train', as many training images, and 'fresh', the held-out images that are not of
    `split`: what memory gets, and what a perfect sampler gets.
    """
    assert self.classifier is not None
    data, n, look = self.whole, evaluate.N_SAMPLES, self.classifier.features
    held_out, fresh = data.test, data.validation
    if split == 'validation':
      held_out, fresh = fresh, held_out
    target = look(held_out[:n])
    judge = lambda pictures: feature_scores.feature_scores(
      self._train_features, target, look(pictures[:n]), jax.random.key(0)
    )
    if split not in self._known_scores:
      self._known_scores[split] = {'train': judge(data.train), 'fresh': judge(fresh)}
    return {name: judge(x.painted) for name, x in drawn.items()} | self._known_scores[split]

  @functools.cached_property
  def _known_scores(self) -> dict[str, dict[str, FeatureScores]]:
    return {}  # by split: the same for all runs

  @functools.cached_property
  def _train_features(self) -> np.ndarray:
    assert self.classifier is not None
    return self.classifier.features(self.whole.train)

  def shares(self, painted: np.ndarray) -> list[float] | None:
    """Share of the pictures, uint8 [n, h, w, c], that the classifier gives to each class; None without one."""
    if self.classifier is None or self._dataset.stack > 1:
      return None
    labels = self.classifier.probabilities(painted).argmax(axis=1)
    return (np.bincount(labels, minlength=self.n_classes) / len(painted)).tolist()

  def modes(self, drawn: dict[str, Samples]) -> dict[str, dict[str, float]]:
    """Modes and their KL to uniform, in nats, of samples of a stacked set; {} for any other."""
    if self._dataset.stack == 1 or self.classifier is None:
      return {}
    found = {}
    for which, x in drawn.items():
      indices = classifier_lib.stacked_modes(self.classifier, x.painted)
      counts = np.bincount(indices, minlength=self.n_classes)
      n_modes, kl = mode_coverage.histogram_kl(jnp.asarray(counts))
      found[which] = {'modes': float(n_modes), 'modes_kl': float(kl)}
    return found

  @property
  def kl_floor(self) -> float:
    """What the KL of a perfect sampler of even modes is on average, to first order."""
    return (self.n_classes - 1) / (2 * _N_STACKED)

  def references(self, split: str, seed: int) -> dict[str, parzen.LogLikelihood]:
    """Parzen log-likelihoods of sets of known quality, by name."""
    return evaluate.references(self.whole, split, seed, cache=self._cache)

  def parzen_of_real(self) -> float:
    """The Parzen log-likelihood of validation images under training images, in nats."""
    return evaluate.references(self.whole, 'validation', 0, ['real'], self._cache)['real'].mean
