"""Rivals of the benchmark that judge rather than train, and what judging costs while a run trains."""

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

EVERY = 500  # steps between looks, as --referee_every has it by default


def density(dataset: Dataset) -> dict[str, Callable[[], Any]]:
  """Rivals that each find the Parzen log-likelihood of 1,000 test images under 10,000 windows."""
  queries, centres = (
    sampling.to_unit_rows(dataset.test[:1000]),
    sampling.to_unit_rows(dataset.train[:10_000]),
  )
  sigma = 0.17
  host_queries, host_centres = np.asarray(queries, float), np.asarray(centres, float)
  exact = KernelDensity(bandwidth=sigma, leaf_size=len(host_centres)).fit(host_centres)

  def ours() -> None:
    jax.block_until_ready(parzen.parzen_log_densities(queries, centres, jnp.array([sigma])))

  return {
    'gan_jax': ours,
    'scikit-learn KernelDensity, exact': lambda: exact.score_samples(host_queries),
  }


def manifolds(dataset: Dataset) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, float]]]:
  """Rivals that each judge 10,000 images by 10,000, in 64 random directions; and what they found."""
  directions = np.random.default_rng(0).normal(size=(math.prod(dataset.shape), 64)) / 28
  real, fake = (
    (x[:10_000].reshape(10_000, -1) / 255 @ directions).astype(np.float32)
    for x in (dataset.test, dataset.train)
  )
  found: dict[str, dict[str, float]] = {}

  def ours() -> None:
    found['gan_jax'] = precision_recall(jnp.asarray(real), jnp.asarray(fake))._asdict()

  def theirs() -> None:
    found['prdc'] = compute_prdc(real, fake, nearest_k=5)

  return {'gan_jax': ours, 'prdc': theirs}, found


def difference(found: dict[str, dict[str, float]]) -> float:
  """The largest difference between what both found."""
  ours, theirs = found.values()
  return max(abs(ours[name] - float(theirs[name])) for name in ours)


def looks(preset: str) -> dict[str, Callable[[], Any]]:
  """`EVERY` steps of a preset, and the look of the referee that follows them."""
  run = _Run(preset, 'no')
  return {f'{EVERY} steps': run.steps, 'one look': run.look}


def supplies(preset: str) -> dict[str, Callable[[], Any]]:
  """`EVERY` steps of a preset with its images on the device, and with minibatches that Grain loads."""
  return {
    'images on the device': _Run(preset, 'no').steps,
    'streamed from the host': _Run(preset, 'yes').steps,
  }


class _Run:
  """A run that goes on and on."""

  def __init__(self, preset: str, stream: str):
    with tempfile.TemporaryDirectory() as folder:
      self._session = session.open_session(
        command_line.read_preset(preset), Path(folder), jax.devices()[:1], stream=stream
      )
    self._state, self._step = self._session.initial_state(), 0

  def steps(self) -> None:
    self._state, calls = self._session.advance(self._state, self._step, EVERY)
    self._step += EVERY
    input_pipeline.mean_metrics(calls)

  def look(self) -> None:
    jax.device_get(self._session.monitor(self._session.eval_state(self._state)))
