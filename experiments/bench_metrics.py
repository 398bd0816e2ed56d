"""Defines the benchmarks of metrics, of the training monitor and of the input pipeline."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from prdc import compute_prdc
from sklearn.neighbors import KernelDensity

from gan_jax.data import Dataset
from gan_jax.evaluation import sampling
from gan_jax.metrics import parzen
from gan_jax.metrics.precision_recall import precision_recall
from gan_jax.training import input_pipeline, session

from . import command_line

MONITOR_EVERY = 500  # training steps between computations of the monitor


def parzen_candidates(dataset: Dataset) -> dict[str, Callable[[], Any]]:
  """Returns functions that compute the Parzen log-likelihood of 1,000 test images under 10,000 windows."""
  queries, centres = (
    sampling.to_unit_rows(dataset.test[:1000]),
    sampling.to_unit_rows(dataset.train[:10_000]),
  )
  sigma = 0.17
  host_queries, host_centres = np.asarray(queries, float), np.asarray(centres, float)
  exact = KernelDensity(bandwidth=sigma, leaf_size=len(host_centres)).fit(host_centres)

  def log_densities() -> None:
    jax.block_until_ready(parzen.parzen_log_densities(queries, centres, jnp.array([sigma])))

  return {
    'gan_jax': log_densities,
    'scikit-learn KernelDensity, exact': lambda: exact.score_samples(host_queries),
  }


def precision_recall_candidates(
  dataset: Dataset,
) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, float]]]:
  """Returns functions that compute precision and recall of 10,000 images in 64 random projections.

  Each call writes its values to the second result, by the function's name.
  """
  directions = np.random.default_rng(0).normal(size=(math.prod(dataset.shape), 64)) / 28
  real, fake = (
    (x[:10_000].reshape(10_000, -1) / 255 @ directions).astype(np.float32)
    for x in (dataset.test, dataset.train)
  )
  results: dict[str, dict[str, float]] = {}

  def run_gan_jax() -> None:
    results['gan_jax'] = precision_recall(jnp.asarray(real), jnp.asarray(fake))._asdict()

  def run_prdc() -> None:
    results['prdc'] = compute_prdc(real, fake, nearest_k=5)

  return {'gan_jax': run_gan_jax, 'prdc': run_prdc}, results


def largest_difference(results: dict[str, dict[str, float]]) -> float:
  """Returns the largest difference of a metric between the two implementations."""
  values, reference = results.values()
  return max(abs(values[name] - float(reference[name])) for name in values)


def monitor_candidates(preset: str) -> dict[str, Callable[[], Any]]:
  """Returns `MONITOR_EVERY` training steps of a preset, and one computation of the training monitor."""
  run = _TrainingRun(preset, 'no')
  return {f'{MONITOR_EVERY} steps': run.train, 'one computation of the monitor': run.monitor}


def input_pipeline_candidates(preset: str) -> dict[str, Callable[[], Any]]:
  """Returns `MONITOR_EVERY` steps of a preset with images on the device, and with minibatches of Grain."""
  return {
    'images on the device': _TrainingRun(preset, 'no').train,
    'streamed from the host': _TrainingRun(preset, 'yes').train,
  }


class _TrainingRun:
  """Trains a preset further by each call of `train`."""

  def __init__(self, preset: str, stream: str):
    with tempfile.TemporaryDirectory() as folder:
      self._session = session.open_session(
        command_line.read_preset(preset), Path(folder), jax.devices()[:1], stream=stream
      )
    self._state, self._step = self._session.initial_state(), 0

  def train(self) -> None:
    self._state, calls = self._session.advance(self._state, self._step, MONITOR_EVERY)
    self._step += MONITOR_EVERY
    input_pipeline.mean_metrics(calls)

  def monitor(self) -> None:
    jax.device_get(self._session.monitor(self._session.eval_state(self._state)))
