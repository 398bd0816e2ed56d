"""Every update rule on the Dirac-GAN against maps derived on paper and iterated in NumPy.

The data are the point 0, G(z) = theta, D(x) = psi x (Mescheder et al., 2018): the real logit is 0
and the fake one b = psi theta. With p and q the slopes of D's and G's loss in b, and the penalties'
r(psi) = (r1 + r2) psi + 2 gp (|psi| - 1) sign(psi), the players descend the field

  v(psi, theta) = (p(b) theta + r(psi), q(b) psi).

Two different rates, and SGD in float64, so that no factor hides.
"""

import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gan_jax import gan as gan_lib
from gan_jax import optimizers, penalties, projections
from gan_jax.balance import Ratio
from gan_jax.batches import Batch
from gan_jax.gan import Gan
from gan_jax.latents import Latent
from gan_jax.losses import LOSSES, Loss
from gan_jax.networks import dirac
from gan_jax.updates import UPDATES

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


# What gan_jax does.


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
  generator, discriminator = dirac.Generator(), dirac.Discriminator()
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
    d_project=projections.clip(case.clip),
  )


def step(rule, case, state):
  draw = lambda i: Batch(jnp.zeros((2, 1)))
  n_d = case.k.due(state.step)
  return UPDATES[rule.update](build(rule, case), jax.random.key(0), state, draw, n_d)[0]


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
  loss, k = list(LOSSES).index(case.loss), Ratio(case.k.numerator, case.k.denominator)
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


# What the paper says.


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def bump(x):
  """The slope of the sigmoid."""
  return sigmoid(x) * sigmoid(-x)


# (p, p', q, q'): slopes of D's loss and of G's in the fake logit b, and their slopes.
SLOPES = {
  'non_saturating': (sigmoid, bump, lambda b: -sigmoid(-b), bump),
  'saturating': (sigmoid, bump, lambda b: -sigmoid(b), lambda b: -bump(b)),
  'least_squares': (lambda b: b, lambda b: 1.0, lambda b: b - 1, lambda b: 1.0),
  'hinge': (lambda b: float(b > -1), lambda b: 0.0, lambda b: -1.0, lambda b: 0.0),
  'wasserstein': (lambda b: 1.0, lambda b: 0.0, lambda b: -1.0, lambda b: 0.0),
  # The real logit is 0 whatever psi is, so a pair's difference is the fake logit.
  'relativistic': (sigmoid, bump, lambda b: -sigmoid(-b), bump),
}


def d_slope(case, psi, theta):
  """What D descends, v_1."""
  p, _, _, _ = SLOPES[case.loss]
  slope = p(psi * theta) * theta + (case.r1 + case.r2) * psi
  return slope + 2 * case.gp * (np.abs(psi) - 1) * np.sign(psi) if case.gp else slope


def g_slope(case, psi, theta):
  """What G descends, v_2."""
  _, _, q, _ = SLOPES[case.loss]
  return q(psi * theta) * psi


def d_curvature(case, psi, theta):
  """d v_1 / d psi."""
  _, dp, _, _ = SLOPES[case.loss]
  return dp(psi * theta) * theta**2 + case.r1 + case.r2 + 2 * case.gp


def field(case, w):
  """v, and J^T v for the consensus term: the gradient of 1/2 |v|^2, J the Jacobian of v."""
  v = np.array([d_slope(case, *w), g_slope(case, *w)])
  if not case.consensus:
    return v
  (psi, theta), (p, dp, q, dq) = w, SLOPES[case.loss]
  b = psi * theta
  j = np.array(
    [
      [d_curvature(case, psi, theta), dp(b) * b + p(b)],
      [dq(b) * b + q(b), dq(b) * psi**2],
    ]
  )
  return v + case.consensus * j.T @ v


def bounded(case, w):
  return np.array([np.clip(w[0], -case.clip, case.clip), w[1]])


def alternating(case, w):
  """psi' = psi - h_D v_1(psi, theta), k times; then theta' = theta - h_G v_2(psi', theta)."""
  (psi, theta), t = w, 0
  while True:
    for _ in range(math.ceil((t + 1) * case.k) - math.ceil(t * case.k)):
      psi = np.clip(psi - case.d_rate * d_slope(case, psi, theta), -case.clip, case.clip)
    theta = theta - case.g_rate * g_slope(case, psi, theta)
    t += 1
    yield psi, theta


