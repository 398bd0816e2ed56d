"""Finds the first value of a run that is not finite, by repeating the steps before."""

from typing import TYPE_CHECKING, Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.training.checkpoints import Checkpoints
from gan_jax.utils.errors import DivergedError

if TYPE_CHECKING:
  from gan_jax.training.session import Session


def first_nonfinite_leaf(tree: Any) -> str | None:
  """Returns the path of the first leaf with an infinity or a NaN, or None: 'd.params/Dense_0/kernel'."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not np.all(np.isfinite(np.asarray(leaf, np.float64))):
      return jax.tree_util.keystr(path, simple=True, separator='/')
  return None


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Returns whether no leaf holds an infinity or a NaN, as one boolean on the device."""
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def raise_diverged(session: 'Session', saved: Checkpoints, start: int, stop: int) -> NoReturn:
  """Raises DivergedError, naming the first tensor and step that is not finite between `start` and `stop`.

  The training loop itself checks no single tensor. The run is repeated, which is exact, from its last
  checkpoint to `start`, and from there one step at a time.
  """
  saved.wait()
  state, good = session.initial_state(), 0
  for step in reversed([step for step in saved.steps() if step <= start]):
    restored = saved.restore(step, state)
    # A state may break one step before its metrics.
    if first_nonfinite_leaf(session.eval_state(restored)) is None:
      state, good = restored, step
      break
  state, _ = session.advance(state, good, start - good)
  step = start
  where = first_nonfinite_leaf(session.eval_state(state))
  while where is None and step < stop:
    state, calls = session.advance(state, step, 1)
    step += 1
    where = first_nonfinite_leaf(calls[0][1]) or first_nonfinite_leaf(session.eval_state(state))
  what = f'{where} at step {step}' if where else f'a mean over steps {start + 1} to {stop}'
  last = f'the last good checkpoint is step {good}' if good else 'no checkpoint was made before'
  raise DivergedError(
    f'not finite: {what}; {last} ({session.folder / "checkpoints"}). '
    'Lower --d_lr or --g_lr, or raise --r1, and start a new --run'
  )
