"""Sets of images: judged by Parzen windows, by a classifier's features, and by eye."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data import Dataset, device_batches
from gan_jax.data.device_batches import Data, Feed, Images
from gan_jax.evaluation import evaluate, held_out_discriminator, plots, sample_grids
from gan_jax.evaluation.evaluate import Samples
from gan_jax.evaluation.tasks.image_scores import ImageJudge
from gan_jax.evaluation.tasks.task import Compared, Measurement, Report
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import embeddings
from gan_jax.utils.files import json_safe

_OF_PARZEN = ('n_queries', 'sigma', 'error')  # of a protocol
_PIXELS = 'pixels averaged to 8 x 8'
_LOWEST = -float(np.finfo(np.float32).max)  # the score of a generator whose samples have none


class ImageTask:
  """A set of images as the training loop sees it."""

  def __init__(self, dataset: Dataset, cache: Path | None = None, contrast: float = 0.0):
    self.dataset, self._contrast = dataset, contrast
    self.name, self.fingerprint = dataset.name, dataset.fingerprint
    self.shape: tuple[int, ...] = dataset.shape
    self.n_classes = dataset.n_classes
    self.n_train = len(dataset.train)
    self.judge = ImageJudge(dataset, cache, contrast)

  @property
  def ranked_by(self) -> tuple[str, bool]:
    """Frechet distance where a classifier can be trained, else Parzen windows; of large images neither."""
    if self.n_classes:
      return 'frechet', False
    return ('parzen', True) if self.judge.has_parzen else ('pixel_frechet', False)

  @functools.cached_property
  def mean_image(self) -> np.ndarray:
    """The mean training image [h, w, c] in [0, 1]."""
    mean = self.dataset.train.mean(axis=0) / 255
    return np.concatenate([mean] * self.dataset.stack, axis=-1)

  @property
  def feed(self) -> Feed:
    """Shuffled training images."""
    return device_batches.from_images(
      self.dataset.stack, self.dataset.n_part_classes, self._contrast
    )

  @property
  def streamable(self) -> bool:
    """A stack is made of parts that are drawn on the device."""
    return self.dataset.stack == 1

  def windowed(self, batch_size: int) -> Feed:
    """The same images, shuffled on the host."""
    if not self.streamable:
      raise ValueError(f'{self.name} is stacked on the device')
    return device_batches.from_window(batch_size, self._contrast)

  @property
  def held_out(self) -> Feed:
    """Shuffled validation images."""
    return device_batches.from_images(contrast=self._contrast)

  def data(self, held_out: bool) -> Data:
    """The training images, and validation images where they are asked for: of many a fixed sample."""
    train = _as_images(self.dataset.train, self.dataset.train_labels)
    return Data(train, self.sample().held_out if held_out else ())

  def sample(self) -> Data:
    """Of training and of validation images those that are judged."""
    data = self.judge.judged
    return Data(
      _as_images(data.train, data.train_labels),
      _as_images(data.validation, data.validation_labels),
    )

  def measure(self, gan: Gan, state: GanState, seed: int) -> Measurement:
    """Parzen log-likelihood and Frechet distance on validation images; those that are no number are left out.

    The score is the one of `ranked_by`, and the lowest that there is where that is no number: too few
    validation images, or samples that are not finite. So it never stands for another measure's score.
    """
    drawn = self.judge.draw(gan, state, seed)
    found: dict[str, dict[str, float]] = {}
    told = []
    if self.judge.has_parzen:
      scores = evaluate.parzen_scores(drawn, self.judge.whole, 'validation')
      parzen = found['parzen'] = {which: x.mean for which, x in scores.items()}
      real = self.judge.parzen_of_real()
      told.append(f'Parzen {parzen["raw"]:.1f} / {parzen["ema"]:.1f} nats ({real:.1f})')
    if self.judge.classifier is not None or not self.judge.has_parzen:
      name = 'pixel_frechet' if self.judge.classifier is None else 'frechet'
      distances = found[name] = self.judge.frechet_distances(drawn, 'validation')
      place = f' of {_PIXELS}' if self.judge.classifier is None else ''
      numbers = f'{distances["raw"]:.2f} / {distances["ema"]:.2f} ({distances["real"]:.2f})'
      told.append(f'Frechet{place} {numbers}')
    values: dict[str, float] = {}
    for name, x in found.items():
      if math.isfinite(x['raw']) and math.isfinite(x['ema']):
        values |= {f'validation_{name}_{which}': x[which] for which in drawn}
    counted = self.judge.modes(drawn)
    values |= {f'{name}_{which}': x for which in counted for name, x in counted[which].items()}
    if counted:
      last, mean, floor = counted['raw'], counted['ema'], self.judge.kl_floor
      told.append(f'modes {last["modes"]:.0f} / {mean["modes"]:.0f}')
      told.append(f'KL {last["modes_kl"]:.3f} / {mean["modes_kl"]:.3f} (even sampler: {floor:.3f})')
    name, higher_is_better = self.ranked_by
    score = found[name]['ema'] * (1 if higher_is_better else -1)
    line = 'last / averaged weights (training images): ' + ', '.join(told)
    return Measurement(values, score if math.isfinite(score) else _LOWEST, line)

  def paint(self, folder: Path, step: int, gan: Gan, state: GanState, seed: int) -> None:
    """Grids, neighbours and an interpolation."""
    sample_grids.save_all(folder, step, gan, state, seed, self.judge.whole)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """The course of the number by which generators are ranked."""
    name, _ = self.ranked_by
    if name == 'parzen':
      real = {'training images': self.judge.parzen_of_real()}
      plots.scores(axes, records, 'validation_parzen', real, 'Parzen log-likelihood,\nnats')
      return
    label = 'Frechet distance,\n' + ('validation' if name == 'frechet' else _PIXELS)
    plots.scores(axes, records, f'validation_{name}', {}, label)
    axes.set_yscale('log')

  def compared(self, gan: Gan, state: GanState, which: str, seed: int) -> Compared:
    """Training and test images and samples, as pictures."""
    fake = self.judge.draw(gan, state, seed)[which].painted
    look = None if self.judge.classifier is None else self.judge.classifier.features
    name = '' if self.judge.classifier is None else f'classifier {self.judge.classifier.hash[:16]}'
    train = self.judge.whole.train
    shares = {'real': self.judge.shares(self.judge.whole.test), 'fake': self.judge.shares(fake)}
    known = {who: x for who, x in shares.items() if x is not None}
    embedding = embeddings.of_images(train, look, name)
    return Compared(train, self.judge.whole.test, fake, embedding, known or None)

  def report(self, gan: Gan, state: GanState, split: str, seed: int) -> Report:
    """Everything known of the run's samples, among floors and ceilings."""
    drawn = self.judge.draw(gan, state, seed)
    protocol = evaluate.protocol(self.judge.whole, split, seed, evaluate.N_SAMPLES)
    if self.judge.judged is not self.dataset:
      protocol['real_images'] = f'a fixed sample of {len(self.judge.judged.train)} training images'
    if self._contrast:
      protocol['contrast'] = f'images normalised at {self._contrast:g}, then painted as samples are'
    scores: dict[str, dict[str, float]] = {which: {} for which in drawn}
    values: dict[str, Any] = {'protocol': protocol}
    lines = self._report_parzen(drawn, split, seed, protocol, values, scores)
    if self.judge.classifier is not None:
      protocol |= {
        'features': f'classifier {self.judge.classifier.hash[:16]}',
        'features_n': evaluate.N_SAMPLES,
      }
      lines += self._report_classes(drawn, split, values, scores)
    elif not self.judge.has_parzen:
      protocol['metric'] = f'Frechet distance of {_PIXELS}'
      protocol = values['protocol'] = {k: v for k, v in protocol.items() if k not in _OF_PARZEN}
      found = values['pixel_frechet'] = self.judge.frechet_distances(drawn, split)
      scores = {which: {'pixel_frechet': found[which]} for which in drawn}
      lines.append(evaluate.pixel_line(found, split, _PIXELS))
    seen = values['watched'] = held_out_discriminator.watched(
      gan, state, self.held_out, self.sample(), seed
    )
    for which, x in scores.items():
      x |= seen[which]
    lines.append(held_out_discriminator.as_line(gan, seen))
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    return Report('\n'.join(lines), json_safe(values), scores)

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
    if not self.judge.has_parzen:
      return []
    parzen = evaluate.parzen_scores(drawn, self.judge.whole, split)
    references = self.judge.references(split, seed)
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
    found_by_features = self.judge.feature_scores(drawn, split)
    values['features'] = {name: x._asdict() for name, x in found_by_features.items()}
    lines = evaluate.feature_lines(found_by_features, split)
    shares = values['class_shares'] = self.judge.shares(drawn['ema'].painted)
    if shares is not None:
      lines.append(evaluate.share_line(shares))
    found = values['modes'] = self.judge.modes(drawn)
    values['modes_kl_floor'] = self.judge.kl_floor if found else None
    for which, x in scores.items():
      x |= found_by_features[which]._asdict() | found.get(which, {})
    if found:
      lines.append(evaluate.mode_line(found, len(drawn['ema'].painted), self.judge.kl_floor))
    return lines


def _as_images(images: np.ndarray, labels: np.ndarray | None) -> Images:
  return Images(images, None if labels is None else labels.astype(np.int32))
