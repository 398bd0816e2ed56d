"""Checkpoints of a run's state through Orbax: written behind the training, whole or not at all."""

import contextlib
import math
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from gan_jax.training import checksums
from gan_jax.utils.errors import AllProcessesError, DivergedError, UserError

_MOMENT = 10.0  # seconds for a checkpoint to become complete while this process breaks


@jax.jit
def _copy(tree: Any) -> Any:
  return jax.tree.map(jnp.copy, tree)


def _meet(*, key: str, timeout_ms: int) -> None:
  """Wait for the other processes while a checkpoint is written, but not where this one's part failed.

  Orbax meets them then, too, though they wait elsewhere for what failed here: nobody would hear of it.
  """
  failure = sys.exc_info()[1]
  if failure is not None:
    raise failure
  ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


class _Best:
  """Orbax policy: preserve the checkpoint of the highest score."""

  def __init__(self, scores: dict[int, float]):
    self._scores = scores

  def should_preserve(
    self, checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo], *, context: Any
  ) -> list[bool]:
    del context
    best = best_step([info.step for info in checkpoints], self._scores)
    return [info.step == best for info in checkpoints]


def best_step(steps: Sequence[int], scores: dict[int, float]) -> int | None:
  """The step with the highest score, the earliest of equals; None where no step has one."""
  scored = [step for step in steps if math.isfinite(scores.get(step, math.nan))]
  return max(scored, key=lambda step: (scores[step], -step)) if scored else None


def prune(folder: Path, keep: int, scores: dict[int, float]) -> None:
  """Delete what a killed process of the run in `folder` left: all but the last `keep` steps and the best.

  Orbax deletes when it saves, which a finished run never does again. Where no step is known to be the best,
  its records may be lost, and any of them may be it: nothing is deleted.
  """
  steps = sorted(checksums.complete(folder))
  best = best_step(steps, scores)
  for step in set(steps[:-keep]) - {best} if best is not None else ():
    shutil.rmtree(checksums.path(folder, step))


class Checkpoints:
  """The `checkpoints/` folder of a run: the last few states, and the best by its scores."""

  def __init__(
    self, folder: Path, keep: int, scores: dict[int, float] | None = None, read_only: bool = False
  ):
    self._folder = folder
    self._seals = not read_only and jax.process_index() == 0
    self._scores = dict(scores or {})
    policies = [preservation_policy.LatestN(keep), _Best(self._scores)]
    options = ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
      cleanup_tmp_directories=not read_only,
      async_options=ocp.AsyncOptions(
        post_finalization_callback=self._seal,
        barrier_sync_fn=_meet if jax.process_count() > 1 else None,
      ),
      read_only=read_only,
      create=not read_only,
      step_format_fixed_length=8,
    )
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def save(self, step: int, state: Any, score: float | None = None) -> None:
    """Begin to write `state`; training may go on and donate its buffers at once."""
    if score is not None:
      self._scores[step] = score
    self._manager.save(step, args=ocp.args.StandardSave(_copy(state)), force=True)

  def _seal(self) -> None:
    """Write the checksums of what becomes complete next: called by Orbax in the background."""
    if self._seals:
      checksums.write(self._folder.parent)

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def best(self) -> int | None:
    """Step of the best checkpoint; None where none was scored."""
    return best_step(self.steps(), self._scores)

  def restore(self, step: int, like: Any) -> Any:
    """The state at `step`, with the shapes and devices of `like`; UserError where it cannot be read."""
    path = checksums.path(self._folder.parent, step)
    wrong = checksums.problem(self._folder.parent, step)
    if wrong is not None:
      raise UserError(
        f'{path}: this checkpoint is damaged: {wrong}; use another, or go on training, which '
        'begins from the one before it'
      )
    try:
      return self._manager.restore(step, args=ocp.args.StandardRestore(like))
    except Exception as error:  # Orbax and TensorStore raise what they like for a damaged file
      reason = (
        str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
      )
      raise UserError(
        f'{path}: this checkpoint is damaged or belongs to another model ({reason}); '
        'delete that folder to go on from the one before it'
      ) from error

  def wait(self) -> None:
    """Return when everything that was begun is on disk; raises what went wrong in the background."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Wait, then let go of the folder."""
    self._manager.close()


@contextlib.contextmanager
def opened(folder: Path, keep: int, scores: dict[int, float]) -> Iterator[Checkpoints]:
  """The checkpoints in `folder`, closed at the end whatever happens.

  A checkpoint is complete when all processes have written their parts. After an error of this process
  alone the others may wait for it elsewhere, so it waits for them a moment only.
  """
  checkpoints = Checkpoints(folder, keep, scores)
  try:
    yield checkpoints
  except BaseException as error:
    if jax.process_count() > 1 and not isinstance(error, (AllProcessesError, DivergedError)):
      closing = threading.Thread(target=_close_if_possible, args=(checkpoints,), daemon=True)
      closing.start()
      closing.join(_MOMENT)
    else:
      checkpoints.close()
    raise
  checkpoints.close()


def _close_if_possible(checkpoints: Checkpoints) -> None:
  with contextlib.suppress(Exception):  # the error that ends the run is told already
    checkpoints.close()
