"""Trains small runs within seconds, on 60 random images in place of a data set."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.data import Dataset
from gan_jax.evaluation import plots, tasks
from gan_jax.evaluation.tasks import CheckpointEvaluation, image_task, synthetic_task
from gan_jax.gan.gan import GanState
from gan_jax.training import load_run, metric_writers, train

SMALL = Config(
  g_width=16, d_width=4, batch_size=8, latent_size=4, steps=25,
  log_every=5, eval_every=20, checkpoint_every=10, keep=2,
)  # fmt: skip
RING = dataclasses.replace(SMALL, dataset='ring', network='relu', latent_size=2, d_width=16)


def use_noise_dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
  """Replaces every data set by 60 random images, and evaluations by constant scores, best at step 20."""
  pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), np.uint8)
  labels = np.arange(120) % 3
  dataset = Dataset(
    'noise',
    pixels[:60],
    pixels[60:90],
    pixels[90:],
    labels[:60],
    labels[60:90],
    labels[90:],
    'f00d',
  )
  monkeypatch.setattr(tasks, 'load_dataset', lambda name, where, **options: dataset)
  best_is_20 = lambda step: -abs(float(step) - 20)
  monkeypatch.setattr(
    image_task.ImageTask,
    'evaluate_checkpoint',
    lambda self, gan, state, seed: CheckpointEvaluation(
      {'validation_frechet_raw': 1.0, 'validation_frechet_ema': 2.0}, best_is_20(state.step), 'line'
    ),
  )
  return dataset


def disable_figures(monkeypatch: pytest.MonkeyPatch) -> None:
  """Disables figures and plots, which take most of the time of a small run."""
  monkeypatch.setattr(image_task.ImageTask, 'save_sample_figures', lambda *args: None)
  monkeypatch.setattr(synthetic_task.SyntheticTask, 'save_sample_figures', lambda *args: None)
  monkeypatch.setattr(plots, 'plot_training_curves', lambda *args: None)


def run(folder: Path, config: Config = SMALL, n_devices: int = 1) -> train.Outcome:
  """Trains a run on `n_devices` devices of this process."""
  return train.train(config, folder, jax.devices()[:n_devices])


def final_state_and_records(folder: Path) -> tuple[GanState, list[dict[str, Any]]]:
  """Returns the last state of a run, and its records without steps_per_second."""
  trained = load_run.load_run(folder, 'last')
  records = metric_writers.read_metrics(folder / 'metrics.jsonl')
  for record in records:
    record.pop('steps_per_second', None)
  return trained.state, records
