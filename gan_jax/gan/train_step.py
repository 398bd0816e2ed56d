"""Many training steps as one pure program over data that lie on the device."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data.device_batches import Data, Feed
from gan_jax.data.shuffle import Batch
from gan_jax.distributed.randomness import Axis, example_keys, global_indices, mapped_axis
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import update_ratio
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.latents import sample as sample_latents
from gan_jax.gan.player import Weights
from gan_jax.gan.update_ratio import Balance, Ratio
from gan_jax.gan.update_rules import UPDATES

# The numbers that a compiled training program takes as arguments, by the name of their setting.
Hyperparameters = Mapping[str, Any]


class Recipe(NamedTuple):
  """How a Gan is trained: in which order, how often, on what."""

  gan: Gan
  update: str  # a name in UPDATES
  k: Ratio | None  # None where the gan's `balance` chooses
  batch_size: int  # over all devices
  feed: Feed
  held_out: Feed  # of what training never sees, for the controller of k


class Keys(NamedTuple):
  """The keys of a run, all made from its root."""

  data: jax.Array  # the order of training examples
  noise: jax.Array  # what the updates draw
  held_out: jax.Array  # what the controller of k measures with


def keys(key: jax.Array) -> Keys:
  """Those of the run whose root is `key`."""
  return Keys(*jax.random.split(key, 3))


def draw(recipe: Recipe, key: jax.Array, data: Any, i: jax.Array, axis_name: Axis) -> Batch:
  """This device's share of the i-th minibatch, counted in updates of D."""
  axis = mapped_axis(axis_name)
  rows = recipe.batch_size // (1 if axis is None else lax.axis_size(axis))
  start = i.astype(jnp.uint32) * jnp.uint32(recipe.batch_size)
  return recipe.feed(key, start + global_indices(rows, axis_name).astype(jnp.uint32), data)


def train_step(
  recipe: Recipe, key: jax.Array, state: GanState, data: Data, axis_name: Axis
) -> tuple[GanState, Metrics]:
  """One step of the recipe: the updates of D that are due, the update of G, the controllers."""
  gan = recipe.gan
  data_key, noise_key, held_out_key = keys(key)
  if gan.balance is None:
    assert recipe.k is not None
    n_d = recipe.k.due(state.step)
  else:
    n_d, control = gan.balance.due(state.controls['k'])
    state = state.replace(controls=state.controls | {'k': control})
  step_key = jax.random.fold_in(noise_key, state.step)
  state, metrics = UPDATES[recipe.update](
    gan,
    step_key,
    state,
    lambda i: draw(recipe, data_key, data.train, i, axis_name),
    n_d,
    axis_name=axis_name,
  )
  if gan.balance is not None:
    state = rebalance(recipe, gan.balance, (data_key, held_out_key), state, data, axis_name)
    control = state.controls['k']
    metrics = metrics | {'gain': control.gain, 'undone': control.undone}
  if gan.ada is not None:
    metrics = metrics | {'augment_p': state.controls['augment'].p}
  return state, metrics


def rebalance(
  recipe: Recipe,
  controller: Balance,
  keys: tuple[jax.Array, jax.Array],
  state: GanState,
  data: Data,
  axis_name: Axis,
) -> GanState:
  """The state with k adapted to what either player's next updates do, where a measurement is due.

  `keys` are those of the minibatches and of the measurements.
  """
  gan, (data_key, key) = recipe.gan, keys
  turn = state.step.astype(jnp.uint32)
  held_out_key, z_key, d_key, g_key = jax.random.split(key, 4)

  def ahead(update: Callable[..., tuple[GanState, Metrics]], key: jax.Array) -> GanState:
    """The state after a few updates of one player, which nobody keeps."""
    key = jax.random.fold_in(key, turn)

    def look(i: jax.Array, state: GanState) -> GanState:
      batch = draw(recipe, data_key, data.train, state.d.count, axis_name)
      return update(gan, jax.random.fold_in(key, i), state, batch, axis_name=axis_name)[0]

    return lax.fori_loop(0, controller.ahead, look, state)

  def measured() -> update_ratio.Control:
    positions = turn * jnp.uint32(controller.n) + jnp.arange(controller.n, dtype=jnp.uint32)
    batch = recipe.held_out(held_out_key, positions, data.held_out)
    z_keys = example_keys(jax.random.fold_in(z_key, turn), controller.n, None)
    latents = sample_latents(gan.latent, z_keys)

    def cost(d: Weights, g: Weights) -> jax.Array:
      fakes = gan_lib.sample(gan, g, latents, batch.labels)
      real, fake = (gan_lib.logits(gan, d, x, batch.labels) for x in (batch.images, fakes))
      return update_ratio.cross_entropy(*gan.loss.log_odds(real, fake))

    d, g = state.d.weights, state.g.weights
    now = cost(d, g)
    gain = now - cost(ahead(gan_lib.update_discriminator, d_key).d.weights, g)
    undone = cost(d, ahead(gan_lib.update_generator, g_key).g.weights) - now
    return controller.adapt(state.controls['k'], gain / controller.ahead, undone / controller.ahead)

  due = controller.measures(state.step)
  control = lax.cond(due, measured, lambda: state.controls['k'])
  return state.replace(controls=state.controls | {'k': control})


def run_steps(
  recipe: Recipe,
  key: jax.Array,
  state: GanState,
  data: Data,
  n: int | jax.Array,
  *,
  axis_name: Axis = None,
) -> tuple[GanState, Metrics]:
  """N training steps in one program: the new state, and the mean of each metric.

  The mean is over steps, for metrics named d_* over updates of D; `k` is how many of these there were
  per step. `n` is traced, so that every stretch between two events of the loop runs the same
  program: that is what makes a resumed run equal an unbroken one bit for bit.
  """

  def add(_: Any, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
    state, metrics = train_step(recipe, key, carry[0], data, axis_name)
    return state, jax.tree.map(jnp.add, carry[1], metrics)

  shapes = jax.eval_shape(lambda: train_step(recipe, key, state, data, None))[1]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  state, sums = lax.fori_loop(0, n, add, (state, zeros))
  d_updates = sums.pop('d_updates')
  # Where D did not move there is nothing to take the mean of: NaN would look like divergence, so 0.
  d_weight = 1 / jnp.maximum(d_updates, 1)
  means = {name: x * d_weight if name.startswith('d_') else x / n for name, x in sums.items()}
  return state, {**means, 'k': d_updates / n}


def as_program(
  recipe_of: Callable[[Hyperparameters], Recipe],
) -> Callable[..., tuple[GanState, Metrics]]:
  """`run_steps` with the numbers of its recipe as its first argument: (numbers, key, state, data, n).

  One compilation then serves all runs that differ in these and in their seed, alone or side by side.
  """

  def run(numbers: Hyperparameters, *args: Any, axis_name: Axis = None) -> tuple[GanState, Metrics]:
    return run_steps(recipe_of(numbers), *args, axis_name=axis_name)

  return run