def unrolled(n, case, w):
  """As above, but G descends L_G(psi_n(theta) theta): from psi_0 = psi', n more updates of D.

  With s_j = d psi_j / d theta: s_0 = 0, s_{j+1} = s_j - h_D (p'(b_j) (psi_j + theta s_j) theta +
  p(b_j) + r'(psi_j) s_j), or 0 where the clip holds; G descends q(psi_n theta) (psi_n + theta s_n).
  """
  (psi, theta), (p, dp, q, _) = w, SLOPES[case.loss]
  while True:
    psi = np.clip(psi - case.d_rate * d_slope(case, psi, theta), -case.clip, case.clip)
    ahead, s = psi, 0.0
    for _ in range(n):
      b, r_slope = ahead * theta, case.r1 + case.r2 + 2 * case.gp
      s = s - case.d_rate * (dp(b) * (ahead + theta * s) * theta + p(b) + r_slope * s)
      ahead = ahead - case.d_rate * d_slope(case, ahead, theta)
      if abs(ahead) > case.clip:
        ahead, s = np.clip(ahead, -case.clip, case.clip), 0.0
    theta = theta - case.g_rate * q(ahead * theta) * (ahead + theta * s)
    yield psi, theta


def simultaneous(case, w):
  """w' = w - h v(w)."""
  h = np.array([case.d_rate, case.g_rate])
  while True:
    w = bounded(case, w - h * field(case, w))
    yield w


def extragradient(case, w):
  """w' = w - h v(w - h v(w)); where weights are clipped, they are so ahead as well."""
  h = np.array([case.d_rate, case.g_rate])
  while True:
    ahead = bounded(case, w - h * field(case, w))
    w = bounded(case, w - h * field(case, ahead))
    yield w


def optimistic(case, w):
  """w' = w + 2 u - u_before, u = -h v(w), the first u_before 0."""
  h, before = np.array([case.d_rate, case.g_rate]), 0.0
  while True:
    u = -h * field(case, w)
    w, before = bounded(case, w + 2 * u - before), u
    yield w


def rk4(case, w):
  """The tableau of Kutta (1901), in time units of the two rates; only the arrival is clipped."""
  h = np.array([case.d_rate, case.g_rate])
  slope = lambda w: -h * field(case, w)
  while True:
    a = slope(w)
    b = slope(w + a / 2)
    c = slope(w + b / 2)
    d = slope(w + c)
    w = bounded(case, w + (a + 2 * b + 2 * c + d) / 6)
    yield w


class Adam:
  """Kingma & Ba (2015) in NumPy: the update for each gradient."""

  def __init__(self, rate, b1=0.5, b2=0.9, eps_root=0.0):
    self.rate, self.b1, self.b2, self.eps_root = rate, b1, b2, eps_root
    self.m = self.v = 0.0
    self.t = 0

  def __call__(self, g):
    self.t += 1
    self.m = self.b1 * self.m + (1 - self.b1) * g
    self.v = self.b2 * self.v + (1 - self.b2) * g**2
    m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
    return -self.rate * m / (np.sqrt(v + self.eps_root) + 1e-8)

  def copy(self):
    other = Adam(self.rate, self.b1, self.b2, self.eps_root)
    other.m, other.v, other.t = self.m, self.v, self.t
    return other


def alternating_adam(case, w):
  (psi, theta), d, g = w, Adam(case.d_rate), Adam(case.g_rate)
  while True:
    psi = psi + d(d_slope(case, psi, theta))
    theta = theta + g(g_slope(case, psi, theta))
    yield psi, theta


def optimistic_adam(case, w):
  """Algorithm 1 of Daskalakis et al. (2018)."""
  adam, before = Adam(np.array([case.d_rate, case.g_rate])), 0.0
  while True:
    u = adam(field(case, w))
    w, before = w + 2 * u - before, u
    yield w


def extragradient_adam(case, w):
  """Algorithm 4 of Gidel et al. (2019), on one minibatch: both gradients enter the moments."""
  adam = Adam(np.array([case.d_rate, case.g_rate]))
  while True:
    ahead = w + adam(field(case, w))
    w = w + adam(field(case, ahead))
    yield w


