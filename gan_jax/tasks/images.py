"""Sets of images: judged by Parzen windows, by a classifier's features, and by eye."""

import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import classifier as classifier_lib
from gan_jax import embeddings, evaluate, feeds, images, pictures, plots, sampling
from gan_jax.data import Dataset
from gan_jax.evaluate import Samples
from gan_jax.feeds import Data, Feed, Images
from gan_jax.gan import Gan, GanState
from gan_jax.metrics import features, frechet, modes
from gan_jax.metrics.features import FeatureScores
from gan_jax.tasks import watched
from gan_jax.tasks.task import Compared, Measurement, Report

_JUDGED = 60_000  # images of each split that judges look at, at most, ...
_JUDGED_BYTES = 2**29  # or so many bytes of them, but as many as there are samples
_PARZEN_LIMIT = 4096  # numbers in an image, above which windows say nothing and cost much
_STACKED = 20_000  # stacked training images that pictures and references are taken from
_N_STACKED = 26_000  # samples of a stacked set whose modes are counted, as published
_OF_PARZEN = ('n_queries', 'sigma', 'error')  # of a protocol
_PIXELS = 'pixels averaged to 8 x 8'
_LOWEST = -float(np.finfo(np.float32).max)  # the score of a generator whose samples have none


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
    """Frechet distance where a classifier can be trained, else Parzen windows; of large images neither."""
    if self.n_classes:
      return 'frechet', False
    return ('parzen', True) if self._has_parzen else ('pixel_frechet', False)

  @functools.cached_property
  def mean_image(self) -> np.ndarray:
    """The mean training image [h, w, c] in [0, 1]."""
    mean = self.dataset.train.mean(axis=0) / 255
    return np.concatenate([mean] * self.dataset.stack, axis=-1)

  @property
  def feed(self) -> Feed:
    """Shuffled training images."""
    return feeds.from_images(self.dataset.stack, self._n_labels, self._contrast)

  @property
  def streamable(self) -> bool:
    """A stack is made of parts that are drawn on the device."""
    return self.dataset.stack == 1

  def windowed(self, batch_size: int) -> Feed:
    """The same images, shuffled on the host."""
    if not self.streamable:
      raise ValueError(f'{self.name} is stacked on the device')
    return feeds.from_window(batch_size, self._contrast)

  @property
  def held_out(self) -> Feed:
    """Shuffled validation images."""
    return feeds.from_images(contrast=self._contrast)

  def data(self, held_out: bool) -> Data:
    """The training images, and validation images where they are asked for: of many a fixed sample."""
    train = _as_images(self.dataset.train, self.dataset.train_labels)
    return Data(train, self.sample().held_out if held_out else ())

  def sample(self) -> Data:
    """Of training and of validation images those that are judged."""
    data = self._judged
    return Data(
      _as_images(data.train, data.train_labels),
      _as_images(data.validation, data.validation_labels),
    )

  @property
  def _n_labels(self) -> int:
    return round(self.n_classes ** (1 / self.dataset.stack))  # of a stack, those of one part

  @functools.cached_property
  def _judged(self) -> Dataset:
    """The data set with a fixed sample of each split that holds more than can be judged."""
    n = max(evaluate.N_SAMPLES, _JUDGED_BYTES // self.dataset.train[0].nbytes)
    return self.dataset.thinned(min(n, _JUDGED))

  @functools.cached_property
  def _painted(self) -> Dataset:
    """The same in the space of painted samples: scores compare like with like."""
    return evaluate.repainted(self._judged, self._contrast) if self._contrast else self._judged

  @functools.cached_property
  def whole(self) -> Dataset:
    """The data set as scores see it, training images whole: of a stacked one, a fixed sample."""
    data = self._judged
    if data.stack == 1:
      return self._painted
    key = jax.random.key(0)
    indices = jax.random.randint(key, (data.stack, _STACKED), 0, len(data.train))
    train = np.asarray(images.stack(jnp.asarray(data.train), indices))
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
  def _has_parzen(self) -> bool:
    return math.prod(self.shape) <= _PARZEN_LIMIT

  def _draw(self, gan: Gan, state: GanState, seed: int) -> dict[str, Samples]:
    """Samples to be scored; a conditional generator is asked for classes as often as training images are."""
    n = evaluate.N_SAMPLES if self.dataset.stack == 1 else _N_STACKED
    n_windows = evaluate.N_SAMPLES if self._has_parzen else 0
    return evaluate.draw(gan, state, seed, n, n_windows, self.classes(gan, n))

  def classes(self, gan: Gan, n: int) -> jax.Array | None:
    """The classes [n] of samples that are to be scored; None for a generator that asks for none."""
    data = self.dataset
    if not gan.n_classes or data.train_labels is None:
      return None
    return sampling.labels_like(data.train_labels, n, data.stack, self._n_labels)

  def measure(self, gan: Gan, state: GanState, seed: int) -> Measurement:
    """Parzen log-likelihood and Frechet distance on validation images; those that are no number are left out.

    The score is the one of `ranked_by`, and the lowest that there is where that is no number: too few
    validation images, or samples that are not finite. So it never stands for another measure's score.
    """
    drawn = self._draw(gan, state, seed)
    found: dict[str, dict[str, float]] = {}
    told = []
    if self._has_parzen:
      scores = evaluate.parzen_scores(drawn, self.whole, 'validation')
      parzen = found['parzen'] = {which: x.mean for which, x in scores.items()}
      real = self._parzen_of_real()
      told.append(f'Parzen {parzen["raw"]:.1f} / {parzen["ema"]:.1f} nats ({real:.1f})')
    if self.classifier is not None or not self._has_parzen:
      name = 'pixel_frechet' if self.classifier is None else 'frechet'
      distances = found[name] = self.frechet_distances(drawn, 'validation')
      place = f' of {_PIXELS}' if self.classifier is None else ''
      numbers = f'{distances["raw"]:.2f} / {distances["ema"]:.2f} ({distances["real"]:.2f})'
      told.append(f'Frechet{place} {numbers}')
    values: dict[str, float] = {}
    for name, x in found.items():
      if math.isfinite(x['raw']) and math.isfinite(x['ema']):
        values |= {f'validation_{name}_{which}': x[which] for which in drawn}
    counted = self.modes(drawn)
    values |= {f'{name}_{which}': x for which in counted for name, x in counted[which].items()}
    if counted:
      last, mean, floor = counted['raw'], counted['ema'], self._kl_floor
      told.append(f'modes {last["modes"]:.0f} / {mean["modes"]:.0f}')
      told.append(f'KL {last["modes_kl"]:.3f} / {mean["modes_kl"]:.3f} (even sampler: {floor:.3f})')
    name, higher_is_better = self.ranked_by
    score = found[name]['ema'] * (1 if higher_is_better else -1)
    line = 'last / averaged weights (training images): ' + ', '.join(told)
    return Measurement(values, score if math.isfinite(score) else _LOWEST, line)

  def frechet_distances(self, drawn: dict[str, Samples], split: str) -> dict[str, float]:
    """The Frechet distance of each set of samples to `split`, in the classifier's features.

    Without a classifier in pixels averaged to 8 x 8. Beside them 'real': as many training images, what a
    perfect memory of the training set would get.
    """
    data, n = self.whole, evaluate.N_SAMPLES
    look = features.averaged if self.classifier is None else self.classifier.features
    held_out = frechet.moments(look(data.test if split == 'test' else data.validation))
    sets = {name: x.painted for name, x in drawn.items()} | {'real': data.train}
    return {
      name: features.frechet_between(frechet.moments(look(x[:n])), held_out)
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
    judge = lambda pictures: features.feature_scores(
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

  @property
  def _kl_floor(self) -> float:
    """What the KL of a perfect sampler of even modes is on average, to first order."""
    return (self.n_classes - 1) / (2 * _N_STACKED)

  def paint(self, folder: Path, step: int, gan: Gan, state: GanState, seed: int) -> None:
    """Grids, neighbours and an interpolation."""
    pictures.save_all(folder, step, gan, state, seed, self.whole)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """The course of the number by which generators are ranked."""
    name, _ = self.ranked_by
    if name == 'parzen':
      real = {'training images': self._parzen_of_real()}
      plots.scores(axes, records, 'validation_parzen', real, 'Parzen log-likelihood,\nnats')
      return
    label = 'Frechet distance,\n' + ('validation' if name == 'frechet' else _PIXELS)
    plots.scores(axes, records, f'validation_{name}', {}, label)
    axes.set_yscale('log')

  def _parzen_of_real(self) -> float:
    return evaluate.references(self.whole, 'validation', 0, ['real'], self._cache)['real'].mean

  def compared(self, gan: Gan, state: GanState, which: str, seed: int) -> Compared:
    """Training and test images and samples, as pictures."""
    fake = self._draw(gan, state, seed)[which].painted
    look = None if self.classifier is None else self.classifier.features
    name = '' if self.classifier is None else f'classifier {self.classifier.hash[:16]}'
    train = self.whole.train
    shares = {'real': self.shares(self.whole.test), 'fake': self.shares(fake)}
    known = {who: x for who, x in shares.items() if x is not None}
    embedding = embeddings.of_images(train, look, name)
    return Compared(train, self.whole.test, fake, embedding, known or None)

  def report(self, gan: Gan, state: GanState, split: str, seed: int) -> Report:
    """Everything known of the run's samples, among floors and ceilings."""
    drawn = self._draw(gan, state, seed)
    protocol = evaluate.protocol(self.whole, split, seed, evaluate.N_SAMPLES)
    if self._judged is not self.dataset:
      protocol['real_images'] = f'a fixed sample of {len(self._judged.train)} training images'
    if self._contrast:
      protocol['contrast'] = f'images normalised at {self._contrast:g}, then painted as samples are'
    scores: dict[str, dict[str, float]] = {which: {} for which in drawn}
    values: dict[str, Any] = {'protocol': protocol}
    lines = self._report_parzen(drawn, split, seed, protocol, values, scores)
    if self.classifier is not None:
      protocol |= {
        'features': f'classifier {self.classifier.hash[:16]}',
        'features_n': evaluate.N_SAMPLES,
      }
      lines += self._report_classes(drawn, split, values, scores)
    elif not self._has_parzen:
      protocol['metric'] = f'Frechet distance of {_PIXELS}'
      protocol = values['protocol'] = {k: v for k, v in protocol.items() if k not in _OF_PARZEN}
      found = values['pixel_frechet'] = self.frechet_distances(drawn, split)
      scores = {which: {'pixel_frechet': found[which]} for which in drawn}
      lines.append(evaluate.pixel_line(found, split, _PIXELS))
    seen = values['watched'] = watched.watched(gan, state, self.held_out, self.sample(), seed)
    for which, x in scores.items():
      x |= seen[which]
    lines.append(watched.as_line(gan, seen))
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    return Report('\n'.join(lines), evaluate.valid_json(values), scores)

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
    parzen = evaluate.parzen_scores(drawn, self.whole, split)
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
    lines = evaluate.feature_lines(found_by_features, split)
    shares = values['class_shares'] = self.shares(drawn['ema'].painted)
    if shares is not None:
      lines.append(evaluate.share_line(shares))
    found = values['modes'] = self.modes(drawn)
    values['modes_kl_floor'] = self._kl_floor if found else None
    for which, x in scores.items():
      x |= found_by_features[which]._asdict() | found.get(which, {})
    if found:
      lines.append(evaluate.mode_line(found, len(drawn['ema'].painted), self._kl_floor))
    return lines


def _as_images(images: np.ndarray, labels: np.ndarray | None) -> Images:
  return Images(images, None if labels is None else labels.astype(np.int32))
