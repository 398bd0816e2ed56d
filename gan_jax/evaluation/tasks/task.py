"""What there is to learn and how it is judged, as the training loop sees it."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from gan_jax.data.device_batches import Data, Feed
from gan_jax.gan.gan import Gan, GanState
from gan_jax.metrics.embeddings import Embedding


class Measurement(NamedTuple):
  """One look at a generator while it trains."""

  values: dict[str, float]  # for metrics.jsonl, by name
  score: float  # by which the best checkpoint is chosen; higher is better
  line: str  # the same for a person


class Report(NamedTuple):
  """A full evaluation: for a person, and for a file."""

  text: str
  values: dict[str, Any]
  scores: dict[str, dict[str, float]]  # of 'raw' and 'ema' weights, by name


N_COMPARED = 20_000  # fresh draws of a synthetic distribution in each set of a comparison


class Compared(NamedTuple):
  """Three sets of examples [n, ...] and where they are compared."""

  train: np.ndarray
  held_out: np.ndarray
  fake: np.ndarray
  embedding: Embedding
  classes: dict[str, list[float]] | None = (
    None  # shares of 'real' and 'fake', where a classifier knows them
  )


class Task(Protocol):
  """A data set or a game."""

  @property
  def name(self) -> str:
    """As --dataset has it."""
    ...

  @property
  def shape(self) -> tuple[int, ...]:
    """Of one example."""
    ...

  @property
  def n_classes(self) -> int:
    """0 without labels."""
    ...

  @property
  def n_train(self) -> int | None:
    """Training examples; None where they never end."""
    ...

  @property
  def fingerprint(self) -> str:
    """Sha256 of the data, or what else tells them from others."""
    ...

  @property
  def mean_image(self) -> np.ndarray | None:
    """The mean training image in [0, 1]; None for points."""
    ...

  @property
  def feed(self) -> Feed:
    """How training examples are made on the device."""
    ...

  @property
  def streamable(self) -> bool:
    """Whether minibatches can be read from the host: rows of `data(...).train`, each an example."""
    ...

  def windowed(self, batch_size: int) -> Feed:
    """How examples of a window of minibatches are made on the device; raises ValueError unless `streamable`."""
    ...

  @property
  def held_out(self) -> Feed:
    """How held-out examples are made on the device."""
    ...

  @property
  def ranked_by(self) -> tuple[str, bool]:
    """The number of a report's scores by which generators are ranked; whether higher is better."""
    ...

  def data(self, held_out: bool) -> Data:
    """What the feeds make examples from, on the host; held-out data where they are asked for."""
    ...

  def sample(self) -> Data:
    """As `data`, but no more of either than judges look at: all of it fits on a device."""
    ...

  def measure(self, gan: Gan, state: GanState, seed: int) -> Measurement:
    """A look at the generator, on validation data."""
    ...

  def paint(self, folder: Path, step: int, gan: Gan, state: GanState, seed: int) -> None:
    """The pictures of one evaluation."""
    ...

  def plot_scores(self, axes: Any, records: list[dict[str, Any]]) -> None:
    """The course of what `measure` found, among floors and ceilings."""
    ...

  def compared(self, gan: Gan, state: GanState, which: str, seed: int) -> Compared:
    """What the referee looks at: data, samples of 'raw' or 'ema' weights, and the space to compare them in."""
    ...

  def report(self, gan: Gan, state: GanState, split: str, seed: int) -> Report:
    """Everything that can be said of a trained generator, with its protocol."""
    ...
