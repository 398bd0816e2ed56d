"""Sets of images: judged by Parzen windows, by a classifier's features, and by eye."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import classifier as classifier_lib
from gan_jax import evaluate, feeds, images, pictures, plots
from gan_jax.data import Dataset
from gan_jax.evaluate import Samples
from gan_jax.feeds import Data, Feed, Images
from gan_jax.gan import Gan, GanState
from gan_jax.metrics import frechet, modes
from gan_jax.metrics.features import FeatureScores, feature_scores
from gan_jax.tasks import watched
from gan_jax.tasks.task import Measurement, Report

_PARZEN_LIMIT = 4096  # numbers in an image, above which windows say nothing and cost much
_STACKED = 20_000  # stacked training images that pictures and references are taken from


class ImageTask:
  """A set of images as the training loop sees it."""

  def __init__(self, dataset: Dataset, cache: Path | None = None, contrast: float = 0.0):
    self.dataset, self._cache, self._contrast = dataset, cache, contrast
    self.name, self.fingerprint = dataset.name, dataset.fingerprint
    self.shape: tuple[int, ...] = dataset.shape
    self.n_classes = dataset.n_classes
    self.n_train = len(dataset.train)

  @property
  def ranked_by(self) -> tuple[str, bool]:
    """Frechet distance where a classifier can be trained, else Parzen windows."""
    return ('frechet', False) if self.n_classes else ('parzen', True)

  @property
  def mean_image(self) -> np.ndarray:
    """The mean training image [h, w, c] in [0, 1]."""
    mean = self.dataset.train.mean(axis=0) / 255
    return np.concatenate([mean] * self.dataset.stack, axis=-1)

  @property
  def feed(self) -> Feed:
    """Shuffled training images."""
    stack = self.dataset.stack
    n_labels = round(self.n_classes ** (1 / stack))
    return feeds.from_images(stack, n_labels, self._contrast)

  @property
  def held_out(self) -> Feed:
    """Shuffled validation images."""
    return feeds.from_images(contrast=self._contrast)

  def data(self, held_out: bool) -> Data:
    """The training images, and validation images where they are asked for."""
    data, as_int32 = self.dataset, lambda x: None if x is None else x.astype(np.int32)
    train = Images(data.train, as_int32(data.train_labels))
    other = Images(data.validation, as_int32(data.validation_labels)) if held_out else ()
    return Data(train, other)

  @functools.cached_property
  def whole(self) -> Dataset:
    """The data set with training images as networks see them: of a stacked one, a fixed sample."""
    data = self.dataset
    if data.stack == 1:
      return data
    key = jax.random.key(0)
    indices = jax.random.randint(key, (data.stack, _STACKED), 0, len(data.train))
    train = np.asarray(images.stack(jnp.asarray(data.train), indices))
    return data._replace(train=train, train_labels=None, stack=1)

  @functools.cached_property
  def classifier(self) -> 'classifier_lib.Classifier | None':
    """The classifier of this set, trained at its first use; None without labels."""
    if not self.n_classes:
      return None
    return classifier_lib.load_or_train(self.dataset, self._cache)

  @property
  def _has_parzen(self) -> bool:
    return int(np.prod(self.shape)) <= _PARZEN_LIMIT or not self.n_classes

  def measure(self, gan: Gan, state: GanState, seed: int) -> Measurement:
    """Parzen log-likelihood and Frechet distance on validation images."""
    drawn = evaluate.draw(gan, state, seed)
    values: dict[str, float] = {}
    told = []
    score = 0.0
    if self._has_parzen:
      parzen = evaluate.parzen_scores(drawn, self.whole, 'validation')
      values |= {f'validation_parzen_{which}': x.mean for which, x in parzen.items()}
      score = parzen['ema'].mean
      told.append(
        f'Parzen {parzen["raw"].mean:.1f} / {score:.1f} nats ({self._parzen_of_real():.1f})'
      )
    if self.classifier is not None:
      distances = self.frechet_distances(drawn, 'validation')
      values |= {f'validation_frechet_{which}': distances[which] for which in drawn}
      score = -distances['ema']
      told.append(f'Frechet {distances["raw"]:.2f} / {-score:.2f} ({distances["real"]:.2f})')
      found = self.modes(drawn)
      if found:
        values |= {f'{name}_{which}': x for which in found for name, x in found[which].items()}
        told.append(f'modes {found["raw"]["modes"]:.0f} / {found["ema"]["modes"]:.0f}')
        told.append(f'KL {found["raw"]["modes_kl"]:.3f} / {found["ema"]["modes_kl"]:.3f}')
    return Measurement(
      values, score, 'last / averaged weights (training images): ' + ', '.join(told)
    )

  def frechet_distances(self, drawn: dict[str, Samples], split: str) -> dict[str, float]:
    """The Frechet distance of each set of samples to `split`, in the classifier's features.

    Beside them 'real': as many training images, what a perfect memory of the training set would get.
    """
    data = self.whole
    sets = {name: x.painted for name, x in drawn.items()}
    sets['real'] = data.train[: evaluate.N_SAMPLES]
    target = self._moments(data.test if split == 'test' else data.validation)
    return {
      name: frechet.frechet_distance(
        *(lambda m: (m.mean, m.covariance))(self._moments(x)), target.mean, target.covariance
      )
      for name, x in sets.items()
    }

  def feature_scores(self, drawn: dict[str, Samples], split: str) -> dict[str, FeatureScores]:
    """What the classifier's features say of each set of samples against `split`, 10,000 of either.

    Beside them 'train', as many training images, and 'fresh', the held-out images that are not of
    `split`: what memory gets, and what a perfect sampler gets.
    """
    assert self.classifier is not None
    data, n = self.whole, evaluate.N_SAMPLES
    held_out, fresh = data.test, data.validation
    if split == 'validation':
      held_out, fresh = fresh, held_out
    sets = {name: x.painted for name, x in drawn.items()} | {'train': data.train, 'fresh': fresh}
    look = self.classifier.features
    target = look(held_out[:n])
    return {
      name: feature_scores(self._train_features, target, look(x[:n]), jax.random.key(0))
      for name, x in sets.items()
    }

  @functools.cached_property
  def _train_features(self) -> np.ndarray:
    assert self.classifier is not None
    return self.classifier.features(self.whole.train)

  def _moments(self, pictures: np.ndarray) -> frechet.Moments:
    assert self.classifier is not None
    return frechet.moments(self.classifier.features(pictures))

  def shares(self, painted: np.ndarray) -> list[float] | None:
    """Share of the pictures, uint8 [n, h, w, c], that the classifier gives to each class; None without one."""
    if self.classifier is None or self.dataset.stack > 1:
      return None
    labels = self.classifier.probabilities(painted).argmax(axis=1)
    return (np.bincount(labels, minlength=self.n_classes) / len(painted)).tolist()

  def modes(self, drawn: dict[str, Samples]) -> dict[str, dict[str, float]]:
    """Modes and their KL to uniform, in nats, of samples of a stacked set; {} for any other."""
    if self.dataset.stack == 1 or self.classifier is None:
      return {}
    found = {}
    for which, x in drawn.items():
      indices = classifier_lib.stacked_modes(self.classifier, x.painted)
      counts = np.bincount(indices, minlength=self.n_classes)
      n_modes, kl = modes.histogram_kl(jnp.asarray(counts))
      found[which] = {'modes': float(n_modes), 'modes_kl': float(kl)}
    return found

  def paint(self, folder: Path, step: int, gan: Gan, state: GanState, seed: int) -> None:
    """Grids, neighbours and an interpolation."""
    pictures.save_all(folder, step, gan, state, seed, self.whole)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """The course of the Frechet distance, or of the Parzen figure where there are no labels."""
    if self.n_classes:
      plots.scores(axes, records, 'validation_frechet', {}, 'Frechet distance,\nvalidation')
      axes.set_yscale('log')
    else:
      real = {'training images': self._parzen_of_real()} if self._has_parzen else {}
      plots.scores(axes, records, 'validation_parzen', real, 'Parzen log-likelihood,\nnats')

  def _parzen_of_real(self) -> float:
    return evaluate.references(self.whole, 'validation', 0, ['real'], self._cache)['real'].mean

  def report(self, gan: Gan, state: GanState, split: str, seed: int) -> Report:
    """Everything known of the run's samples, among floors and ceilings."""
    n = 26_000 if self.dataset.stack > 1 else evaluate.N_SAMPLES  # of stacked digits, as published
    drawn = evaluate.draw(gan, state, seed, n)
    protocol = evaluate.protocol(self.whole, split, seed, evaluate.N_SAMPLES)
    scores: dict[str, dict[str, float]] = {which: {} for which in drawn}
    values: dict[str, Any] = {'protocol': protocol}
    lines = self._report_parzen(drawn, split, seed, protocol, values, scores)
    if self.classifier is not None:
      protocol |= {
        'features': f'classifier {self.classifier.hash[:16]}',
        'features_n': evaluate.N_SAMPLES,
      }
      lines += self._report_classes(drawn, split, values, scores)
    seen = values['watched'] = watched.watched(gan, state, self.held_out, self.data(True), seed)
    for which, x in scores.items():
      x |= seen[which]
    lines.append(watched.as_line(gan, seen))
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    return Report('\n'.join(lines), values, scores)

  def _report_parzen(
    self,
    drawn: dict[str, Samples],
    split: str,
    seed: int,
    protocol: dict[str, Any],
    values: dict[str, Any],
    scores: dict[str, dict[str, float]],
  ) -> list[str]:
    """Lines about Parzen windows; their numbers go to `values` and `scores`."""
    if not self._has_parzen:
      return []
    windows = {name: Samples(x.unit[: evaluate.N_SAMPLES], x.painted) for name, x in drawn.items()}
    parzen = evaluate.parzen_scores(windows, self.whole, split)
    references = evaluate.references(self.whole, split, seed, cache=self._cache)
    values['parzen'] = evaluate.as_json(parzen)
    values['references'] = evaluate.as_json(references)
    for which, x in parzen.items():
      scores[which]['parzen'] = x.mean
    return evaluate.as_lines(parzen, references, protocol)

  def _report_classes(
    self,
    drawn: dict[str, Samples],
    split: str,
    values: dict[str, Any],
    scores: dict[str, dict[str, float]],
  ) -> list[str]:
    """Lines about what the classifier sees; their numbers go to `values` and `scores`."""
    found_by_features = self.feature_scores(drawn, split)
    values['features'] = {name: x._asdict() for name, x in found_by_features.items()}
    lines = _feature_lines(found_by_features, split)
    shares = values['class_shares'] = self.shares(drawn['ema'].painted)
    if shares is not None:
      there = sum(share > 0.01 for share in shares)
      percents = ' '.join(f'{100 * share:.1f}' for share in shares)
      lines.append(f'classes with over 1 % of samples: {there} of {len(shares)}   (%: {percents})')
    found = values['modes'] = self.modes(drawn)
    for which, x in scores.items():
      x |= found_by_features[which]._asdict() | found.get(which, {})
    if found:
      lines.append(
        f'modes of {len(drawn["ema"].painted):,} samples: '
        f'last {found["raw"]["modes"]:.0f}, KL {found["raw"]["modes_kl"]:.4f}; '
        f'averaged {found["ema"]["modes"]:.0f}, KL {found["ema"]["modes_kl"]:.4f}'
      )
    return lines


_ROW_NAMES = {
  'raw': 'last weights',
  'ema': 'averaged weights',
  'train': 'training images',
  'fresh': 'other held-out images',
}


def _feature_lines(scores: dict[str, FeatureScores], split: str) -> list[str]:
  """A table for a person: samples, what memory gets, and what a perfect sampler gets."""
  columns = ('Frechet', 'kernel', 'precision', 'recall', 'density', 'coverage', 'authentic', 'C_T')
  lines = [f"against {split} images, in the classifier's features"]
  lines.append(f'{"":<24}' + ''.join(f'{name:>11}' for name in columns))
  for name, row in scores.items():
    numbers = (f'{row.authentic:.0f} %', f'{row.copying:.1f}')
    cells = (*(f'{value:.3f}' for value in row[:6]), *numbers)
    lines.append(f'{_ROW_NAMES[name]:<24}' + ''.join(f'{cell:>11}' for cell in cells))
  return lines
