"""Who moves when: the order of the updates within one step, each rule one pure function.

Every rule is called as rule(gan, key, state, draw, n_d, axis_name=...): `draw` gives the i-th minibatch
of the run, counted in updates of D, and `n_d` is how many of them are due. Each returns the new
state and its metrics; those named d_* are sums over the updates of D, whose number is `d_updates`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from gan_jax.data.shuffle import Batch
from gan_jax.distributed.randomness import Axis
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.gan import Gan, GanState, Metrics
from gan_jax.gan.gradient_accumulation import mean_over_parts, pmean
from gan_jax.gan.player import PyTree, direction

Draw = Callable[[jax.Array], Batch]


def alternating_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  draw: Draw,
  n_d: int | jax.Array,
  *,
  axis_name: Axis = None,
) -> tuple[GanState, Metrics]:
  """Algorithm 1 of Goodfellow et al. (2014): n_d discriminator updates, then one of the generator.

  A traced `n_d`, 0 included, changes from step to step without a new compilation, and update i draws
  the same noise whatever n_d is.
  """
  d_key, g_key = jax.random.split(key)
  first = state.d.count  # whose minibatch G meets as well

  def update(i: int | jax.Array, state: GanState) -> tuple[GanState, Metrics]:
    i_key = jax.random.fold_in(d_key, i)
    batch = draw(state.d.count)
    return gan_lib.update_discriminator(gan, i_key, state, batch, axis_name=axis_name)

  def another(i: jax.Array, carry: tuple[GanState, Metrics]) -> tuple[GanState, Metrics]:
    state, metrics = update(i, carry[0])
    return state, jax.tree.map(jnp.add, carry[1], metrics)

  if isinstance(n_d, int) and n_d == 1:
    state, d_metrics = update(0, state)
  else:
    shapes = jax.eval_shape(update, 0, state)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state, d_metrics = lax.fori_loop(0, n_d, another, (state, zeros))
  state, g_metrics = gan_lib.update_generator(gan, g_key, state, draw(first), axis_name=axis_name)
  return state, {**d_metrics, **g_metrics, 'd_updates': jnp.asarray(n_d, jnp.float32)}


class Field(NamedTuple):
  """The gradients of both players at one point, from one forward pass."""

  d_grads: PyTree
  g_grads: PyTree
  d_stats: PyTree
  g_stats: PyTree
  metrics: Metrics


def field(gan: Gan, key: jax.Array, state: GanState, batch: Batch, axis_name: Axis) -> Field:
  """What each player would descend at `state`: same minibatch, same noise, same dropout mask.

  With `gan.consensus`, both also descend weight times 1/2 |v|^2, v = (D's gradient, G's gradient):
  Mescheder et al. (2017).
  """
  part = functools.partial(_field_of_part, gan, key, state)
  return pmean(mean_over_parts(part, batch, gan.accumulate, axis_name), axis_name)


def _field_of_part(
  gan: Gan, key: jax.Array, state: GanState, batch: Batch, axis_name: Axis
) -> Field:
  z_key, d_key = jax.random.split(key)
  fakes, g_pullback, g_stats = jax.vjp(
    lambda params: gan_lib.generate(gan, params, state.g.stats, z_key, batch, axis_name),
    state.g.params,
    has_aux=True,
  )
  (real, fake), d_pullback, d_stats = jax.vjp(
    lambda params, fakes: gan_lib.discriminate(
      gan, state, params, state.d.stats, d_key, batch, fakes, axis_name
    ),
    state.d.params,
    fakes,
    has_aux=True,
  )
  both = (0, 1)
  d_loss, d_cotangents = jax.value_and_grad(gan.loss.discriminator, both)(real, fake)
  g_loss, g_cotangents = jax.value_and_grad(gan.loss.generator, both)(real, fake)
  d_grads, _ = d_pullback(d_cotangents)
  (g_grads,) = g_pullback(d_pullback(g_cotangents)[1])
  penalty, penalty_grads = jax.value_and_grad(
    lambda params: gan_lib.penalize(gan, state, params, d_key, batch, fakes, axis_name)
  )(state.d.params)
  d_grads = jax.tree.map(jnp.add, d_grads, penalty_grads)
  beliefs = gan_lib.beliefs(gan, real, fake)
  metrics = {'d_loss': d_loss, 'd_penalty': penalty, 'g_loss': g_loss, **beliefs}
  return Field(d_grads, g_grads, d_stats, g_stats, metrics)


def consensus_field(
  gan: Gan, key: jax.Array, state: GanState, batch: Batch, axis_name: Axis
) -> Field:
  """The field of both players plus the gradient of the consensus term, where there is one."""
  here = field(gan, key, state, batch, axis_name)
  if isinstance(gan.consensus, float) and gan.consensus == 0:
    return here

  def disagreement(d_params: PyTree, g_params: PyTree) -> jax.Array:
    d, g = state.d.replace(params=d_params), state.g.replace(params=g_params)
    there = field(gan, key, state.replace(d=d, g=g), batch, axis_name)
    return gan.consensus / 2 * optax.tree.norm((there.d_grads, there.g_grads), squared=True)

  pulls = jax.grad(disagreement, (0, 1))(state.d.params, state.g.params)
  d_grads, g_grads = jax.tree.map(jnp.add, (here.d_grads, here.g_grads), pmean(pulls, axis_name))
  return here._replace(d_grads=d_grads, g_grads=g_grads)


def move(gan: Gan, state: GanState, grads: Field) -> GanState:
  """Both players one update further, neither having seen the other's."""
  state = gan_lib.advance_discriminator(gan, state, grads.d_grads, grads.d_stats, grads.metrics)
  return gan_lib.advance_generator(gan, state, grads.g_grads, grads.g_stats)


