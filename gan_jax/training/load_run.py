"""Loads a trained run from its directory, for evaluation and sampling."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import gan_factory
from gan_jax.config.run_config import Config
from gan_jax.gan import gan
from gan_jax.gan.gan import Gan, GanState
from gan_jax.training import checkpoints, metric_writers, run_directory
from gan_jax.utils.errors import UserError


class LoadedRun(NamedTuple):
  """Holds the settings, the networks and the state of a run at one checkpoint."""

  config: Config
  gan: Gan
  state: GanState
  step: int
  shape: tuple[int, ...]  # of one example


def load_run(folder: Path, which: str) -> LoadedRun:
  """Loads the run in `folder` at its 'last' or 'best' checkpoint, or at a step given in digits.

  No data are needed: config.json holds the shape of an example and the number of classes. Raises UserError
  where there is no run, no such checkpoint, or a damaged one.
  """
  config = run_directory.read_config(folder)
  shape, n_classes = run_directory.read_shape(folder)
  model = gan_factory.build_gan(config, shape, 1, n_classes)
  init = lambda key: gan.init(model, key, jnp.zeros((1, *shape)))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)
  with contextlib.closing(_open_checkpoints(folder, config)) as saved:
    step = _find_step(saved, folder, which)
    like = jax.tree.map(struct, jax.eval_shape(init, jax.random.key(0)))
    return LoadedRun(config, model, saved.restore(step, like), step, shape)


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
