"""Decides at which steps the training loop logs, monitors, evaluates and saves."""

from typing import NamedTuple

from gan_jax.config.run_config import Config


class Due(NamedTuple):
  """Holds which kinds of work are due after a step."""

  monitor: bool
  evaluate: bool  # an evaluation ends with a checkpoint
  save: bool


def due_after(config: Config, step: int) -> Due:
  """Returns the work that is due after step number `step` of a run."""
  monitor = config.referee_every > 0 and step % config.referee_every == 0
  evaluate = step % config.eval_every == 0 or step == config.steps
  return Due(monitor, evaluate, evaluate or step % config.checkpoint_every == 0)


def next_stop(config: Config, step: int) -> int:
  """Returns the next step after `step` at which the loop does anything but train.

  The result depends on the step alone, so a resumed run calls the same program with the same numbers of
  steps as an unbroken run.
  """
  if step == 0:
    return 1  # logs the first step, so that a user soon sees that training runs
  intervals = (config.log_every, config.eval_every, config.checkpoint_every, config.referee_every)
  return min(config.steps, *((step // every + 1) * every for every in intervals if every))