def simultaneous_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  draw: Draw,
  n_d: int | jax.Array = 1,
  *,
  axis_name: Axis = None,
) -> tuple[GanState, Metrics]:
  """One update of both players from one forward pass, as in the code released with the 2014 paper.

  Both objectives see the same fakes through the same dropout mask, and neither sees the other's
  update. There is no k here.
  """
  del n_d
  here = consensus_field(gan, key, state, draw(state.d.count), axis_name)
  return move(gan, state, here), {**here.metrics, 'd_updates': jnp.ones(())}


def extragradient_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  draw: Draw,
  n_d: int | jax.Array = 1,
  *,
  axis_name: Axis = None,
) -> tuple[GanState, Metrics]:
  """Both players look one update ahead, and take the gradient from there (Korpelevich, 1976).

  With Adam it is algorithm 4 of Gidel et al. (2019): the moments take in both gradients. The look ahead
  and the update use the same minibatch and noise (Mishchenko et al., 2020). Batch
  statistics take in both.
  """
  del n_d
  batch = draw(state.d.count)
  ahead = move(gan, state, consensus_field(gan, key, state, batch, axis_name))
  # Time stands still: schedules, lazy penalties and controllers are the same at both points.
  d = ahead.d.replace(count=state.d.count)
  ahead = ahead.replace(step=state.step, controls=state.controls, d=d)
  there = consensus_field(gan, key, ahead, batch, axis_name)
  state = state.replace(
    d=state.d.replace(opt_state=ahead.d.opt_state), g=state.g.replace(opt_state=ahead.g.opt_state)
  )
  return move(gan, state, there), {**there.metrics, 'd_updates': jnp.ones(())}


def rk4_step(
  gan: Gan,
  key: jax.Array,
  state: GanState,
  draw: Draw,
  n_d: int | jax.Array = 1,
  *,
  axis_name: Axis = None,
) -> tuple[GanState, Metrics]:
  """One step of the fourth-order Runge-Kutta method along both players' gradients (Qin et al., 2020).

  The learning rate is the length of the step, so the optimizers have to be plain gradient descent:
  anything with a memory makes another equation of it. Projections act on arrival, not in between.
  """
  del n_d
  batch = draw(state.d.count)

  def slope(at: GanState) -> Field:
    return consensus_field(gan, key, at, batch, axis_name)

  def along(there: Field, part: float) -> GanState:
    t = state.step
    d, _ = direction(gan.d_tx, gan.d_rate(t), state.d, there.d_grads)
    g, _ = direction(gan.g_tx, gan.g_rate(t), state.g, there.g_grads)
    d_params, g_params = jax.tree.map(
      lambda x, u: x + part * u, (state.d.params, state.g.params), (d, g)
    )
    return state.replace(d=state.d.replace(params=d_params), g=state.g.replace(params=g_params))

  first = slope(state)
  second = slope(along(first, 0.5))
  third = slope(along(second, 0.5))
  fourth = slope(along(third, 1.0))
  d_grads, g_grads = jax.tree.map(
    lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6,
    *((each.d_grads, each.g_grads) for each in (first, second, third, fourth)),
  )
  state = move(gan, state, first._replace(d_grads=d_grads, g_grads=g_grads))
  return state, {**first.metrics, 'd_updates': jnp.ones(())}


StepFn = Callable[..., tuple[GanState, Metrics]]
UPDATES: dict[str, StepFn] = {
  'alternating': alternating_step,
  'simultaneous': simultaneous_step,
  'extragradient': extragradient_step,
  'optimistic': simultaneous_step,  # with optimizers wrapped in `optimizers.optimistic`
  'unrolled': alternating_step,  # with `gan.unroll` above 0
  'rk4': rk4_step,
}
HAVE_K = frozenset({'alternating', 'unrolled'})


def gradient_evaluations(update: str, unroll: int, steps: float, d_updates: float) -> float:
  """Gradients of one player on one minibatch that so many steps and updates of D have cost.

  Penalties and the consensus term, which differentiate gradients, are not counted.
  """
  if update in HAVE_K:
    return d_updates + steps * (1 + (2 * unroll if update == 'unrolled' else 0))
  return steps * 2 * {'extragradient': 2, 'rk4': 4}.get(update, 1)