def unrolled_adam(n, case, w):
  """G's slope through D's Adam by a complex step, f'(x) = Im f(x + i e) / e: nothing cancels."""
  (psi, theta), (p, _, q, _) = w, SLOPES[case.loss]
  d, g = Adam(case.d_rate, eps_root=1e-16), Adam(case.g_rate, eps_root=1e-16)
  while True:
    psi = psi + d(d_slope(case, psi, theta))
    beside, ahead, adam = theta + 1e-30j, psi + 0j, d.copy()
    for _ in range(n):
      ahead = ahead + adam(p(ahead * beside) * beside)
    b = ahead * beside
    theta = theta + g(q(b.real) * b.imag / 1e-30)
    yield psi, theta


def iterate(law, case, n, point=START):
  """The first n points of a law: [n, 2]."""
  points = law(case, np.array(point))
  return np.array([next(points) for _ in range(n)])


RULES = {
  'alternating': (Rule('alternating'), alternating),
  'unrolled 1': (Rule('unrolled', unroll=1), functools.partial(unrolled, 1)),
  'unrolled 5': (Rule('unrolled', unroll=5), functools.partial(unrolled, 5)),
  'simultaneous': (Rule('simultaneous'), simultaneous),
  'extragradient': (Rule('extragradient'), extragradient),
  'optimistic': (Rule('optimistic'), optimistic),
  'rk4': (Rule('rk4'), rk4),
}
ADAM = {
  'alternating': (Rule('alternating', adam=True), alternating_adam),
  'extragradient': (Rule('extragradient', adam=True), extragradient_adam),
  'optimistic': (Rule('optimistic', adam=True), optimistic_adam),
  'unrolled 3': (Rule('unrolled', unroll=3, adam=True), functools.partial(unrolled_adam, 3)),
}
CONSENSUS = Rule('simultaneous', consensus=True)
GAMES = {loss: {'loss': loss} for loss in LOSSES} | {
  'wasserstein, r1': {'r1': 0.5},
  'wasserstein, r2': {'r2': 0.8},
  'wasserstein, gradient penalty': {'gp': 1.5},
  'wasserstein, clipped': {'clip': 0.6},
  'non_saturating, r1 and r2': {'loss': 'non_saturating', 'r1': 0.3, 'r2': 0.5},
  'hinge, gradient penalty, clipped': {'loss': 'hinge', 'gp': 0.4, 'clip': 1.1},
}


@pytest.mark.parametrize('game', GAMES)
@pytest.mark.parametrize('name', RULES)
def test_each_rule_is_its_map_on_paper(name, game):
  rule, law = RULES[name]
  case = Case(**GAMES[game])
  points = walk(rule, case, 50)
  np.testing.assert_allclose(points, iterate(law, case, 50), rtol=1e-9, atol=1e-12)
  assert np.ptp(points, axis=0).min() > 0.05  # both players moved


