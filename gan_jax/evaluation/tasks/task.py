"""Defines `Task`: a data set together with its evaluator, all that training knows of either."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from gan_jax.data.device_batches import BatchFn, DeviceData
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics.embeddings import Embedding


class CheckpointEvaluation(NamedTuple):
  """Holds the validation scores of a generator at one step of its training."""

  metrics: dict[str, float]  # for metrics.jsonl, by name
  score: float  # selects the best checkpoint; higher is better
  summary: str  # the metrics as one printed line


class EvaluationReport(NamedTuple):
  """Holds a full evaluation of a trained generator."""

  text: str  # for the terminal
  values: dict[str, Any]  # for a JSON file: the protocol, and scores with their references
  scores: dict[str, dict[str, float]]  # of 'raw' and 'ema' weights, by name


class ComparisonSets(NamedTuple):
  """Holds real and generated examples [n, ...] and the space in which statistics compare them."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  embedding: Embedding
  class_fractions: dict[str, list[float]] | None = None  # of 'real' and 'fake', by a classifier


class Task(Protocol):
  """Holds a data set, an endless or a finite one, and scores generators trained on it."""

  @property
  def name(self) -> str:
    """Returns the name of the data set, as in --dataset."""

  @property
  def shape(self) -> tuple[int, ...]:
    """Returns the shape of one example."""

  @property
  def n_classes(self) -> int:
    """Returns the number of classes; 0 without labels."""

  @property
  def class_names(self) -> tuple[str, ...]:
    """Returns the names of the classes; () where the data bring none."""

  @property
  def class_counts(self) -> tuple[int, ...]:
    """Returns the number of training examples of each class; () without labels, or for stacked images."""

  @property
  def n_train(self) -> int | None:
    """Returns the number of training examples; None for an endless data set."""

  @property
  def fingerprint(self) -> str:
    """Returns a SHA-256 that identifies the data."""

  @property
  def mean_image(self) -> np.ndarray | None:
    """Returns the mean training image [h, w, c] in [0, 1]; None for points."""

  @property
  def train_batch_fn(self) -> BatchFn:
    """Returns the function that makes training batches from `training_data` on the device."""

  @property
  def streamable(self) -> bool:
    """Returns whether the host can stream minibatches: rows of `training_data(...).train` are examples."""

  def window_batch_fn(self, batch_size: int) -> BatchFn:
    """Returns the batch function of a streamed `BatchWindow`; raises ValueError unless `streamable`."""

  @property
  def held_out_batch_fn(self) -> BatchFn:
    """Returns the function that makes held-out batches on the device."""

  @property
  def selection_metric(self) -> tuple[str, bool]:
    """Returns the name of the score that ranks generators, and whether higher is better."""

  def training_data(self, held_out: bool) -> DeviceData:
    """Returns the host arrays that batch functions read, with held-out data where `held_out`."""

  def evaluation_data(self, split: str = 'validation') -> DeviceData:
    """Returns at most as many training examples and ones of `split` as evaluations use; fits on a device."""

  def evaluate_checkpoint(self, gan: Gan, state: GanState, seed: int) -> CheckpointEvaluation:
    """Scores the generator on validation data, for samples drawn from `seed`."""

  def save_sample_figures(
    self, folder: Path, step: int, gan: Gan, state: GanState, seed: int
  ) -> None:
    """Writes PNG files of samples to `folder`, with `step` in their names."""

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """Plots the selection metric of `records`, lines of metrics.jsonl, on matplotlib `axes`."""

  def comparison_sets(
    self, gan: Gan, state: GanState, which: str, seed: int, split: str = 'validation'
  ) -> ComparisonSets:
    """Returns real data and samples of the 'raw' or 'ema' weights for diagnostic statistics.

    Held-out data are those of `split`, 'validation' or 'test'; training data are all there are, of an endless
    set a fixed number of draws.
    """

  def full_report(self, gan: Gan, state: GanState, split: str, seed: int) -> EvaluationReport:
    """Computes all scores of both weights on `split`, 'test' or 'validation', beside references."""
