"""The Dirac-GAN as gan_jax plays it: every update rule as a compiled map of (psi, theta)."""

import functools
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.device_batches import Batch
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import optimizers, penalties, weight_constraints
from gan_jax.gan.gan import Gan
from gan_jax.gan.latents import Latent
from gan_jax.gan.losses import LOSSES, Loss
from gan_jax.gan.networks import dirac_gan
from gan_jax.gan.update_ratio import UpdateRatio
from gan_jax.gan.update_rules import UPDATE_RULES

START = (1.2, 0.7)  # psi, theta
# Programs this small are sooner compiled badly than well.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


class Case(NamedTuple):
  """What a compiled step takes as an argument: all of the game but its rule and its optimizers."""

  loss: str | Any = 'wasserstein'
  d_rate: Any = 0.15
  g_rate: Any = 0.1
  k: Any = Fraction(1)
  r1: Any = 0.0
  r2: Any = 0.0
  gp: Any = 0.0
  clip: Any = np.inf
  consensus: Any = 0.0


class Rule(NamedTuple):
  """What is compiled."""

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
  draw = lambda i: Batch(jnp.zeros((2, 1)))
  n_d = case.k.updates_at(state.step)
  return UPDATE_RULES[rule.update](build(rule, case), jax.random.key(0), state, draw, n_d)[0]


def place(state, point):
  """The state with psi and theta at `point` [2]."""
  psi, theta = (
    {name: jnp.asarray(x)[None]} for name, x in zip(('psi', 'theta'), point, strict=True)
  )
  return state.replace(d=state.d.replace(params=psi), g=state.g.replace(params=theta))


def where(state):
  """[psi, theta]."""
  return jnp.concatenate([state.d.params['psi'], state.g.params['theta']])


@functools.cache
def compiled(rule):
  """The state after 50 steps and where it was after each: [50, 2]."""

  def run(case, state):
    def one(state, _):
      state = step(rule, case, state)
      return state, where(state)

    return jax.lax.scan(one, state, length=50)

  return jit(run)


@functools.cache
def compiled_jacobian(rule):
  """Of one step in (psi, theta), and in the optimizer's memory where it has one."""

  def jacobian(case, state):
    def after(x):
      here = place(state, x[:2])
      if rule.update == 'optimistic':
        here = remember(here, x[2:])
      there = step(rule, case, here)
      return jnp.concatenate([where(there), memory(there)]) if len(x) == 4 else where(there)

    return jax.jacfwd(after)(jnp.zeros(4 if rule.update == 'optimistic' else 2))

  return jit(jacobian)


def remember(state, previous):
  psi, theta = previous
  d = state.d.opt_state._replace(previous={'psi': psi[None]})
  g = state.g.opt_state._replace(previous={'theta': theta[None]})
  return state.replace(d=state.d.replace(opt_state=d), g=state.g.replace(opt_state=g))


def memory(state):
  d, g = state.d.opt_state.previous, state.g.opt_state.previous
  return jnp.concatenate([d['psi'], g['theta']])


def as_arrays(case):
  """The case as a compiled step takes it."""
  loss, k = list(LOSSES).index(case.loss), UpdateRatio(case.k.numerator, case.k.denominator)
  return jax.tree.map(np.asarray, case._replace(loss=loss, k=k))


def first_state(rule, case, point):
  state = gan_lib.init(build(rule, case), jax.random.key(0), jnp.zeros((1, 1)))
  wide = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
  return place(jax.tree.map(wide, state), jnp.asarray(point, jnp.float64))


def walk(rule, case, n, point=START):
  """Where gan_jax is after each of n steps, in float64: [n, 2]."""
  with jax.enable_x64(True):
    case = as_arrays(case)
    state, points = first_state(rule, case, point), []
    for _ in range(n // 50):
      state, fifty = compiled(rule)(case, state)
      points.append(np.asarray(fifty))
  return np.concatenate(points)


def step_jacobian(rule, case):
  """Of one real step, at the equilibrium."""
  with jax.enable_x64(True):
    case = as_arrays(case)
    return np.asarray(compiled_jacobian(rule)(case, first_state(rule, case, (0.0, 0.0))))