@pytest.mark.parametrize('game', ['non_saturating', 'wasserstein, r1', 'wasserstein, clipped'])
@pytest.mark.parametrize('k', ['2', '5', '1/2', '3/2'])
def test_alternating_moves_d_k_times_for_each_move_of_g(k, game):
  """A half is D, G, then G alone; three halves are twice D, G, then once D, G."""
  case = Case(**GAMES[game], k=Fraction(k))
  points = walk(RULES['alternating'][0], case, 50)
  np.testing.assert_allclose(points, iterate(alternating, case, 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('game', GAMES)
def test_consensus_adds_the_gradient_of_half_the_squared_field(game):
  """w' = w - h (v + c J^T v), J the Jacobian of v with the penalties in it."""
  case = Case(**GAMES[game], consensus=0.7)
  points = walk(CONSENSUS, case, 50)
  np.testing.assert_allclose(points, iterate(simultaneous, case, 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('loss', ['non_saturating', 'least_squares', 'wasserstein'])
@pytest.mark.parametrize('name', ADAM)
def test_each_rule_with_adam_is_its_map_on_paper(name, loss):
  rule, law = ADAM[name]
  case = Case(loss, d_rate=0.03, g_rate=0.02)
  points = walk(rule, case, 50)
  np.testing.assert_allclose(points, iterate(law, case, 50), rtol=1e-8, atol=1e-10)


# At the equilibrium (0, 0) the field is linear: v = A w, A = [[g, a], [-a, 0]], g the weight of R1
# and a the slope p(0) = -q(0): 1 for the Wasserstein and the hinge loss, 1/2 for a sigmoid.
# The eigenvalues of A are mu = (g +- sqrt(g^2 - 4 a^2)) / 2: +- i a without a penalty (Mescheder et
# al., 2018, lemma 2.3 and theorem 4.1).


def eigenvalues(name, h, a=1.0, g=0.0, k=1, n=1, c=0.0):
  """Of one step of equal rates h, derived by hand."""
  root = np.sqrt(complex(g**2 - 4 * a**2))
  mu = np.array([g + root, g - root]) / 2
  if name == 'simultaneous':
    return 1 - h * mu
  if name == 'extragradient':
    return 1 - h * mu + (h * mu) ** 2
  if name == 'rk4':
    return sum((-h * mu) ** j / math.factorial(j) for j in range(5))
  if name == 'optimistic':  # l^2 = (1 - 2 h mu) l + h mu, from w'' = w' - 2 h A w' + h A w
    return np.concatenate([np.roots([1, 2 * h * each - 1, -h * each]) for each in mu])
  if name == 'consensus':  # without a penalty A^T A = a^2
    assert g == 0
    return 1 - h * (mu + c * a**2)
  if name == 'alternating':
    # psi' = (1 - h g)^k psi - h a s theta, s = sum_{j < k} (1 - h g)^j; theta' = theta + h a psi'.
    shrink, s = (1 - h * g) ** k, sum((1 - h * g) ** j for j in range(k))
    return np.roots([1, -(1 + shrink - s * (h * a) ** 2), shrink])
  # psi' = psi - h a theta; theta' = theta + h a (psi' - 2 n h a theta): psi_n is psi' - n h a theta
  # and its derivative adds as much again.
  assert name == 'unrolled'
  assert g == 0
  return np.roots([1, -(2 - (2 * n + 1) * (h * a) ** 2), 1 - 2 * n * (h * a) ** 2])


def rule_named(name, n=1):
  return CONSENSUS if name == 'consensus' else Rule(name, unroll=n if name == 'unrolled' else 0)


@pytest.mark.parametrize(('loss', 'a'), [('wasserstein', 1.0), ('non_saturating', 0.5)])
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('simultaneous', {}),
    ('simultaneous', {'g': 0.5}),
    ('simultaneous', {'g': 3.0}),
    ('extragradient', {}),
    ('extragradient', {'g': 0.5}),
    ('optimistic', {}),
    ('optimistic', {'g': 0.5}),
    ('rk4', {}),
    ('rk4', {'g': 0.5}),
    ('consensus', {'c': 0.8}),
    ('alternating', {}),
    ('alternating', {'k': 2}),
    ('alternating', {'k': 5}),
    ('alternating', {'g': 0.5}),
    ('alternating', {'g': 0.5, 'k': 5}),
    ('unrolled', {'n': 1}),
    ('unrolled', {'n': 5}),
  ],
)
def test_eigenvalues_at_the_equilibrium(name, options, loss, a):
  """The real step's Jacobian, compared by its characteristic polynomial."""
  h = 0.2
  rest = {'k': Fraction(options.get('k', 1)), 'r1': options.get('g', 0.0)}
  case = equal_rates(h, loss=loss, consensus=options.get('c', 0.0), **rest)
  jacobian = step_jacobian(rule_named(name, options.get('n', 1)), case)
  expected = eigenvalues(name, h, a, **options)
  np.testing.assert_allclose(np.poly(jacobian), np.poly(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('loss', LOSSES)
def test_which_losses_share_their_local_dynamics(loss):
  """All but least squares rotate around (0, 0).

  Its D has no bias and cannot say 1/2: to first order G slides, and all of psi = 0 is at rest.
  """
  h = 0.2
  matrix = step_jacobian(Rule('simultaneous'), equal_rates(h, loss=loss))
  if loss == 'least_squares':
    expected = [[1, 0], [h, 1]]
  else:
    a = {'wasserstein': 1.0, 'hinge': 1.0}.get(loss, 0.5)
    expected = [[1, -h * a], [h * a, 1]]
  np.testing.assert_allclose(matrix, expected, atol=1e-12)


def spectral_radius(name, h, **options):
  rest = {'k': Fraction(options.get('k', 1)), 'r1': options.get('g', 0.0)}
  case = equal_rates(
    h, loss=options.get('loss', 'wasserstein'), consensus=options.get('c', 0.0), **rest
  )
  jacobian = step_jacobian(rule_named(name, options.get('n', 1)), case)
  return np.abs(np.linalg.eigvals(jacobian)).max()


@pytest.mark.parametrize('h', [0.05, 0.3, 0.9])
def test_spectral_radii_have_closed_forms(h):
  radius = lambda name, **options: pytest.approx(spectral_radius(name, h, **options), rel=1e-9)
  assert radius('simultaneous') == np.sqrt(1 + h**2)
  assert radius('simultaneous', loss='non_saturating') == np.sqrt(1 + h**2 / 4)
  assert radius('simultaneous', g=1.0) == np.sqrt(1 - h + h**2)
  assert radius('alternating') == 1
  assert radius('extragradient') == np.sqrt((1 - h**2) ** 2 + h**2)
  assert radius('rk4') == abs(1 + 1j * h - h**2 / 2 - 1j * h**3 / 6 + h**4 / 24)
  assert radius('consensus', c=1.0) == np.sqrt((1 - h) ** 2 + h**2)
  if h < 0.5:
    assert radius('optimistic') == np.sqrt((1 + np.sqrt(1 - 4 * h**2)) / 2)
    assert radius('unrolled') == np.sqrt(1 - 2 * h**2)
    assert radius('alternating', g=1.0) == np.sqrt(1 - h)


LIMITS = [
  ('alternating', {}, 2.0),
  ('alternating', {'k': 5}, 2 / np.sqrt(5)),
  ('alternating', {'g': 1.0}, np.sqrt(5) - 1),  # trace > -1 - det: h^2 + 2 g h < 4
  ('simultaneous', {'g': 1.0}, 1.0),
  ('extragradient', {}, 1.0),
  ('optimistic', {}, 1 / np.sqrt(3)),
  ('rk4', {}, 2 * np.sqrt(2)),
  ('consensus', {'c': 0.5}, 0.8),  # 2 c / (1 + c^2)
  ('unrolled', {'n': 1}, 2 / np.sqrt(5)),  # trace > -1 - det: (4 n + 1) h^2 < 4
  ('unrolled', {'n': 5}, 2 / np.sqrt(21)),
]


@pytest.mark.parametrize(('name', 'options', 'limit'), LIMITS)
def test_the_wasserstein_game_is_stable_up_to_a_known_rate(name, options, limit):
  assert spectral_radius(name, limit * 0.99, **options) < 1 + 1e-9
  assert spectral_radius(name, limit, **options) == pytest.approx(1, abs=1e-6)
  assert spectral_radius(name, limit * 1.01, **options) > 1 + 1e-4


# Long runs.


def distances(points):
  """To the equilibrium: [n, 2] to [n]."""
  return np.linalg.norm(points, axis=1)


@pytest.mark.parametrize('name', ['simultaneous', 'extragradient', 'rk4', 'consensus'])
def test_in_the_wasserstein_game_the_distance_changes_by_the_same_factor_each_step(name):
  """These maps are a rotation times |lambda|, wherever they start."""
  h, c = 0.1, 0.3 if name == 'consensus' else 0.0
  points = walk(rule_named(name), equal_rates(h, consensus=c), 1000)
  factor = np.abs(eigenvalues(name, h, c=c)).max()
  expected = np.log(np.linalg.norm(START)) + np.arange(1, 1001) * np.log(factor)
  np.testing.assert_allclose(np.log(distances(points)), expected, atol=1e-6)


def test_the_alternating_wasserstein_game_conserves_an_ellipse():
  """psi^2 / h_D + theta^2 / h_G - psi theta: the step is a symplectic one, and never arrives."""
  energy = lambda psi, theta: psi**2 / 0.15 + theta**2 / 0.1 - psi * theta
  points = walk(Rule('alternating'), Case(d_rate=0.15, g_rate=0.1), 2000)
  np.testing.assert_allclose(energy(*points.T), energy(*START), rtol=1e-9)


@pytest.mark.parametrize('loss', ['non_saturating', 'saturating'])
def test_the_original_game_spirals_outwards_where_both_move_at_once(loss):
  """By sqrt(1 + h^2 / 4) a step near the equilibrium (Mescheder et al., 2018, lemma 2.3)."""
  near = (1e-4, 1e-4)
  points = walk(Rule('simultaneous'), equal_rates(0.2, loss=loss), 1000, near)
  growth = distances(points)[-1] / np.hypot(*near)
  assert growth == pytest.approx((1 + 0.2**2 / 4) ** 500, rel=0.01)


def test_in_turns_the_saturating_game_circles_and_the_other_creeps_inwards():
  """With E = (psi^2 + theta^2) / 2, dE/dt = b (sigmoid(-b) - sigmoid(b)), or 0 if saturating.

  Over an orbit the mean of b^2 is E^2 / 2, so 1 / E gains t / 4: slower than any geometric rate. In
  turns the ellipse psi^2 + theta^2 - h / 2 psi theta takes the circle's place.
  """
  energy = lambda psi, theta: (psi**2 + theta**2 - 0.1 * psi * theta) / 2
  start = energy(0.1, 0.1)
  after = lambda loss: energy(
    *walk(Rule('alternating'), equal_rates(0.2, loss=loss), 1000, (0.1, 0.1))[-1]
  )
  assert after('saturating') == pytest.approx(start, rel=1e-3)
  assert 1 / after('non_saturating') - 1 / start == pytest.approx(1000 * 0.2 / 4, rel=0.03)


@pytest.mark.parametrize('loss', ['non_saturating', 'wasserstein', 'hinge', 'relativistic'])
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('simultaneous', {'r1': 0.5}),
    ('simultaneous', {'r2': 0.5}),
    ('alternating', {'r1': 0.5}),
    ('alternating', {'r1': 0.5, 'k': Fraction(1, 2)}),
    ('extragradient', {}),
    ('optimistic', {}),
    ('consensus', {'consensus': 1.0}),
    ('unrolled', {}),
  ],
)
def test_cures_converge(name, options, loss):
  rule = rule_named(name, 5)
  points = walk(rule, equal_rates(0.2, loss=loss, **options), 1500, (0.5, 0.5))
  assert distances(points)[-1] < 1e-2 * distances(points)[0]


def test_rk4_follows_the_orbit_that_euler_leaves():
  """It damps by h^6 / 144 a step only, Euler grows by h^2 / 2: the flow itself is a rotation."""
  case = equal_rates(0.2)
  log_growth = lambda name: np.log(distances(walk(Rule(name), case, 1000))[-1] / np.hypot(*START))
  assert log_growth('rk4') == pytest.approx(-1000 * 0.2**6 / 144, rel=0.05)
  assert log_growth('simultaneous') == pytest.approx(1000 * 0.2**2 / 2, rel=0.05)


@pytest.mark.parametrize('loss', ['non_saturating', 'least_squares'])
def test_rk4_is_of_fourth_order(loss):
  """The error at a fixed time, against an adaptive solver, falls as h^4."""
  fall = lambda _, w: -field(Case(loss), w)
  exact = solve_ivp(fall, (0, 5), START, 'DOP853', rtol=1e-12, atol=1e-13).y[:, -1]
  errors = [
    np.linalg.norm(walk(Rule('rk4'), equal_rates(5 / n, loss=loss), n)[-1] - exact)
    for n in (50, 100)
  ]
  assert errors[0] < 1e-4
  assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize('options', [{'gp': 1.0}, {'clip': 0.5}])
def test_a_bound_on_the_slope_alone_does_not_converge(options):
  """WGAN-GP and clipping stop the players' flight, not their circling (Mescheder et al., 2018)."""
  points = distances(walk(Rule('alternating'), equal_rates(0.05, **options), 3000))
  assert points[1500:].max() > 0.3
  assert points.max() < 10
