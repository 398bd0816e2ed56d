"""Trains a real run of the benchmark into a run folder, as `experiments.train` lays it out."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config.run_config import Config
from gan_jax.diagnosis import alarms
from gan_jax.evaluation import classifier_network
from gan_jax.gan.gan import GanState
from gan_jax.metrics.precision_recall import precision_recall
from gan_jax.training import load_run, loop_schedule, run_directory
from gan_jax.training.checkpoints import Checkpoints
from gan_jax.training.metric_writers import MetricWriter
from gan_jax.utils.files import json_safe, write_atomically

from .run_programs import RunPrograms, WorldData, all_finite

FILE = 'benchmark.json'  # in the run folder, written last
_N_PRECISION = 1024  # examples of each set


class TrainedRun(NamedTuple):
  """Holds the end of a run and what other methods than the referee look at."""

  state: GanState
  log_distance: float  # to held-out data, of the last state
  summary: dict[str, Any]  # as JSON: curves of losses and distances, precision and recall, ...


def train_or_load(
  programs: RunPrograms, world: WorldData, config: Config, folder: Path
) -> TrainedRun:
  """Returns the run in `folder`, trained first where it is not there or was broken off."""
  if not (folder / FILE).exists():
    summary = _train(programs, world, config, folder)
    write_atomically(folder / FILE, json.dumps(json_safe(summary)).encode())
  summary = json.loads((folder / FILE).read_text())
  state = jax.tree.map(jnp.asarray, load_run.load_run(folder, 'last').state)
  return TrainedRun(state, summary['log_distance'], summary)


def _train(programs: RunPrograms, world: WorldData, config: Config, folder: Path) -> dict[str, Any]:
  """Trains to the last step, or to the last finite state; writes metrics, monitors and checkpoints."""
  run_directory.create_run_directory(folder)
  for path in (folder / 'metrics.jsonl', folder / 'checkpoints'):
    if path.exists():
      path.rename(path.with_name(f'{path.name}.{np.random.default_rng().integers(10**9)}.old'))
  kind = f'1 x {jax.devices()[0].device_kind}'
  run_directory.write_description(folder, config, world.task, kind)
  writer = MetricWriter(folder, 0)
  saved = Checkpoints(folder / 'checkpoints', config.keep, {})
  state, step = programs.initial_state(config, world), 0
  curve: dict[str, list[float]] = {}
  distances: list[list[Any]] = []
  monitored: list[dict[str, Any]] = []
  diverged = False
  while step < config.steps:
    kept, start = jax.tree.map(jnp.copy, state), step
    step = loop_schedule.next_stop(config, step)
    state, means = programs.advance(config, world, state, step - start)
    due = loop_schedule.due_after(config, step)
    finite = all_finite(means) and all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state))
    if not finite:
      state, step, diverged = kept, start, True
      break
    writer.write(step, means)
    for name, value in {'step': step, **means}.items():
      curve.setdefault(name, []).append(round(float(value), 5))
    if due.monitor:
      values = programs.monitor(config, world, state)
      writer.write(step, values)
      monitored.append({'step': step, **values})
      for alarm in alarms.new_alarms(monitored):
        writer.note(step, alarm=alarm.name, says=alarm.message)
    if due.evaluate:
      measured = programs.distances(config, world, state.g.weights)
      score = -world.measure.log_distance(measured)
      distances.append([step, *measured.values(), -score])
      writer.write(step, {'score': score} if math.isfinite(score) else {})
      saved.save(step, state, score)
  if step and step not in saved.steps():
    saved.save(step, state)
  saved.wait()
  saved.close()
  writer.close()
  last = programs.distances(config, world, state.g.weights)
  average = programs.distances(config, world, state.g_ema)
  return {
    'step': step,
    'diverged': diverged,
    'log_distance': world.measure.log_distance(last),
    'log_distance_ema': world.measure.log_distance(average),
    'distances': last,
    'null': [world.measure.null_mean, world.measure.null_std],
    'distance_curve': distances,
    'precision_recall': _precision_recall(programs, world, config, state),
    'curve': {name: values[:: max(len(values) // 12, 1)] for name, values in curve.items()},
  }


def _precision_recall(
  programs: RunPrograms, world: WorldData, config: Config, state: GanState
) -> list[float]:
  """Returns precision, recall, density and coverage; of images in the features of a random network."""
  fake = programs.samples(config, world, state.g.weights)[:_N_PRECISION]
  real = world.data.held_out
  if world.kind == 'points':
    return list(precision_recall(real[:_N_PRECISION], jnp.asarray(fake)))
  images = jnp.clip(jnp.round((fake + 1) * 127.5), 0, 255).astype(jnp.uint8)
  params = classifier_network.init_params(jax.random.key(5), images.shape[1:], 1)
  extract = lambda x: classifier_network.features_and_probabilities(params, x)[0]
  return list(precision_recall(extract(real.images[:_N_PRECISION]), extract(images)))
