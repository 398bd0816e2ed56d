"""Forks finished runs: goes on unchanged, and with each single change that the referee can advise.

Every fork of a run has the same compute, in FLOPs. What a change did is the logarithm of the held-out distance
at its end, less that of the forks that go on unchanged.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from gan_jax.config.run_config import Config
from gan_jax.gan.gan import GanState
from gan_jax.sweep import compute_budget
from gan_jax.training import fork_run

from .run_programs import RunPrograms, WorldData, all_finite

UNCHANGED = 'unchanged'
AVERAGED = 'averaged_weights'  # those of the forks that go on unchanged: no training of its own
MIN_EFFECT = math.log(1.1)  # a change helps where it is better by this and by `MIN_ERRORS`
MIN_ERRORS = 3.0  # standard errors, since the best of some fifteen changes is looked at
_WORST = math.log(100.0)  # largest log-ratio that counts, also of forks that diverge
# Shares of a fork at which it is measured; the mean of the logarithms counts.
_SHARES = (0.7, 0.85, 1.0)
_SHARES_OF_IMAGES = (0.8, 1.0)

Changes = dict[str, Any]  # fields of Config


def _double(config: Config, usual: Mapping[str, Any], name: str) -> Changes:
  """Returns twice the width, or the usual one where the present one is smaller."""
  width = getattr(config, name)
  return {name: usual[name] if width < usual[name] else 2 * width}


def _other_loss(config: Config) -> Changes:
  return {'loss': 'relativistic' if config.loss == 'non_saturating' else 'non_saturating'}


def _scaled(config: Config, factor: float, *names: str) -> Changes:
  return {name: getattr(config, name) * factor for name in names}


ChangeFn = Callable[[Config, Mapping[str, Any]], Changes]
# Each maps a run's settings, and those of a healthy run of its world, to what is changed; {} where the change
# does not apply.
CHANGES: dict[str, ChangeFn] = {
  UNCHANGED: lambda c, usual: {},
  'more_d_updates': lambda c, usual: (
    {'k': f'{float(c.k) * 3:g}'} if c.update == 'alternating' and float(c.k) < 8 else {}
  ),
  'd_lr_up': lambda c, usual: _scaled(c, 4, 'd_lr'),
  'd_lr_down': lambda c, usual: _scaled(c, 1 / 4, 'd_lr'),
  'g_lr_up': lambda c, usual: _scaled(c, 4, 'g_lr'),
  'lower_rates': lambda c, usual: _scaled(c, 1 / 4, 'g_lr', 'd_lr'),
  'penalty_up': lambda c, usual: _scaled(c, 10, 'r1') if c.r1 else {'r1': usual['r1']},
  'penalty_down': lambda c, usual: _scaled(c, 0.1, 'r1'),
  'no_momentum': lambda c, usual: {'g_b1': 0.0, 'd_b1': 0.0} if c.g_b1 or c.d_b1 else {},
  'other_loss': lambda c, usual: _other_loss(c),
  'larger_d': lambda c, usual: _double(c, usual, 'd_width'),
  'larger_g': lambda c, usual: _double(c, usual, 'g_width'),
  'larger_batch': lambda c, usual: {'batch_size': 4 * c.batch_size},
  'diffaugment': lambda c, usual: {'augment': 'diffaugment'} if 'image_size' in usual else {},
  'smaller_d': lambda c, usual: (
    {'d_width': c.d_width // 2} if c.dataset.startswith('folder:') else {}
  ),
  'd_dropout': lambda c, usual: (
    {'d_dropout': True} if c.dataset.startswith('folder:') and c.network == 'mlp' else {}
  ),
}


class Fork(NamedTuple):
  """Holds the result of a fork: one line of a JSONL file."""

  change: str  # a key of CHANGES
  seed: int
  changes: Changes
  steps: int
  log_distance: float  # mean over the last part; inf for a fork that diverged
  log_distance_ema: float  # of the averaged weights
  distances: dict[str, float]  # at its end


def applicable_changes(config: Config, usual: Mapping[str, Any]) -> dict[str, Changes]:
  """Returns the changes that differ from the settings of a run, by name; the unchanged one is first."""
  changes = {name: change(config, usual) for name, change in CHANGES.items()}
  differs = lambda values: any(getattr(config, key) != value for key, value in values.items())
  return {name: values for name, values in changes.items() if name == UNCHANGED or differs(values)}


def fork_and_measure(
  programs: RunPrograms,
  world: WorldData,
  config: Config,
  state: GanState,
  change: tuple[str, Changes],
  seed: int,
  steps: int,
) -> Fork:
  """Goes on from `state` with a change, for the compute of `steps` unchanged steps, and measures the samples.

  Args:
    programs: compiled programs.
    world: data.
    config: settings of the run.
    state: its last one, which is kept.
    change: its name and the changed settings.
    seed: number of the repetition, which changes minibatches, latents and new weights.
    steps: of a fork without change.
  """
  name, changes = change
  seeded = dataclasses.replace(config, seed=1000 * (config.seed + 1) + seed)
  changed = dataclasses.replace(seeded, **changes)
  n = steps
  if changes:
    budget = programs.flops(config, world, steps)
    n = compute_budget.affordable_steps(lambda n: programs.flops(changed, world, n), budget)
  anew = {'g_width', 'd_width'} & set(changes)
  initial = programs.initial_state(changed, world) if anew else state
  forked, _ = fork_run.transfer_state(state, initial, config, changed)
  forked = jax.tree.map(jnp.copy, forked)
  logs: list[tuple[float, float]] = []
  at, distances = 0, {}
  for share in _SHARES if world.kind == 'points' else _SHARES_OF_IMAGES:
    forked, means = programs.advance(changed, world, forked, round(share * n) - at)
    at = round(share * n)
    if not all_finite(means):
      logs.append((math.inf, math.inf))
      break
    distances = programs.distances(changed, world, forked.g.weights)
    log = world.measure.log_distance(distances)
    log_ema = math.nan
    if name == UNCHANGED:
      averaged = programs.distances(changed, world, forked.g_ema)
      log_ema = world.measure.log_distance(averaged)
    logs.append((log, log_ema))
  raw, ema = (float(np.mean(column)) for column in zip(*logs, strict=True))
  return Fork(name, seed, changes, n, raw, ema, distances)


class Effect(NamedTuple):
  """Holds what a change did to the logarithm of the held-out distance, beside going on unchanged."""

  log_ratio: float  # against going on unchanged, below 0 where it is better
  error: float  # its standard error
  log_ratio_start: float  # against the state that was forked
  helps: bool
  n: int  # seeds


def effects_of_changes(forks: Sequence[Fork], start: float) -> dict[str, Effect]:
  """Returns the effect of each change from all forks of one run; `start` is its log-distance before.

  A few seeds say little about the variance of one change: it is averaged with the median over all changes.
  """
  capped = lambda x: min(x - start, _WORST) if not math.isnan(x) else _WORST
  by_change: dict[str, list[float]] = {}
  averaged: list[float] = []  # against the last weights of the same forks
  for fork in forks:
    by_change.setdefault(fork.change, []).append(capped(fork.log_distance))
    if fork.change == UNCHANGED:
      averaged.append(capped(fork.log_distance_ema) - capped(fork.log_distance))
  if UNCHANGED not in by_change:
    return {}
  pooled = _pooled_variance([values for values in by_change.values() if len(values) > 1])
  unchanged = float(np.mean(by_change[UNCHANGED]))

  def square(x: list[float]) -> float:
    return (float(np.var(x, ddof=1)) + pooled if len(x) > 1 else 2 * pooled) / 2 / len(x)

  def effect(ratio: float, error: float, n: int) -> Effect:
    helps = ratio <= -MIN_EFFECT and ratio <= -MIN_ERRORS * error
    return Effect(ratio, error, unchanged + ratio, helps, n)

  effects = {}
  for name, values in by_change.items():
    error = math.sqrt(square(values) + square(by_change[UNCHANGED]))
    effects[name] = effect(float(np.mean(values)) - unchanged, error, len(values))
  effects[AVERAGED] = effect(float(np.mean(averaged)), math.sqrt(square(averaged)), len(averaged))
  return effects


def _pooled_variance(values: Sequence[Sequence[float]]) -> float:
  """Returns the median variance over seeds, each divided by what the median of its estimates would be at 1.

  The median, because a single change after which training is unstable would hide the effects of all others.
  """
  expected = lambda n: float(scipy.stats.chi2.median(n - 1)) / (n - 1)
  variances = [np.var(x, ddof=1) / expected(len(x)) for x in values]
  return float(np.median(variances)) if variances else math.nan


def fork_as_json(run: str, fork: Fork) -> dict[str, Any]:
  """Returns a fork as a JSON object, in which null stands for values that are not finite."""
  finite = lambda x: round(x, 5) if math.isfinite(x) else None
  values = {'log_distance': finite(fork.log_distance)}
  values['log_distance_ema'] = finite(fork.log_distance_ema)
  distances = {name: finite(x) for name, x in fork.distances.items()}
  return {'run': run} | fork._asdict() | values | {'distances': distances}


def fork_from_json(record: Mapping[str, Any]) -> Fork:
  """Returns the fork that `fork_as_json` wrote; a fork that diverged has the distance inf."""
  fields = {name: record[name] for name in Fork._fields}
  logs = {'log_distance': math.inf, 'log_distance_ema': math.nan}
  fields |= {name: other for name, other in logs.items() if fields[name] is None}
  return Fork(**fields)
