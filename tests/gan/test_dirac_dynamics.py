"""Every update rule on the Dirac-GAN against maps derived on paper and iterated in NumPy.

Two different rates, and SGD in float64, so that no factor hides.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gan_jax.gan.losses import LOSSES
from tests.helpers.dirac_game import START, Case, RuleSpec, equal_rates, step_jacobian, trajectory
from tests.helpers.dirac_maps import (
  ADAM,
  CONSENSUS,
  GAMES,
  RULES,
  alternating,
  gradient_field,
  iterate,
  simultaneous,
)


@pytest.mark.parametrize('game', GAMES)
@pytest.mark.parametrize('name', RULES)
def test_each_rule_is_its_map_on_paper(name, game):
  rule, law = RULES[name]
  case = Case(**GAMES[game])
  points = trajectory(rule, case, 50)
  np.testing.assert_allclose(points, iterate(law, case, 50), rtol=1e-9, atol=1e-12)
  assert np.ptp(points, axis=0).min() > 0.05  # both players moved


@pytest.mark.parametrize('game', ['non_saturating', 'wasserstein, r1', 'wasserstein, clipped'])
@pytest.mark.parametrize('k', ['2', '5', '1/2', '3/2'])
def test_alternating_moves_d_k_times_for_each_move_of_g(k, game):
  """A half is D, G, then G alone; three halves are twice D, G, then once D, G."""
  case = Case(**GAMES[game], k=Fraction(k))
  points = trajectory(RULES['alternating'][0], case, 50)
  np.testing.assert_allclose(points, iterate(alternating, case, 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('game', GAMES)
def test_consensus_adds_the_gradient_of_half_the_squared_field(game):
  """w' = w - h (v + c J^T v), J the Jacobian of v with the penalties in it."""
  case = Case(**GAMES[game], consensus=0.7)
  points = trajectory(CONSENSUS, case, 50)
  np.testing.assert_allclose(points, iterate(simultaneous, case, 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('loss', ['non_saturating', 'least_squares', 'wasserstein'])
@pytest.mark.parametrize('name', ADAM)
def test_each_rule_with_adam_is_its_map_on_paper(name, loss):
  rule, law = ADAM[name]
  case = Case(loss, d_rate=0.03, g_rate=0.02)
  points = trajectory(rule, case, 50)
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
  return CONSENSUS if name == 'consensus' else RuleSpec(name, unroll=n if name == 'unrolled' else 0)


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
  matrix = step_jacobian(RuleSpec('simultaneous'), equal_rates(h, loss=loss))
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
  points = trajectory(rule_named(name), equal_rates(h, consensus=c), 1000)
  factor = np.abs(eigenvalues(name, h, c=c)).max()
  expected = np.log(np.linalg.norm(START)) + np.arange(1, 1001) * np.log(factor)
  np.testing.assert_allclose(np.log(distances(points)), expected, atol=1e-6)


def test_the_alternating_wasserstein_game_conserves_an_ellipse():
  """psi^2 / h_D + theta^2 / h_G - psi theta: the step is a symplectic one, and never arrives."""
  energy = lambda psi, theta: psi**2 / 0.15 + theta**2 / 0.1 - psi * theta
  points = trajectory(RuleSpec('alternating'), Case(d_rate=0.15, g_rate=0.1), 2000)
  np.testing.assert_allclose(energy(*points.T), energy(*START), rtol=1e-9)


@pytest.mark.parametrize('loss', ['non_saturating', 'saturating'])
def test_the_original_game_spirals_outwards_where_both_move_at_once(loss):
  """By sqrt(1 + h^2 / 4) a step near the equilibrium (Mescheder et al., 2018, lemma 2.3)."""
  near = (1e-4, 1e-4)
  points = trajectory(RuleSpec('simultaneous'), equal_rates(0.2, loss=loss), 1000, near)
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
    *trajectory(RuleSpec('alternating'), equal_rates(0.2, loss=loss), 1000, (0.1, 0.1))[-1]
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
  points = trajectory(rule, equal_rates(0.2, loss=loss, **options), 1500, (0.5, 0.5))
  assert distances(points)[-1] < 1e-2 * distances(points)[0]


def test_rk4_follows_the_orbit_that_euler_leaves():
  """It damps by h^6 / 144 a step only, Euler grows by h^2 / 2: the flow itself is a rotation."""
  case = equal_rates(0.2)
  log_growth = lambda name: np.log(
    distances(trajectory(RuleSpec(name), case, 1000))[-1] / np.hypot(*START)
  )
  assert log_growth('rk4') == pytest.approx(-1000 * 0.2**6 / 144, rel=0.05)
  assert log_growth('simultaneous') == pytest.approx(1000 * 0.2**2 / 2, rel=0.05)


@pytest.mark.parametrize('loss', ['non_saturating', 'least_squares'])
def test_rk4_is_of_fourth_order(loss):
  """The error at a fixed time, against an adaptive solver, falls as h^4."""
  fall = lambda _, w: -gradient_field(Case(loss), w)
  exact = solve_ivp(fall, (0, 5), START, 'DOP853', rtol=1e-12, atol=1e-13).y[:, -1]
  errors = [
    np.linalg.norm(trajectory(RuleSpec('rk4'), equal_rates(5 / n, loss=loss), n)[-1] - exact)
    for n in (50, 100)
  ]
  assert errors[0] < 1e-4
  assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize('options', [{'gp': 1.0}, {'clip': 0.5}])
def test_a_bound_on_the_slope_alone_does_not_converge(options):
  """WGAN-GP and clipping stop the players' flight, not their circling (Mescheder et al., 2018)."""
  points = distances(trajectory(RuleSpec('alternating'), equal_rates(0.05, **options), 3000))
  assert points[1500:].max() > 0.3
  assert points.max() < 10
