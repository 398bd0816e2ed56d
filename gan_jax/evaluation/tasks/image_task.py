"""Implements `Task` for sets of images."""

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.data import Dataset, device_batches
from gan_jax.data.device_batches import BatchFn, DeviceData, Images
from gan_jax.evaluation import parzen_evaluation, plots, sampling, score_tables
from gan_jax.evaluation.discriminator_metrics import discriminator_line, discriminator_metrics
from gan_jax.evaluation.sample_grids import save_sample_grids
from gan_jax.evaluation.sampling import GeneratedSamples
from gan_jax.evaluation.tasks.image_scorer import ImageScorer
from gan_jax.evaluation.tasks.task import CheckpointEvaluation, ComparisonSets, EvaluationReport
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics import embeddings
from gan_jax.utils.files import json_safe

_PARZEN_FIELDS = ('n_queries', 'sigma', 'error')  # of a protocol
_PIXELS = 'pixels averaged to 8 x 8'
_WORST_SCORE = float(np.finfo(np.float32).min)  # where the selection metric is not finite


class _ReportPart(NamedTuple):
  """Holds one metric's part of a report: values for the file, scores by weights, lines of text."""

  values: dict[str, Any]
  scores: dict[str, dict[str, float]]
  lines: list[str]


class ImageTask:
  """Holds a set of images and scores generators by Parzen windows and a classifier's features."""

  def __init__(self, dataset: Dataset, cache: Path | None = None, contrast: float = 0.0):
    self.dataset, self._contrast = dataset, contrast
    self.name, self.fingerprint = dataset.name, dataset.fingerprint
    self.shape: tuple[int, ...] = dataset.shape
    self.n_classes, self.n_train = dataset.n_classes, len(dataset.train)
    self.scorer = ImageScorer(dataset, cache, contrast)

  @property
  def selection_metric(self) -> tuple[str, bool]:
    """Returns 'frechet' with labels, else 'parzen' for small and 'pixel_frechet' for large images."""
    if self.n_classes:
      return 'frechet', False
    return ('parzen', True) if self.scorer.uses_parzen else ('pixel_frechet', False)

  @property
  def class_names(self) -> tuple[str, ...]:
    """Returns the names of the classes; () where the data bring none."""
    names = self.dataset.class_names
    if not names or self.dataset.stack > 1:
      return ()
    return (
      *names,
      *map(str, range(len(names), self.n_classes)),
    )  # held-out data may have more classes

  @property
  def class_counts(self) -> tuple[int, ...]:
    """Returns the number of training examples of each class; () without labels, or for stacked images."""
    labels = self.dataset.train_labels
    if labels is None or self.dataset.stack > 1:
      return ()
    return tuple(np.bincount(labels, minlength=self.n_classes).tolist())

  @functools.cached_property
  def mean_image(self) -> np.ndarray:
    """Returns the mean training image [h, w, c] in [0, 1]."""
    return np.tile(self.dataset.train.mean(axis=0) / 255, self.dataset.stack)

  @property
  def train_batch_fn(self) -> BatchFn:
    """Returns the function that makes batches of shuffled training images."""
    data = self.dataset
    return device_batches.image_batches(data.stack, data.n_base_classes, self._contrast)

  @property
  def streamable(self) -> bool:
    """Returns False for stacked images, which are stacked on the device."""
    return self.dataset.stack == 1

  def window_batch_fn(self, batch_size: int) -> BatchFn:
    """Returns the batch function of images that the host has shuffled; raises ValueError for stacks."""
    if not self.streamable:
      raise ValueError(f'{self.name} is stacked on the device')
    return device_batches.window_batches(batch_size, self._contrast)

  @property
  def held_out_batch_fn(self) -> BatchFn:
    """Returns the function that makes batches of shuffled validation images."""
    return device_batches.image_batches(contrast=self._contrast)

  def training_data(self, held_out: bool) -> DeviceData:
    """Returns all training images, and the validation images of `evaluation_data` where `held_out`."""
    train = _with_labels(self.dataset.train, self.dataset.train_labels)
    return DeviceData(train, self.evaluation_data().held_out if held_out else ())

  def evaluation_data(self, split: str = 'validation') -> DeviceData:
    """Returns the training images and those of `split`, 'validation' or 'test', that evaluations use."""
    data = self.scorer.subset
    held_out = (data.validation, data.validation_labels)
    if split == 'test':
      held_out = (data.test, data.test_labels)
    return DeviceData(_with_labels(data.train, data.train_labels), _with_labels(*held_out))

  def evaluate_checkpoint(self, gan: Gan, state: GanState, seed: int) -> CheckpointEvaluation:
    """Computes Parzen log-likelihood, Frechet distance and modes, as far as they apply, on validation images.

    Metrics that are not finite are left out. Where the selection metric is not finite (too few images,
    or samples that are not finite) the score is the lowest float32, never that of another metric.
    """
    scorer, drawn = self.scorer, self.scorer.draw_samples(gan, state, seed)
    scores: dict[str, dict[str, float]] = {}
    summary = []
    if scorer.uses_parzen:
      likelihoods = parzen_evaluation.parzen_scores(drawn, scorer.real_images, 'validation')
      parzen = scores['parzen'] = {which: x.mean for which, x in likelihoods.items()}
      real = scorer.training_images_parzen()
      summary.append(f'Parzen {parzen["raw"]:.1f} / {parzen["ema"]:.1f} nats ({real:.1f})')
    if scorer.classifier is not None or not scorer.uses_parzen:
      name, space = ('frechet', '') if scorer.classifier else ('pixel_frechet', f' of {_PIXELS}')
      x = scores[name] = scorer.frechet_distances(drawn, 'validation')
      summary.append(f'Frechet{space} {x["raw"]:.2f} / {x["ema"]:.2f} ({x["real"]:.2f})')
    metrics: dict[str, float] = {}
    for name, x in scores.items():
      if math.isfinite(x['raw']) and math.isfinite(x['ema']):
        metrics |= {f'validation_{name}_{which}': x[which] for which in drawn}
    modes = scorer.mode_scores(drawn)
    metrics |= {f'{name}_{which}': x for which in modes for name, x in modes[which].items()}
    if modes:
      raw, ema = modes['raw'], modes['ema']
      summary.append(f'modes {raw["modes"]:.0f} / {ema["modes"]:.0f}')
      kls = f'{raw["modes_kl"]:.3f} / {ema["modes_kl"]:.3f}'
      summary.append(f'KL {kls} (uniform sampler: {scorer.uniform_kl:.3f})')
    name, higher_is_better = self.selection_metric
    score = scores[name]['ema'] * (1 if higher_is_better else -1)
    line = 'last / averaged weights (training images): ' + ', '.join(summary)
    return CheckpointEvaluation(metrics, score if math.isfinite(score) else _WORST_SCORE, line)

  def save_sample_figures(
    self, folder: Path, step: int, gan: Gan, state: GanState, seed: int
  ) -> None:
    """Writes grids of samples, of their nearest training images and of interpolations."""
    save_sample_grids(folder, step, gan, state, seed, self.scorer.real_images)

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """Plots the selection metric of `records`; Frechet distances on a logarithmic axis."""
    name, _ = self.selection_metric
    if name == 'parzen':
      real = {'training images': self.scorer.training_images_parzen()}
      label = 'Parzen log-likelihood,\nnats'
      plots.plot_score_history(axes, records, 'validation_parzen', real, label)
      return
    label = 'Frechet distance,\n' + ('validation' if name == 'frechet' else _PIXELS)
    plots.plot_score_history(axes, records, f'validation_{name}', {}, label)
    axes.set_yscale('log')

  def comparison_sets(
    self, gan: Gan, state: GanState, which: str, seed: int, split: str = 'validation'
  ) -> ComparisonSets:
    """Returns all training images, the images of `split` and samples, uint8 [n, h, w, c]."""
    fake = self.scorer.draw_samples(gan, state, seed)[which].images
    real, classifier = self.scorer.real_images, self.scorer.classifier
    features = classifier.features if classifier else None
    name = f'classifier {classifier.hash[:16]}' if classifier else ''
    embedding = embeddings.image_embedding(real.train, features, name)
    held_out, _ = self.scorer.held_out_sets(split)
    sets = {'real': held_out, 'fake': fake}
    fractions = {name: self.scorer.class_fractions(images) for name, images in sets.items()}
    known = {name: x for name, x in fractions.items() if x is not None}
    train = self.scorer.all_training_images()
    return ComparisonSets(train, held_out, fake, embedding, known or None)

  def full_report(self, gan: Gan, state: GanState, split: str, seed: int) -> EvaluationReport:
    """Computes all scores of both weights on `split`, beside those of real images and references."""
    drawn, protocol = self.scorer.draw_samples(gan, state, seed), self._protocol(split, seed)
    parts = []
    if self.scorer.uses_parzen:
      parts.append(self._parzen_part(drawn, protocol))
    if self.scorer.classifier is not None:
      parts.append(self._classifier_part(drawn, split))
    elif not self.scorer.uses_parzen:
      parts.append(self._pixel_part(drawn, split))
    parts.append(self._discriminator_part(gan, state, seed))
    values: dict[str, Any] = {'protocol': protocol}
    scores: dict[str, dict[str, float]] = {which: {} for which in drawn}
    lines = []
    for part in parts:
      values |= part.values
      lines += part.lines
      for which in scores:
        scores[which] |= part.scores[which]
    lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
    return EvaluationReport('\n'.join(lines), json_safe(values), scores)

  def _protocol(self, split: str, seed: int) -> dict[str, Any]:
    """Returns the settings that two reports must share to be comparable."""
    scorer, n = self.scorer, sampling.N_SAMPLES
    protocol = parzen_evaluation.parzen_protocol(scorer.real_images, split, seed, n)
    if scorer.subset is not self.dataset:
      protocol['real_images'] = f'a fixed sample of {len(scorer.subset.train)} training images'
    if self._contrast:
      protocol['contrast'] = f'images normalised at {self._contrast:g}, then painted as samples are'
    if scorer.classifier is not None:
      return protocol | {'features': f'classifier {scorer.classifier.hash[:16]}', 'features_n': n}
    if scorer.uses_parzen:
      return protocol
    protocol['metric'] = f'Frechet distance of {_PIXELS}'
    return {key: value for key, value in protocol.items() if key not in _PARZEN_FIELDS}

  def _parzen_part(
    self, drawn: dict[str, GeneratedSamples], protocol: dict[str, Any]
  ) -> _ReportPart:
    split = protocol['split']
    parzen = parzen_evaluation.parzen_scores(drawn, self.scorer.real_images, split)
    references = self.scorer.parzen_references(split, protocol['seed'])
    values = {
      'parzen': {name: x._asdict() for name, x in parzen.items()},
      'references': {name: x._asdict() for name, x in references.items()},
    }
    scores = {which: {'parzen': x.mean} for which, x in parzen.items()}
    return _ReportPart(values, scores, score_tables.parzen_table(parzen, references, protocol))

  def _classifier_part(self, drawn: dict[str, GeneratedSamples], split: str) -> _ReportPart:
    features = self.scorer.feature_scores(drawn, split)
    lines = score_tables.feature_table(features, split)
    fractions = self.scorer.class_fractions(drawn['ema'].images)
    if fractions is not None:
      lines.append(score_tables.class_fractions_line(fractions))
    modes, uniform = self.scorer.mode_scores(drawn), self.scorer.uniform_kl
    if modes:
      lines.append(score_tables.modes_line(modes, len(drawn['ema'].images), uniform))
    values = {
      'features': {name: x._asdict() for name, x in features.items()},
      'class_shares': fractions,
      'modes': modes,
      'modes_kl_floor': uniform if modes else None,
    }
    scores = {which: features[which]._asdict() | modes.get(which, {}) for which in drawn}
    return _ReportPart(values, scores, lines)

  def _pixel_part(self, drawn: dict[str, GeneratedSamples], split: str) -> _ReportPart:
    distances = self.scorer.frechet_distances(drawn, split)
    scores = {which: {'pixel_frechet': distances[which]} for which in drawn}
    line = score_tables.pixel_frechet_line(distances, split, _PIXELS)
    return _ReportPart({'pixel_frechet': distances}, scores, [line])

  def _discriminator_part(self, gan: Gan, state: GanState, seed: int) -> _ReportPart:
    data = self.evaluation_data()
    metrics = discriminator_metrics(gan, state, self.held_out_batch_fn, data, seed)
    return _ReportPart({'watched': metrics}, metrics, [discriminator_line(gan, metrics)])


def _with_labels(images: np.ndarray, labels: np.ndarray | None) -> Images:
  return Images(images, None if labels is None else labels.astype(np.int32))
