"""Combines updates of D and of G into one training step: alternating, simultaneous, extragradient, RK4.

An update rule is called as rule(gan, key, state, get_batch, n_d, axis_name=...), where `get_batch(i)` returns
the i-th minibatch of the run, counted in updates of D, and `n_d` is the number of updates of D (1 where
k does not apply). A rule returns the new state and its metrics, of which those named d_* are sums over
the `d_updates` updates of D.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from gan_jax.data.device_batches import Batch
from gan_jax.distributed.randomness import BatchAxis
from gan_jax.gan.forward import discriminate, generate, penalty_value
from gan_jax.gan.gan import Gan, GanState, Metrics, Player, PyTree, Weights
from gan_jax.gan.gradient_accumulation import mean_over_microbatches, pmean
from gan_jax.gan.player_updates import (
  Optimizer,
  apply_discriminator_gradients,
  apply_generator_gradients,
  mean_probabilities,
  update_discriminator,
  update_generator,
)

GetBatch = Callable[[Array], Batch]
Int = int | Array


def alternating_step(
  gan: Gan, key: Array, state: GanState, get_batch: GetBatch, n_d: Int, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Updates D `n_d` times, then G once: algorithm 1 of Goodfellow et al. (2014).

  A traced `n_d`, 0 included, changes from step to step without recompiling; the randomness of D's i-th
  update is independent of `n_d`.
  """
  d_key, g_key = jax.random.split(key)
  first = state.d.count  # G's minibatch is that of D's first update

  def update(i: Int, state: GanState) -> tuple[GanState, Metrics]:
    i_key = jax.random.fold_in(d_key, i)
    return update_discriminator(gan, i_key, state, get_batch(state.d.count), axis_name=axis_name)

  def add_update(i: Array, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
    state, metrics = update(i, carry[0])
    return state, jax.tree.map(jnp.add, carry[1], metrics)

  if isinstance(n_d, int) and n_d == 1:
    state, d_metrics = update(0, state)
  else:
    shapes = jax.eval_shape(update, 0, state)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state, d_metrics = lax.fori_loop(0, n_d, add_update, (state, zeros))
  state, g_metrics = update_generator(gan, g_key, state, get_batch(first), axis_name=axis_name)
  return state, {**d_metrics, **g_metrics, 'd_updates': jnp.asarray(n_d, jnp.float32)}


def step(
  gan: Gan, key: Array, state: GanState, batch: Batch, k: int = 1, *, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Updates D once on each of the k equal parts of `batch`, then G once: one step of algorithm 1.

  Under a map over devices, `axis_name` is the name of the mapped axis and `batch` the device's share.
  """
  parts = jax.tree.map(lambda x: x.reshape(k, x.shape[0] // k, *x.shape[1:]), batch)
  first = state.d.count
  get_part = lambda i: jax.tree.map(lambda x: x[i - first], parts)
  return alternating_step(gan, key, state, get_part, k, axis_name=axis_name)


class PlayerGradients(NamedTuple):
  """Holds both players' gradients at one state, with the batch statistics and metrics of the forward pass."""

  d_grads: PyTree
  g_grads: PyTree
  d_stats: PyTree
  g_stats: PyTree
  metrics: Metrics


def player_gradients(
  gan: Gan, key: Array, state: GanState, batch: Batch, axis_name: BatchAxis
) -> PlayerGradients:
  """Returns both players' gradients at `state`, from one minibatch, one noise and one dropout mask."""
  microbatch = functools.partial(_microbatch_gradients, gan, key, state)
  return pmean(mean_over_microbatches(microbatch, batch, gan.accumulate, axis_name), axis_name)


def _microbatch_gradients(
  gan: Gan, key: Array, state: GanState, batch: Batch, axis_name: BatchAxis
) -> PlayerGradients:
  z_key, d_key = jax.random.split(key)
  fakes_of = lambda params: generate(gan, Weights(params, state.g.stats), z_key, batch, axis_name)
  fakes, g_pullback, g_stats = jax.vjp(fakes_of, state.g.params, has_aux=True)
  logits = lambda params, fakes: discriminate(
    gan, state, Weights(params, state.d.stats), d_key, batch, fakes, axis_name
  )
  (real, fake), d_pullback, d_stats = jax.vjp(logits, state.d.params, fakes, has_aux=True)
  d_loss, d_cotangents = jax.value_and_grad(gan.loss.discriminator, (0, 1))(real, fake)
  g_loss, g_cotangents = jax.value_and_grad(gan.loss.generator, (0, 1))(real, fake)
  d_grads, _ = d_pullback(d_cotangents)
  (g_grads,) = g_pullback(d_pullback(g_cotangents)[1])
  penalty, penalty_grads = jax.value_and_grad(
    lambda params: penalty_value(gan, state, params, d_key, batch, fakes, axis_name)
  )(state.d.params)
  d_grads = jax.tree.map(jnp.add, d_grads, penalty_grads)
  metrics = {'d_loss': d_loss, 'd_penalty': penalty, 'g_loss': g_loss}
  metrics |= mean_probabilities(gan, real, fake)
  return PlayerGradients(d_grads, g_grads, d_stats, g_stats, metrics)


def consensus_gradients(
  gan: Gan, key: Array, state: GanState, batch: Batch, axis_name: BatchAxis
) -> PlayerGradients:
  """Returns `player_gradients`, plus those of `gan.consensus` / 2 |v|^2 (Mescheder et al., 2017).

  v = (D's gradient, G's gradient) as one vector.
  """
  plain = player_gradients(gan, key, state, batch, axis_name)
  if isinstance(gan.consensus, float) and gan.consensus == 0:
    return plain

  def consensus_term(d_params: PyTree, g_params: PyTree) -> Array:
    d, g = state.d.replace(params=d_params), state.g.replace(params=g_params)
    moved = player_gradients(gan, key, state.replace(d=d, g=g), batch, axis_name)
    return gan.consensus / 2 * optax.tree.norm((moved.d_grads, moved.g_grads), squared=True)

  extra = jax.grad(consensus_term, (0, 1))(state.d.params, state.g.params)
  d_grads, g_grads = jax.tree.map(jnp.add, (plain.d_grads, plain.g_grads), pmean(extra, axis_name))
  return plain._replace(d_grads=d_grads, g_grads=g_grads)


def apply_player_gradients(gan: Gan, state: GanState, grads: PlayerGradients) -> GanState:
  """Applies the gradients of both players, computed at the same state."""
  state = apply_discriminator_gradients(gan, state, grads.d_grads, grads.d_stats, grads.metrics)
  return apply_generator_gradients(gan, state, grads.g_grads, grads.g_stats)


def simultaneous_step(
  gan: Gan, key: Array, state: GanState, get_batch: GetBatch, n_d: Int, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Updates D and G once each from one forward pass, as the code released with the 2014 paper does.

  Both losses have the same fakes and the same dropout mask; `n_d` is ignored.
  """
  del n_d
  grads = consensus_gradients(gan, key, state, get_batch(state.d.count), axis_name)
  return apply_player_gradients(gan, state, grads), {**grads.metrics, 'd_updates': jnp.ones(())}


def extragradient_step(
  gan: Gan, key: Array, state: GanState, get_batch: GetBatch, n_d: Int, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Updates both players by their gradients at the point one update ahead (Korpelevich, 1976).

  With Adam: algorithm 4 of Gidel et al. (2019), whose moments accumulate both gradients, as do batch
  statistics. The extrapolation and the update share minibatch and noise (Mishchenko et al., 2020).
  `n_d` is ignored.
  """
  del n_d
  batch = get_batch(state.d.count)
  first = consensus_gradients(gan, key, state, batch, axis_name)
  ahead = apply_player_gradients(gan, state, first)
  # Schedules, lazy penalties and controllers are the same at both points.
  d = ahead.d.replace(count=state.d.count)
  ahead = ahead.replace(step=state.step, controls=state.controls, d=d)
  grads = consensus_gradients(gan, key, ahead, batch, axis_name)
  state = state.replace(
    d=state.d.replace(opt_state=ahead.d.opt_state), g=state.g.replace(opt_state=ahead.g.opt_state)
  )
  return apply_player_gradients(gan, state, grads), {**grads.metrics, 'd_updates': jnp.ones(())}


def _optimizer_updates(tx: Optimizer, rate: Any, player: Player, grads: PyTree) -> PyTree:
  """Returns what the optimizer adds to the parameters for `grads`."""
  update = optax.with_extra_args_support(tx).update
  return update(grads, player.opt_state, player.params, learning_rate=rate)[0]


def rk4_step(
  gan: Gan, key: Array, state: GanState, get_batch: GetBatch, n_d: Int, axis_name: BatchAxis = None
) -> tuple[GanState, Metrics]:
  """Takes one fourth-order Runge-Kutta step along both players' gradients (Qin et al., 2020).

  The step length is the learning rate, so the optimizers must be plain gradient descent. Projections
  apply to the end point only; `n_d` is ignored.
  """
  del n_d
  batch = get_batch(state.d.count)
  gradients = lambda state: consensus_gradients(gan, key, state, batch, axis_name)

  def move(grads: PlayerGradients, fraction: float) -> GanState:
    d, g = state.d, state.g
    d_updates = _optimizer_updates(gan.d_tx, gan.d_rate(state.step), d, grads.d_grads)
    g_updates = _optimizer_updates(gan.g_tx, gan.g_rate(state.step), g, grads.g_grads)
    add = lambda x, u: x + fraction * u
    d_params, g_params = jax.tree.map(add, (d.params, g.params), (d_updates, g_updates))
    return state.replace(d=d.replace(params=d_params), g=g.replace(params=g_params))

  first = gradients(state)
  second = gradients(move(first, 0.5))
  third = gradients(move(second, 0.5))
  fourth = gradients(move(third, 1.0))
  d_grads, g_grads = jax.tree.map(
    lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6,
    *((each.d_grads, each.g_grads) for each in (first, second, third, fourth)),
  )
  grads = first._replace(d_grads=d_grads, g_grads=g_grads)
  return apply_player_gradients(gan, state, grads), {**grads.metrics, 'd_updates': jnp.ones(())}


UpdateRule = Callable[..., tuple[GanState, Metrics]]
UPDATE_RULES: dict[str, UpdateRule] = {
  'alternating': alternating_step,
  'simultaneous': simultaneous_step,
  'extragradient': extragradient_step,
  'optimistic': simultaneous_step,  # with optimizers wrapped in `optimizers.optimistic`
  'unrolled': alternating_step,  # with `gan.unroll` above 0
  'rk4': rk4_step,
}
RULES_WITH_K = frozenset({'alternating', 'unrolled'})


def gradient_evaluations(update: str, unroll: int, steps: float, d_updates: float) -> float:
  """Counts the gradients (of one player, on one minibatch) of `steps` steps with `d_updates` updates of D.

  `update` is a key of `UPDATE_RULES`; gradients of penalties and of the consensus term are not counted.
  """
  if update in RULES_WITH_K:
    return d_updates + steps * (1 + (2 * unroll if update == 'unrolled' else 0))
  return steps * 2 * {'extragradient': 2, 'rk4': 4}.get(update, 1)
