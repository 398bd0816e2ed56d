"""Saves and restores the state of a run through Orbax, asynchronously and atomically."""

import contextlib
import math
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from gan_jax.training import checkpoint_integrity
from gan_jax.utils.errors import AllProcessesError, DivergedError, UserError

_CLOSE_TIMEOUT = 10.0  # seconds for a checkpoint to become complete after an error in this process


@jax.jit
def _copy(tree: Any) -> Any:
  return jax.tree.map(jnp.copy, tree)


def _barrier(*, key: str, timeout_ms: int) -> None:
  """Waits for the other processes while a checkpoint is written; raises at once where this one failed.

  Orbax would wait after a failure, too, and the error would never be reported.
  """
  failure = sys.exc_info()[1]
  if failure is not None:
    raise failure
  ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def best_step(steps: Sequence[int], scores: dict[int, float]) -> int | None:
  """Returns the step with the highest score, the earliest of equals; None where no step has a score."""
  scored = [step for step in steps if math.isfinite(scores.get(step, math.nan))]
  return max(scored, key=lambda step: (scores[step], -step)) if scored else None


def delete_surplus_checkpoints(folder: Path, keep: int, scores: dict[int, float]) -> None:
  """Deletes all checkpoints of the run in `folder` but the last `keep` and the best.

  Orbax deletes when it saves, which a process that was killed before did not do. Without any score the best
  is unknown, and nothing is deleted.
  """
  steps = sorted(checkpoint_integrity.complete_steps(folder))
  best = best_step(steps, scores)
  for step in set(steps[:-keep]) - {best} if best is not None else ():
    # NFS keeps the name of a file that another process has open, and with it the folder.
    shutil.rmtree(checkpoint_integrity.checkpoint_path(folder, step), ignore_errors=True)


class Checkpoints:
  """Manages the `checkpoints/` folder of a run: the last few states, and the best by its score."""

  def __init__(
    self, folder: Path, keep: int, scores: dict[int, float] | None = None, read_only: bool = False
  ):
    self._folder = folder
    self._writes_checksums = not read_only and jax.process_index() == 0
    self._scores = dict(scores or {})
    best = lambda infos: best_step([info.step for info in infos], self._scores)
    are_best = lambda infos, context: [info.step == best(infos) for info in infos]
    policies = [preservation_policy.LatestN(keep), SimpleNamespace(should_preserve=are_best)]
    options = ocp.CheckpointManagerOptions(
      preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
      cleanup_tmp_directories=not read_only,
      async_options=ocp.AsyncOptions(
        post_finalization_callback=self._record_checksums,
        barrier_sync_fn=_barrier if jax.process_count() > 1 else None,
      ),
      read_only=read_only,
      create=not read_only,
      step_format_fixed_length=8,
    )
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

  def save(self, step: int, state: Any, score: float | None = None) -> None:
    """Begins to write `state`; training may go on and donate the buffers at once."""
    if score is not None:
      self._scores[step] = score
    self._manager.save(step, args=ocp.args.StandardSave(_copy(state)), force=True)

  def _record_checksums(self) -> None:
    """Writes the checksums of the checkpoint that Orbax is about to complete, in its background thread."""
    if self._writes_checksums:
      checkpoint_integrity.record_checksums(self._folder.parent)

  def steps(self) -> list[int]:
    """Returns the steps of the complete checkpoints, ascending."""
    return sorted(self._manager.all_steps())

  def best(self) -> int | None:
    """Returns the step of the best checkpoint; None where none has a score."""
    return best_step(self.steps(), self._scores)

  def restore(self, step: int, like: Any) -> Any:
    """Returns the state at `step`, laid out as `like`; raises UserError for a damaged file."""
    path = checkpoint_integrity.checkpoint_path(self._folder.parent, step)
    damage = checkpoint_integrity.find_damage(self._folder.parent, step)
    if damage is not None:
      raise UserError(
        f'{path}: this checkpoint is damaged: {damage}; use another, or go on training, which '
        'begins from the one before it'
      )
    try:
      return self._manager.restore(step, args=ocp.args.StandardRestore(like))
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
      reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
      raise UserError(
        f'{path}: this checkpoint is damaged or belongs to another model ({reason}); '
        'delete that folder to go on from the one before it'
      ) from error

  def wait(self) -> None:
    """Waits until every checkpoint is on disk; raises an error of the background thread."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then closes the folder."""
    self._manager.close()


@contextlib.contextmanager
def open_checkpoints(folder: Path, keep: int, scores: dict[int, float]) -> Iterator[Checkpoints]:
  """Opens the checkpoints in `folder`, and closes them at the end of the block.

  A checkpoint is complete when all processes have written their shards. After an error in one process the
  others may never write theirs, so that process waits for them for some seconds only.
  """
  checkpoints = Checkpoints(folder, keep, scores)
  try:
    yield checkpoints
  except BaseException as error:
    if jax.process_count() > 1 and not isinstance(error, (AllProcessesError, DivergedError)):
      closing = threading.Thread(target=_close_if_possible, args=(checkpoints,), daemon=True)
      closing.start()
      closing.join(_CLOSE_TIMEOUT)
    else:
      checkpoints.close()
    raise
  checkpoints.close()


def _close_if_possible(checkpoints: Checkpoints) -> None:
  with contextlib.suppress(Exception):  # the error that ends the run is reported already
    checkpoints.close()
