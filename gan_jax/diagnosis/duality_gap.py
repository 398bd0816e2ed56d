"""How far a game is from its equilibrium: what either player could still gain while the other stands still."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data.device_batches import DeviceData
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import updates
from gan_jax.gan.gan import GanState
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.train_step import Hyperparameters, TrainSpec, get_train_batch

N_UPDATES = 200  # updates that each player makes alone
_LOOKS = 10  # at the value on the way
_N = 2000  # held-out examples, and samples
KEY_SALT = 0xD0A1  # keeps these updates apart from everything that training draws


class DualityGap(NamedTuple):
  """The gap in nats and its two ends, by V = E log D(x) + E log(1 - D(G(z))) on held-out examples."""

  best_d: float  # the highest V that D reached alone
  best_g: float  # the lowest V that G reached alone

  @property
  def gap(self) -> float:
    """At least 0, and 0 at an equilibrium, where V = -log 4 (Grnarova et al., 2019)."""
    return self.best_d - self.best_g


def estimate_duality_gap(
  recipe_of: Callable[[Hyperparameters], TrainSpec],
  numbers: Hyperparameters,
  key: jax.Array,
  state: GanState,
  data: DeviceData,
  steps: int = N_UPDATES,
) -> DualityGap:
  """The gap that `steps` updates of each player alone, from this state and by the run's own rules, find.

  At the first learning rates, since the last ones may be 0. `steps` is a multiple of 10, after each
  tenth of which V is measured. An estimate from below: more
  updates may find more. Whatever the loss, V is that of eq. 1 in Goodfellow et al. (2014), of the
  log-odds that D's outputs stand for. Compiled once for equal `recipe_of`, whatever the numbers.
  """
  best = _search(recipe_of, steps, numbers, key, state, data)
  return DualityGap(*(float(x) for x in best))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(
  recipe_of: Callable[[Hyperparameters], TrainSpec],
  steps: int,
  numbers: Hyperparameters,
  key: jax.Array,
  state: GanState,
  data: DeviceData,
) -> tuple[jax.Array, jax.Array]:
  recipe = recipe_of(numbers)
  rates = (recipe.gan.g_rate(jnp.int32(0)), recipe.gan.d_rate(jnp.int32(0)))
  gan = recipe.gan._replace(g_rate=lambda step: rates[0], d_rate=lambda step: rates[1])
  data_key, held_out_key, latent_key, update_key = jax.random.split(key, 4)
  held_out = recipe.held_out_examples(held_out_key, jnp.arange(_N, dtype=jnp.uint32), data.held_out)
  latents = sample_latents(gan.latent, example_keys(latent_key, _N, None))

  def value(state: GanState) -> jax.Array:
    fakes = gan_lib.sample(gan, state.g.weights, latents, held_out.labels)
    outputs = (
      gan_lib.logits(gan, state.d.weights, x, held_out.labels) for x in (held_out.images, fakes)
    )
    real, fake = gan.loss.log_odds(*outputs)
    return -jnp.mean(jax.nn.softplus(-real)) - jnp.mean(jax.nn.softplus(fake))

  def alone(update: Callable[..., Any]) -> jax.Array:
    """V after each stretch of updates of one player: [looks + 1]."""

    def step(i: jax.Array, state: GanState) -> GanState:
      batch = get_train_batch(recipe, data_key, data.train, i, None)
      return update(gan, jax.random.fold_in(update_key, i), state, batch)[0]

    def stretch(state: GanState, look: jax.Array) -> tuple[GanState, jax.Array]:
      first = look * (steps // _LOOKS)
      state = lax.fori_loop(first, first + steps // _LOOKS, step, state)
      return state, value(state)

    found = lax.scan(stretch, state, jnp.arange(_LOOKS))[1]
    return jnp.concatenate([value(state)[None], found])

  return alone(updates.update_discriminator).max(), alone(updates.update_generator).min()
