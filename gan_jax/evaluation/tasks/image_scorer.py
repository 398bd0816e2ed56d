"""Scores generated images against real ones by Parzen windows and a classifier's features."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset, image_arrays
from gan_jax.evaluation import classifier as classifier_lib, parzen_evaluation, sampling
from gan_jax.evaluation.sampling import GeneratedSamples
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import feature_scores, frechet_distance, mode_coverage
from gan_jax.metrics.feature_scores import FeatureScores
from gan_jax.metrics.parzen import ParzenScore

_MAX_IMAGES = 60_000  # real images per split that evaluations use
_MAX_BYTES = 2**29  # of real images per split, unless they are fewer than `sampling.N_SAMPLES`
_MAX_PARZEN_DIMENSIONS = 4096  # h w c, above which Parzen windows are slow and uninformative
_N_STACKED_TRAIN = 20_000  # stacked training images that stand for the endless training set
_N_STACKED_SAMPLES = 26_000  # samples in which modes of a stacked set are counted, as published


class ImageScorer:
  """Holds the real images of an evaluation and their classifier, and scores samples against them."""

  def __init__(self, dataset: Dataset, cache: Path | None, contrast: float):
    self._dataset, self._cache, self._contrast = dataset, cache, contrast
    self.n_classes = dataset.n_classes
    self._real_scores: dict[str, dict[str, FeatureScores]] = {}  # of real images, by split

  @functools.cached_property
  def subset(self) -> Dataset:
    """Returns the data set, of too large splits a fixed sample of the images."""
    n = max(sampling.N_SAMPLES, _MAX_BYTES // self._dataset.train[0].nbytes)
    return self._dataset.subsample(min(n, _MAX_IMAGES))

  @functools.cached_property
  def _renormalized(self) -> Dataset:
    """Returns `subset` in the space of generated images: without its contrast where G learns none."""
    data, contrast = self.subset, self._contrast
    return sampling.renormalize_dataset(data, contrast) if contrast else data

  @functools.cached_property
  def real_images(self) -> Dataset:
    """Returns the real images that samples are compared with; of a stacked set, a fixed sample of stacks."""
    data = self.subset
    if data.stack == 1:
      return self._renormalized
    key = jax.random.key(0)
    indices = jax.random.randint(key, (data.stack, _N_STACKED_TRAIN), 0, len(data.train))
    train = np.asarray(image_arrays.stack_channels(jnp.asarray(data.train), indices))
    if self._contrast:
      train = sampling.renormalize_images(train, self._contrast)
    return self._renormalized._replace(train=train, train_labels=None, stack=1)

  def all_training_images(self) -> np.ndarray:
    """Returns every training image, uint8 [n, h, w, c]; of a stacked set, which is endless, `real_images`."""
    data = self._dataset
    if data.stack > 1 or len(self.real_images.train) == len(data.train):
      return self.real_images.train
    return sampling.renormalize_images(data.train, self._contrast) if self._contrast else data.train

  @functools.cached_property
  def classifier(self) -> classifier_lib.Classifier | None:
    """Returns the classifier of the data set, trained at its first use; None without labels."""
    data, cache = self._renormalized, self._cache
    return classifier_lib.load_or_train(data, cache) if self.n_classes else None

  @property
  def uses_parzen(self) -> bool:
    """Returns whether images are small enough for Parzen windows."""
    return math.prod(self._dataset.shape) <= _MAX_PARZEN_DIMENSIONS

  def draw_samples(self, gan: Gan, state: GanState, seed: int) -> dict[str, GeneratedSamples]:
    """Draws the samples to be scored, with the class frequencies of the training set."""
    n = sampling.N_SAMPLES if self._dataset.stack == 1 else _N_STACKED_SAMPLES
    n_rows = sampling.N_SAMPLES if self.uses_parzen else 0
    return sampling.draw_samples(gan, state, seed, n, n_rows, self.sample_labels(gan, n))

  def sample_labels(self, gan: Gan, n: int) -> jax.Array | None:
    """Returns the classes [n] of samples to be scored; None for an unconditional generator."""
    data = self._dataset
    if not gan.n_classes or data.train_labels is None:
      return None
    return sampling.sample_labels_like(data.train_labels, n, data.stack, data.n_base_classes)

  def held_out_sets(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of `split`, 'test' or 'validation', and those of the other held-out split."""
    test, validation = self.real_images.test, self.real_images.validation
    return (test, validation) if split == 'test' else (validation, test)

  def frechet_distances(self, drawn: dict[str, GeneratedSamples], split: str) -> dict[str, float]:
    """Returns the Frechet distance to `split` of each set of samples, and of training images as 'real'.

    Features are the classifier's, without labels pixels averaged to 8 x 8. 'real' is the distance of a
    generator that reproduces the training set.
    """
    features = self.classifier.features if self.classifier else feature_scores.average_pool_8x8
    moments = lambda images: frechet_distance.moments(features(images))
    held_out = moments(self.held_out_sets(split)[0])
    sets = {name: x.images for name, x in drawn.items()} | {'real': self.real_images.train}
    score = lambda x: feature_scores.frechet_or_nan(moments(x[: sampling.N_SAMPLES]), held_out)
    return {name: score(x) for name, x in sets.items()}

  def feature_scores(
    self, drawn: dict[str, GeneratedSamples], split: str
  ) -> dict[str, FeatureScores]:
    """Scores each set of samples against `split` in the classifier's features, 10,000 of either.

    Adds 'train', training images, and 'fresh', the held-out images outside `split`: the scores of a
    generator that reproduces the training set and of a perfect one.
    """
    assert self.classifier is not None
    held_out, fresh = self.held_out_sets(split)
    features = lambda images: self.classifier.features(images[: sampling.N_SAMPLES])
    sets, key = (self._train_features, features(held_out)), jax.random.key(0)
    score = lambda images: feature_scores.feature_scores(*sets, features(images), key)
    if split not in self._real_scores:
      self._real_scores[split] = dict(train=score(self.real_images.train), fresh=score(fresh))
    return {name: score(x.images) for name, x in drawn.items()} | self._real_scores[split]

  @functools.cached_property
  def _train_features(self) -> np.ndarray:
    assert self.classifier is not None
    return self.classifier.features(self.real_images.train)

  def class_fractions(self, images: np.ndarray) -> list[float] | None:
    """Returns the fraction of `images` that the classifier assigns to each class; None without one."""
    if self.classifier is None or self._dataset.stack > 1:
      return None
    labels = self.classifier.probabilities(images).argmax(axis=1)
    return (np.bincount(labels, minlength=self.n_classes) / len(images)).tolist()

  def mode_scores(self, drawn: dict[str, GeneratedSamples]) -> dict[str, dict[str, float]]:
    """Returns modes and their KL to uniform, in nats, of samples of a stacked set; {} for another set."""
    if self._dataset.stack == 1 or self.classifier is None:
      return {}
    scores = {}
    for which, x in drawn.items():
      modes = classifier_lib.stacked_modes(self.classifier, x.images)
      counts = jnp.asarray(np.bincount(modes, minlength=self.n_classes))
      n_modes, kl = mode_coverage.modes_and_uniform_kl(counts)
      scores[which] = {'modes': float(n_modes), 'modes_kl': float(kl)}
    return scores

  @property
  def uniform_kl(self) -> float:
    """Returns the mean KL, to first order, of a perfect sampler of equally frequent modes."""
    return (self.n_classes - 1) / (2 * _N_STACKED_SAMPLES)

  def parzen_references(self, split: str, seed: int) -> dict[str, ParzenScore]:
    """Returns the Parzen log-likelihoods of reference samplers, by name."""
    return parzen_evaluation.reference_scores(self.real_images, split, seed, cache=self._cache)

  def training_images_parzen(self) -> float:
    """Returns the Parzen log-likelihood of validation images under training images, in nats."""
    arguments = (self.real_images, 'validation', 0, ['real'], self._cache)
    return parzen_evaluation.reference_scores(*arguments)['real'].mean
