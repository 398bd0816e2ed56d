"""One player: a network's variables, its optimizer's state, and a step of it."""

from typing import Any

import flax
import jax
import optax

from gan_jax.gan.weight_constraints import Projection

PyTree = Any


class Weights(flax.struct.PyTreeNode):
  """What a network computes with."""

  params: PyTree
  stats: PyTree  # collections besides 'params', such as batch statistics; {} where there are none


class Player(flax.struct.PyTreeNode):
  """One network's variables and its optimizer's state."""

  params: PyTree
  stats: PyTree
  opt_state: optax.OptState
  count: jax.Array  # updates so far, int32

  @property
  def weights(self) -> Weights:
    """Without the optimizer."""
    return Weights(self.params, self.stats)


def direction(
  tx: optax.GradientTransformation, rate: Any, player: Player, grads: PyTree
) -> tuple[PyTree, optax.OptState]:
  """What the optimizer adds to the parameters for `grads`, and its new state."""
  wrapped = optax.with_extra_args_support(tx)
  return wrapped.update(grads, player.opt_state, player.params, learning_rate=rate)


def descend(
  tx: optax.GradientTransformation,
  rate: Any,
  player: Player,
  grads: PyTree,
  stats: PyTree,
  project: Projection | None = None,
) -> Player:
  """The player after its optimizer took one step along `grads`, and `project` brought it back."""
  updates, opt_state = direction(tx, rate, player, grads)
  params = optax.apply_updates(player.params, updates)
  return Player(project(params) if project else params, stats, opt_state, player.count + 1)
