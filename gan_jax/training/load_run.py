"""Loads a trained run from its directory, and its data from wherever they are now."""

import contextlib
import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import gan_factory
from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import Task, load_task
from gan_jax.gan import gan
from gan_jax.gan.gan import Gan, GanState
from gan_jax.training import checkpoints, metric_writers, run_description
from gan_jax.utils.errors import UserError


class LoadedRun(NamedTuple):
  """Holds the settings, the networks and the state of a run at one checkpoint."""

  config: Config
  gan: Gan
  state: GanState
  step: int
  shape: tuple[int, ...]  # of one example
  folder: Path
  fingerprint: str | None  # SHA-256 of the data; None where it is not recorded
  class_names: tuple[str, ...] = ()  # () where the data bring none
  class_counts: tuple[int, ...] = ()  # of training examples; () where they are not recorded


def load_run(folder: Path, which: str) -> LoadedRun:
  """Loads the run in `folder` at its 'last' or 'best' checkpoint, or at a step given in digits.

  No data are needed: config.json holds the shape of an example and the number of classes. Raises UserError
  where there is no run, no such checkpoint, or a damaged one.
  """
  run = run_description.read_description(folder)
  config, shape = run.config, run.shape
  model = gan_factory.build_gan(config, shape, 1, run.n_classes)
  init = lambda key: gan.init(model, key, jnp.zeros((1, *shape)))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)
  with contextlib.closing(_open_checkpoints(folder, config)) as saved:
    step = _find_step(saved, folder, which)
    like = jax.tree.map(struct, jax.eval_shape(init, jax.random.key(0)))
    state = saved.restore(step, like)
    run_description.print_defaults(folder, run)
    classes = (run.class_names, run.class_counts)
    return LoadedRun(config, model, state, step, shape, folder, run.fingerprint, *classes)


def load_run_data(
  run: LoadedRun, cache: Path | None = None, data_dir: str = '', dataset: str = ''
) -> Task:
  """Returns the task of a run, with the data that it was trained on.

  Args:
    run: a run of `load_run`.
    cache: folder for what depends on the data alone, such as classifiers.
    data_dir: folder of prepared data, by default the run's own or the default one.
    dataset: where the data are now, by default the run's own --dataset.

  Raises:
    UserError: where the data are not there, or have another fingerprint than those of the run.
  """
  config = dataclasses.replace(run.config, dataset=dataset) if dataset else run.config
  try:
    task = load_task(config, cache, data_dir, run.fingerprint)
  except UserError as error:
    if dataset:
      raise
    raise UserError(
      f'--run={run.folder}: {error}; if the data are elsewhere, name them with --dataset and --data_dir'
    ) from None
  if run.fingerprint not in (None, task.fingerprint):
    raise UserError(
      f'--dataset={config.dataset}: these are not the data that --run={run.folder} was trained on (sha256 '
      f'{task.fingerprint[:12]}, and not {run.fingerprint[:12]}); name those with --dataset and --data_dir'
    )
  return task


def _open_checkpoints(folder: Path, config: Config) -> checkpoints.Checkpoints:
  if not (folder / 'checkpoints').is_dir():
    raise UserError(f'--run={folder}: this run has no checkpoint yet')
  scores = metric_writers.read_scores(folder / 'metrics.jsonl')
  return checkpoints.Checkpoints(folder / 'checkpoints', config.keep, scores, read_only=True)


def _find_step(saved: checkpoints.Checkpoints, folder: Path, which: str) -> int:
  steps = saved.steps()
  if not steps:
    raise UserError(f'--run={folder}: this run has no checkpoint yet')
  if which == 'last':
    return steps[-1]
  if which == 'best':
    best = saved.best()
    if best is None:
      raise UserError(f'--checkpoint=best: {folder} has no evaluated checkpoint; use last')
    return best
  if not which.isdecimal() or int(which) not in steps:
    known = ', '.join(map(str, steps))
    raise UserError(f'--checkpoint={which}: choose last, best, or one of the steps {known}')
  return int(which)
