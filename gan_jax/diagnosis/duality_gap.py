"""Estimates the duality gap of a state: how much either player gains while the other one is fixed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.data.device_batches import DeviceData
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import gan as gan_lib, player_updates
from gan_jax.gan.gan import GanState
from gan_jax.gan.latents import sample_latents
from gan_jax.gan.train_step import Hyperparameters, TrainSpec, get_train_batch

N_UPDATES = 200  # of each player
_N_MEASUREMENTS = 10  # of the value, at equal distances among the updates
_N_EXAMPLES = 2000  # held-out examples, and samples
DUALITY_STREAM = 0xD0A1  # folded into the run's key, so that training draws different numbers


class DualityGap(NamedTuple):
  """Holds extremes, in nats, of V = E log D(x) + E log(1 - D(G(z))) over updates of one player."""

  best_d: float  # the highest V over updates of D
  best_g: float  # the lowest V over updates of G

  @property
  def gap(self) -> float:
    """Returns the gap: at least 0, and 0 at an equilibrium, where V = -log 4 (Grnarova et al., 2019)."""
    return self.best_d - self.best_g


def estimate_duality_gap(
  spec_fn: Callable[[Hyperparameters], TrainSpec],
  hyperparameters: Hyperparameters,
  key: jax.Array,
  state: GanState,
  data: DeviceData,
  n_updates: int = N_UPDATES,
) -> DualityGap:
  """Estimates the duality gap from below, by updates of one player from `state` while the other is fixed.

  V is that of eq. 1 in Goodfellow et al. (2014) for every loss, of the log-odds that D's outputs encode.

  Args:
    spec_fn: maps hyperparameters to the run's training; one compilation for equal values.
    hyperparameters: of the run. Learning rates are those of step 0, as schedules may end at 0.
    key: of examples and latents.
    state: where both players start.
    data: training and held-out data.
    n_updates: of each player, a multiple of 10; V is measured after each tenth.
  """
  best = _best_values(spec_fn, n_updates, hyperparameters, key, state, data)
  return DualityGap(*(float(x) for x in best))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _best_values(
  spec_fn: Callable[[Hyperparameters], TrainSpec],
  n_updates: int,
  hyperparameters: Hyperparameters,
  key: jax.Array,
  state: GanState,
  data: DeviceData,
) -> tuple[jax.Array, jax.Array]:
  """Returns the highest V over updates of D and the lowest over updates of G."""
  spec = spec_fn(hyperparameters)
  rates = (spec.gan.g_rate(jnp.int32(0)), spec.gan.d_rate(jnp.int32(0)))
  gan = spec.gan._replace(g_rate=lambda step: rates[0], d_rate=lambda step: rates[1])
  data_key, held_out_key, latent_key, update_key = jax.random.split(key, 4)
  positions = jnp.arange(_N_EXAMPLES, dtype=jnp.uint32)
  held_out = spec.held_out_examples(held_out_key, positions, data.held_out)
  latents = sample_latents(gan.latent, example_keys(latent_key, _N_EXAMPLES, None))

  def value(state: GanState) -> jax.Array:
    fakes = gan_lib.sample(gan, state.g.weights, latents, held_out.labels)
    logits = lambda images: gan_lib.logits(gan, state.d.weights, images, held_out.labels)
    real, fake = gan.loss.log_odds(logits(held_out.images), logits(fakes))
    return -jnp.mean(jax.nn.softplus(-real)) - jnp.mean(jax.nn.softplus(fake))

  def values(update: Callable[..., Any]) -> jax.Array:
    """Returns V before and among the updates of one player: [measurements + 1]."""

    def step(i: jax.Array, state: GanState) -> GanState:
      batch = get_train_batch(spec, data_key, data.train, i, None)
      return update(gan, jax.random.fold_in(update_key, i), state, batch)[0]

    def update_and_measure(state: GanState, i: jax.Array) -> tuple[GanState, jax.Array]:
      first = i * (n_updates // _N_MEASUREMENTS)
      state = lax.fori_loop(first, first + n_updates // _N_MEASUREMENTS, step, state)
      return state, value(state)

    later = lax.scan(update_and_measure, state, jnp.arange(_N_MEASUREMENTS))[1]
    return jnp.concatenate([value(state)[None], later])

  best_d = values(player_updates.update_discriminator).max()
  return best_d, values(player_updates.update_generator).min()
