"""Updates one player: D's loss, the gradients of D and of G, and the optimizer's step along them."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.forward import discriminate, generate, penalty_value
from gan_jax.gan.gan import Gan, GanState, Metrics, Player, PyTree, Weights
from gan_jax.gan.gradient_accumulation import mean_over_microbatches, pmean
from gan_jax.gan.moving_average import update_moving_average
from gan_jax.gan.weight_constraints import Projection

Optimizer: TypeAlias = optax.GradientTransformation


def update_discriminator(
  gan: Gan, key: Array, state: GanState, batch: Batch, *, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Takes one optimizer step of D on `batch` and as many fakes; G stays unchanged."""
  z_key, d_key = jax.random.split(key)

  def gradients(batch: Batch, axis: BatchAxis) -> tuple[PyTree, tuple[PyTree, Metrics]]:
    fakes, _ = generate(gan, state.g.weights, z_key, batch, axis)
    loss_fn = lambda params: discriminator_loss(gan, state, params, d_key, batch, fakes, axis)
    return jax.grad(loss_fn, has_aux=True)(state.d.params)

  local = mean_over_microbatches(gradients, batch, gan.accumulate, axis_name)
  grads, (stats, metrics) = pmean(local, axis_name)
  return apply_discriminator_gradients(gan, state, grads, stats, metrics), metrics


def update_generator(
  gan: Gan, key: Array, state: GanState, batch: Batch, *, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Takes one optimizer step of G and updates G's moving average; D stays unchanged.

  `batch` gives the number of fakes and their labels, and D's logits on data to relativistic losses.
  """
  z_key, d_key = jax.random.split(key)

  def gradients(batch: Batch, axis: BatchAxis) -> tuple[tuple[Array, PyTree], PyTree]:
    def loss_fn(params: PyTree) -> tuple[Array, PyTree]:
      fakes, stats = generate(gan, Weights(params, state.g.stats), z_key, batch, axis)
      d = unroll_discriminator(gan, d_key, state, batch, fakes, axis)
      (real, fake), _ = discriminate(gan, state, d.weights, d_key, batch, fakes, axis)
      return gan.loss.generator(real, fake), stats

    return jax.value_and_grad(loss_fn, has_aux=True)(state.g.params)

  local = mean_over_microbatches(gradients, batch, gan.accumulate, axis_name)
  (loss, stats), grads = pmean(local, axis_name)
  return apply_generator_gradients(gan, state, grads, stats), {'g_loss': loss}


def discriminator_loss(
  gan: Gan, state: GanState, params: PyTree, key: Array, batch: Batch, fakes: Array, axis: BatchAxis
) -> tuple[Array, tuple[PyTree, Metrics]]:
  """Returns the loss with penalties of a D with parameters `params`, and (D's new batch statistics, metrics).

  `key` is for augmentation, dropout and penalties; `fakes` [n, ...] have the labels of `batch`.
  """
  weights = Weights(params, state.d.stats)
  (real, fake), stats = discriminate(gan, state, weights, key, batch, fakes, axis)
  loss = gan.loss.discriminator(real, fake)
  penalty = penalty_value(gan, state, params, key, batch, fakes, axis)
  total = loss + penalty
  metrics = {'d_loss': loss, 'd_penalty': penalty, **mean_probabilities(gan, real, fake)}
  return total, (stats, metrics)


def mean_probabilities(gan: Gan, real: Array, fake: Array) -> Metrics:
  """Returns the means of D(x) and D(G(z)) as probabilities of being data, and of sign(D(x) - 1/2).

  `real` [n] and `fake` [n] are D's outputs.
  """
  real, fake = gan.loss.log_odds(real, fake)
  return {
    'd_real': jnp.mean(jax.nn.sigmoid(real)),
    'd_fake': jnp.mean(jax.nn.sigmoid(fake)),
    'd_sign': jnp.mean(jnp.sign(real)),
  }


def unroll_discriminator(
  gan: Gan, key: Array, state: GanState, batch: Batch, fakes: Array, axis: BatchAxis
) -> Player:
  """Returns D after `gan.unroll` further updates, differentiable by `fakes` (Metz et al., 2017).

  All updates share key (augmentation, dropout, penalties), `batch` and `fakes`.
  """

  def update(player: Player, _: Any) -> tuple[Player, None]:
    unrolled = state.replace(d=player)
    loss_fn = lambda params: discriminator_loss(gan, unrolled, params, key, batch, fakes, axis)
    grads, (stats, _) = jax.grad(loss_fn, has_aux=True)(player.params)
    grads, stats = pmean((grads, stats), axis)
    rate = gan.d_rate(state.step)
    return apply_gradients(gan.d_tx, rate, player, grads, stats, gan.d_project), None

  return lax.scan(update, state.d, length=gan.unroll)[0] if gan.unroll else state.d


def apply_discriminator_gradients(
  gan: Gan, state: GanState, grads: PyTree, stats: PyTree, metrics: Metrics
) -> GanState:
  """Applies `grads` to D, stores its batch statistics, and adapts the augmentation's probability."""
  controls = state.controls
  if gan.ada is not None:
    controls = controls | {'augment': gan.ada(controls['augment'], metrics['d_sign'])}
  d = apply_gradients(gan.d_tx, gan.d_rate(state.step), state.d, grads, stats, gan.d_project)
  return state.replace(d=d, controls=controls)


def apply_generator_gradients(gan: Gan, state: GanState, grads: PyTree, stats: PyTree) -> GanState:
  """Applies `grads` to G, stores its batch statistics, updates its moving average and counts the step."""
  g = apply_gradients(gan.g_tx, gan.g_rate(state.step), state.g, grads, stats, gan.g_project)
  g_ema = update_moving_average(state.g_ema, g.weights, gan.ema_decay, state.step)
  return state.replace(step=state.step + 1, g=g, g_ema=g_ema)


def apply_gradients(
  tx: Optimizer, rate: Any, player: Player, grads: PyTree, stats: PyTree, project: Projection | None
) -> Player:
  """Returns the player after one step of the optimizer `tx` with learning rate `rate` along `grads`.

  `project` is then applied to the parameters; `stats` are the player's new batch statistics.
  """
  update = optax.with_extra_args_support(tx).update
  updates, opt_state = update(grads, player.opt_state, player.params, learning_rate=rate)
  params = optax.apply_updates(player.params, updates)
  return Player(project(params) if project else params, stats, opt_state, player.count + 1)
