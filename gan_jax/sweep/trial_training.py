"""Trains one setting, with all its seeds, as a trial of an Optuna study."""

import math
from collections.abc import Callable
from typing import Any

from gan_jax.sweep import equal_compute, halving_scheduler, search_space
from gan_jax.sweep.callbacks import SweepCallback
from gan_jax.sweep.equal_compute import Comparison
from gan_jax.sweep.results_table import ResultRow, mean_finite
from gan_jax.utils.errors import UserError


class PruningCallback(SweepCallback):
  """Reports the mean metric of a trial's members at each evaluated step, and asks the pruner."""

  def __init__(self, trial: Any, n_members: int, sign: int):
    """Starts without scores; `sign` turns a score into the metric."""
    self._trial, self._n_members, self._sign = trial, n_members, sign
    self._scores: dict[int, dict[str, float]] = {}
    self._ended: set[str] = set()
    self.should_prune = False

  def on_evaluation(self, name: str, step: int, score: float) -> None:
    """Reports the mean of a step once all members that still train were evaluated at it."""
    scores = self._scores.setdefault(step, {})
    scores[name] = score
    mean = mean_finite(scores.values())
    if len(scores) + len(self._ended) == self._n_members and math.isfinite(mean):
      self._trial.report(self._sign * mean, step)
      self.should_prune = self._trial.should_prune()

  def on_early_end(self, name: str, status: str, step: int) -> None:
    """Leaves a member out of the steps to come."""
    self._ended.add(name)


def train_trial(
  comparison: Comparison, trial: Any, setting: search_space.Setting, stop: Callable[[], bool]
) -> list[ResultRow] | None:
  """Trains all seeds of a trial's setting in trials/NUMBER of the sweep's directory.

  Returns a row for each seed; [] for an invalid setting; None where the trial was stopped or pruned.
  """
  one, basis = comparison._replace(settings=[setting], halving=0), equal_compute.G_UPDATES
  try:
    steps = {setting: search_space.apply_setting(one.base, setting).steps}
    runs = equal_compute.runs_to_train(one, steps, basis)
  except UserError:  # Optuna drew values that do not go together
    return []
  folder = comparison.folder / 'trials' / f'{trial.number:05d}'
  schedule = equal_compute.make_schedule(one, runs, folder)
  callback = PruningCallback(trial, len(runs), one.metric.sign)
  if not halving_scheduler.train_members(
    schedule, callback, lambda: stop() or callback.should_prune
  ):
    return None
  return equal_compute.result_rows(comparison, basis, runs, schedule)
