"""Runs gan_jax on the Dirac-GAN: every update rule as a compiled map of (psi, theta)."""

import functools
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.device_batches import Batch
from gan_jax.gan import gan as gan_lib, optimizers, penalties, weight_constraints
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.losses import LOSSES, Loss
from gan_jax.gan.networks import dirac_gan
from gan_jax.gan.update_ratio import UpdateRatio
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.tiny_gan import jit_unoptimized

START = (1.2, 0.7)  # psi, theta


class Case(NamedTuple):
  """Holds the arguments of a compiled step: loss, rates, k, penalties and constraint."""

  loss: str | Any = 'wasserstein'
  d_rate: Any = 0.15
  g_rate: Any = 0.1
  k: Any = Fraction(1)
  r1: Any = 0.0
  r2: Any = 0.0
  gp: Any = 0.0
  clip: Any = np.inf
  consensus: Any = 0.0


class RuleSpec(NamedTuple):
  """Holds the static choices of a compiled step: update rule and optimizer."""

  update: str
  unroll: int = 0
  adam: bool = False
  consensus: bool = False


def equal_rates(h, **options):
  return Case(d_rate=h, g_rate=h, **options)


def build(rule, case):
  choose = lambda player: (
    lambda real, fake: jax.lax.switch(
      case.loss, [getattr(loss, player) for loss in LOSSES.values()], real, fake
    )
  )
  tx = optimizers.sgd(0.0, 0.0, 1)
  if rule.adam:
    adam = optimizers.smooth_adam if rule.unroll else optimizers.adam
    tx = adam(0.5, 0.9, 1)
  tx = optimizers.optimistic(tx) if rule.update == 'optimistic' else tx
  generator, discriminator = dirac_gan.Generator(), dirac_gan.Discriminator()
  return Gan(
    generator,
    discriminator,
    g_tx=tx,
    d_tx=tx,
    loss=Loss(choose('discriminator'), choose('generator')),
    latent=Latent('normal', 1),
    g_rate=lambda step: case.g_rate,
    d_rate=lambda step: case.d_rate,
    penalties=(
      penalties.Penalty(penalties.r1, case.r1),
      penalties.Penalty(penalties.r2, case.r2),
      penalties.Penalty(penalties.gradient_penalty, case.gp),
    ),
    consensus=case.consensus if rule.consensus else 0.0,
    unroll=rule.unroll,
    d_project=weight_constraints.clip(case.clip),
  )


def step(rule, case, state):
  get_batch = lambda i: Batch(jnp.zeros((2, 1)))
  n_d = case.k.updates_at(state.step)
  return UPDATE_RULES[rule.update](build(rule, case), jax.random.key(0), state, get_batch, n_d)[0]


def replace_point(state, point):
  """Sets (psi, theta) to `point` [2]."""
  psi, theta = (
    {name: jnp.asarray(x)[None]} for name, x in zip(('psi', 'theta'), point, strict=True)
  )
  return state.replace(d=state.d.replace(params=psi), g=state.g.replace(params=theta))


def point_of(state):
  """Returns [psi, theta]."""
  return jnp.concatenate([state.d.params['psi'], state.g.params['theta']])


@functools.cache
def compiled_steps(rule):
  """Returns a compiled function from (case, state) to the state after 50 steps and all points [50, 2]."""

  def run(case, state):
    def one(state, _):
      state = step(rule, case, state)
      return state, point_of(state)

    return jax.lax.scan(one, state, length=50)

  return jit_unoptimized(run)


@functools.cache
def compiled_jacobian(rule):
  """Returns the compiled Jacobian of one step by (psi, theta), and by the previous update if optimistic."""

  def jacobian(case, state):
    def after(x):
      before = replace_point(state, x[:2])
      if rule.update == 'optimistic':
        before = replace_previous_update(before, x[2:])
      new = step(rule, case, before)
      point = point_of(new)
      return jnp.concatenate([point, previous_update(new)]) if len(x) == 4 else point

    return jax.jacfwd(after)(jnp.zeros(4 if rule.update == 'optimistic' else 2))

  return jit_unoptimized(jacobian)


def replace_previous_update(state, previous):
  psi, theta = previous
  d = state.d.opt_state._replace(previous={'psi': psi[None]})
  g = state.g.opt_state._replace(previous={'theta': theta[None]})
  return state.replace(d=state.d.replace(opt_state=d), g=state.g.replace(opt_state=g))


def previous_update(state):
  d, g = state.d.opt_state.previous, state.g.opt_state.previous
  return jnp.concatenate([d['psi'], g['theta']])


def as_arrays(case):
  """Converts the case to the arrays that a compiled step takes."""
  loss, k = list(LOSSES).index(case.loss), UpdateRatio(case.k.numerator, case.k.denominator)
  return jax.tree.map(np.asarray, case._replace(loss=loss, k=k))


def initial_state(rule, case, point):
  state = gan_lib.init(build(rule, case), jax.random.key(0), jnp.zeros((1, 1)))
  wide = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
  return replace_point(jax.tree.map(wide, state), jnp.asarray(point, jnp.float64))


def trajectory(rule, case, n, point=START):
  """Returns the points after each of n steps of gan_jax, in float64: [n, 2]."""
  with jax.enable_x64(True):
    case = as_arrays(case)
    state, points = initial_state(rule, case, point), []
    for _ in range(n // 50):
      state, fifty = compiled_steps(rule)(case, state)
      points.append(np.asarray(fifty))
  return np.concatenate(points)


def step_jacobian(rule, case):
  """Returns the Jacobian of one step of gan_jax at the equilibrium."""
  with jax.enable_x64(True):
    case = as_arrays(case)
    return np.asarray(compiled_jacobian(rule)(case, initial_state(rule, case, (0.0, 0.0))))
