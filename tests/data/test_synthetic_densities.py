from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gan_jax.data.synthetic import (
  SYNTHETIC,
  Density,
  density_of,
  mixtures,
  moons_and_spirals,
  parabolas,
)
from tests.helpers.perturbed_densities import PERTURBED_DENSITIES

PLANE = ['ring', 'grid', 'moons', 'spiral']


@cache
def scorer(name):
  return jax.jit(SYNTHETIC[name].score_samples)


@cache
def sampler(name):
  return jax.jit(lambda keys: jax.vmap(SYNTHETIC[name].sample)(keys))


def draw(name, seed, n=None):
  return sampler(name)(jax.random.split(jax.random.key(seed), n or SYNTHETIC[name].n_scored))


def score(name, samples):
  return {key: float(value) for key, value in scorer(name)(samples).items()}


def cell_masses(name, n):
  """Probability of each of n by n cells of `extent`, x first: midpoint values times area."""
  distribution = SYNTHETIC[name]
  left, right, bottom, top = distribution.extent
  x = left + (right - left) * (np.arange(n) + 0.5) / n
  y = bottom + (top - bottom) * (np.arange(n) + 0.5) / n
  points = jnp.asarray(np.stack(np.meshgrid(x, y, indexing='ij'), axis=-1))
  log_density = jax.jit(lambda p: jax.lax.map(jax.vmap(distribution.log_density), p))
  return x, y, np.exp(np.asarray(log_density(points), float)) * (x[1] - x[0]) * (y[1] - y[0])


@pytest.mark.parametrize('name', SYNTHETIC)
def test_every_distribution_has_the_shapes_and_scores_that_it_declares(name):
  distribution = SYNTHETIC[name]
  samples = draw(name, 0)
  assert distribution.name == name
  assert samples.shape == (distribution.n_scored, *distribution.shape)
  scores = scorer(name)(samples)
  assert scores.keys() == distribution.perfect_scores.keys()
  assert all(value.shape == () and value.dtype == jnp.float32 for value in scores.values())
  assert distribution.ranking_score in scores
  assert distribution.n_scored == 2500 or name not in ('ring', 'grid')


@pytest.mark.parametrize('name', SYNTHETIC)
def test_the_same_key_gives_the_same_sample(name):
  samples = draw(name, 1)
  np.testing.assert_array_equal(samples, draw(name, 1))
  keys = jax.random.split(jax.random.key(1), SYNTHETIC[name].n_scored)
  one = jax.jit(SYNTHETIC[name].sample)(keys[7])
  np.testing.assert_allclose(one, samples[7], atol=1e-6)
  if name != 'dirac':
    assert len(np.unique(np.asarray(samples), axis=0)) > 0.99 * len(samples)


@pytest.mark.parametrize('name', SYNTHETIC)
def test_draws_of_the_distribution_get_the_perfect_scores(name):
  """On average over 10 draws, within five standard errors and three percent of the perfect score."""
  scores = [score(name, draw(name, seed)) for seed in range(10)]
  for key, perfect in SYNTHETIC[name].perfect_scores.items():
    values = np.array([score[key] for score in scores])
    error = values.std(ddof=1) / np.sqrt(len(values))
    # Ends and bends of a curve move the distances from it a little.
    allowed = 5 * error + 0.03 * perfect * name.startswith(('moons', 'spiral')) + 1e-6
    assert values.mean() == pytest.approx(perfect, abs=allowed), key


@pytest.mark.parametrize(
  ('name', 'fault'),
  [(name, fault) for name, densities in PERTURBED_DENSITIES.items() for fault in densities],
)
def test_the_distribution_ranks_above_every_perturbed_density(name, fault):
  distribution = SYNTHETIC[name]
  keys = jax.random.split(jax.random.key(2), distribution.n_scored)
  samples = jax.jit(jax.vmap(PERTURBED_DENSITIES[name][fault].sample))(keys)
  perfect, perturbed = score(name, draw(name, 2)), score(name, samples)
  assert perfect[distribution.ranking_score] * 2 < perturbed[distribution.ranking_score]
  assert not distribution.higher_is_better


def test_the_gaussian_density_equals_scipy():
  p = SYNTHETIC['gaussian']
  density = jax.jit(lambda x: jnp.exp(p.log_density(x[None])))
  assert integrate.quad(density, -3, 5)[0] == pytest.approx(1, abs=1e-5)
  truth = stats.norm(p.perfect_scores['mean'], p.perfect_scores['std'])
  x = np.linspace(-2, 4, 50)
  actual = jax.vmap(p.log_density)(jnp.asarray(x)[:, None])
  np.testing.assert_allclose(actual, truth.logpdf(x), atol=1e-4)
  assert stats.kstest(np.asarray(draw('gaussian', 0))[:, 0], truth.cdf).pvalue > 1e-3


def test_gaussian_scores_equal_scipy():
  x = np.asarray(draw('gaussian', 3))[:, 0] * 1.1
  truth = stats.norm(1, 0.5)
  scores = score('gaussian', jnp.asarray(x)[:, None])
  assert scores['ks'] == pytest.approx(stats.kstest(x, truth.cdf).statistic, abs=1e-5)
  quantiles = truth.ppf((np.arange(len(x)) + 0.5) / len(x))
  expected = stats.wasserstein_distance(x, quantiles)
  assert scores['wasserstein'] == pytest.approx(expected, abs=1e-5)
  assert scores['mean'] == pytest.approx(x.mean(), abs=1e-5)
  assert scores['std'] == pytest.approx(x.std(), abs=1e-5)


def test_a_shift_of_the_gaussian_is_its_wasserstein_distance():
  moved = draw('gaussian', 3) + 0.7
  assert score('gaussian', moved)['wasserstein'] == pytest.approx(0.7, abs=0.02)


def test_mixtures_have_the_density_of_scipy_and_their_closed_form_moments():
  centres = np.array([[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]])
  mix = mixtures.mixture(centres, np.array([0.3, 1.5]), [1, 3])
  x = np.random.default_rng(0).normal(size=(40, 3)) * 2
  expected = np.logaddexp(
    np.log(0.25) + stats.multivariate_normal(centres[0], 0.3**2).logpdf(x),
    np.log(0.75) + stats.multivariate_normal(centres[1], 1.5**2).logpdf(x),
  )
  density = mixtures.density(mix)
  actual = jax.vmap(density.log_density)(jnp.asarray(x))
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)
  draws = jax.jit(jax.vmap(density.sample))(jax.random.split(jax.random.key(0), 20_000))
  np.testing.assert_allclose(draws.mean(axis=0), [0.25, 0.75] @ centres, atol=0.06)
  within = 0.25 * 0.3**2 + 0.75 * 1.5**2
  between = 0.25 * 0.75 * (centres[1] - centres[0]) ** 2
  np.testing.assert_allclose(draws.var(axis=0), within + between, rtol=0.05)


def test_dropped_modes_are_never_drawn():
  mix = mixtures.without_components(mixtures.ring(), [0, 1, 2])
  draw_one = mixtures.density(mix).sample
  draws = jax.jit(jax.vmap(draw_one))(jax.random.split(jax.random.key(0), 2500))
  scores = score('ring', draws)
  assert scores['modes'] == 5
  assert scores['reverse_kl'] == pytest.approx(np.log(8 / 5), abs=0.005)
  np.testing.assert_allclose(mix.weights, [0] * 3 + [0.2] * 5)


def test_the_ring_has_eight_modes_and_the_grid_twenty_five():
  for name, m, apart in (('ring', 8, 2 * np.sin(np.pi / 8)), ('grid', 25, 2)):
    centres = SYNTHETIC[name].mode_centres
    assert centres.shape == (m, 2)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    assert distances[~np.eye(m, dtype=bool)].min() == pytest.approx(apart)
  np.testing.assert_allclose(np.linalg.norm(SYNTHETIC['ring'].mode_centres, axis=1), 1)
  np.testing.assert_allclose(SYNTHETIC['ring'].mode_centres[[0, 2]], [[1, 0], [0, 1]], atol=1e-12)


@pytest.mark.parametrize(('name', 'sigma'), [('ring', 0.01), ('grid', 0.05)])
def test_modes_are_round_gaussians_of_equal_weight(name, sigma):
  samples, centres = np.asarray(draw(name, 5, 20_000), float), SYNTHETIC[name].mode_centres
  index = np.linalg.norm(samples[:, None] - centres[None], axis=-1).argmin(1)
  assert stats.chisquare(np.bincount(index, minlength=len(centres))).pvalue > 1e-3
  offsets = (samples - centres[index]) / sigma
  assert stats.kstest(offsets.ravel(), stats.norm.cdf).pvalue > 1e-3
  assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.03


@pytest.mark.parametrize('name', PLANE)
def test_densities_integrate_to_one_and_samples_follow_them(name):
  n, coarse = (500, 10) if name in ('ring', 'grid') else (150, 10)
  x, y, mass = cell_masses(name, n)
  area = (x[1] - x[0]) * (y[1] - y[0])
  total = integrate.trapezoid(integrate.trapezoid(mass / area, x=y), x=x)
  assert total == pytest.approx(1, abs=1e-3)
  cells = mass.reshape(coarse, n // coarse, coarse, -1).sum(axis=(1, 3)).ravel()
  left, right, bottom, top = SYNTHETIC[name].extent
  samples = np.asarray(draw(name, 6, 20_000), float)
  counts, _, _ = np.histogram2d(*samples.T, bins=coarse, range=[[left, right], [bottom, top]])
  common = cells * 20_000 > 10
  observed, expected = counts.ravel()[common], cells[common] * 20_000
  observed = np.append(observed, 20_000 - observed.sum() + 10)
  expected = np.append(expected, 20_000 - expected.sum() + 10)
  assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize(
  'curve', [moons_and_spirals.moons(), moons_and_spirals.spiral(1), moons_and_spirals.spiral(3)]
)
def test_arms_are_parametrized_by_arc_length(curve):
  s = jnp.linspace(0, curve.length, 50)
  speed = jnp.linalg.norm(jax.vmap(jax.jacfwd(curve.arm))(s), axis=1)
  np.testing.assert_allclose(speed, 1, rtol=1e-4)


@pytest.mark.parametrize('curve', [moons_and_spirals.moons(), moons_and_spirals.spiral()])
def test_projection_recovers_the_arc_length_and_distance_of_a_point(curve):
  which, s = jnp.arange(40) % 2, jnp.linspace(0.01, 0.99, 40) * curve.length

  def place(arm, length, distance):
    position, tangent = jax.jvp(
      lambda t: moons_and_spirals.point_at(curve, arm, t), (length,), (1.0,)
    )
    return position + distance * jnp.array([[0, -1], [1, 0]]) @ tangent

  project = jax.jit(jax.vmap(lambda x: moons_and_spirals.project_onto_curve(curve, x)))
  for distance in (0.0, 0.03, -0.03):
    points = jax.vmap(place, in_axes=(0, 0, None))(which, s, distance)
    arc_lengths, distances = project(points)
    np.testing.assert_allclose(arc_lengths, which * curve.length + s, atol=2e-3)
    np.testing.assert_allclose(distances, abs(distance), atol=1e-4)


@pytest.mark.parametrize('name', ['moons', 'spiral'])
def test_a_missing_arm_is_half_of_the_curve(name):
  """And its density is twice as high: ln 2, far from the other arm."""
  whole = moons_and_spirals.moons() if name == 'moons' else moons_and_spirals.spiral()
  part = moons_and_spirals.first_arm(whole)
  x = moons_and_spirals.point_at(part, jnp.array(0), jnp.array(0.6 * part.length))
  log_density = jax.jit(moons_and_spirals.log_density, static_argnums=0)
  gain = log_density(part, x) - log_density(whole, x)
  assert float(gain) == pytest.approx(np.log(2), abs=1e-4)
  draws = jax.jit(jax.vmap(moons_and_spirals.density(part).sample))(
    jax.random.split(jax.random.key(0), 2500)
  )
  assert score(name, draws)['ks_along'] == pytest.approx(0.5, abs=0.005)


def test_samples_without_noise_are_too_near_the_curve():
  """The distances of the noise have a Kolmogorov-Smirnov distance of 1 to those that are all 0."""
  exact = moons_and_spirals.moons(noise=1e-6)
  curve = moons_and_spirals.moons()
  s = jnp.linspace(0, curve.length, 2500)
  samples = jax.vmap(lambda t: moons_and_spirals.point_at(exact, jnp.array(0), t))(s)
  scores = score('moons', samples)
  assert scores['off_curve'] < 1e-4
  assert scores['ks_across'] > 0.99


def test_fits_recover_the_parameter_of_parabolas():
  a = jnp.linspace(1, 2, 10_000)
  y = jax.vmap(parabolas.parabola)(a)
  expected = np.asarray(a)[:, None] * parabolas.POINTS[None] ** 2 + (np.asarray(a)[:, None] - 1)
  np.testing.assert_allclose(y, expected, atol=1e-6)
  np.testing.assert_allclose(jax.vmap(parabolas.fit_parabola)(y), a, atol=1e-6)
  scores = score('painter', y)
  assert scores == pytest.approx({'off_line': 0, 'ks': 0, 'transport': 0}, abs=2e-4)


def test_parabola_scores_separate_distances_to_the_line_from_distances_along_it():
  a = jnp.linspace(1, 2, 10_000)
  odd = jnp.asarray(np.sign(parabolas.POINTS))  # orthogonal to parabolas, which are even
  off = jax.vmap(parabolas.parabola)(a) + 0.1 * odd[None]
  rms = 0.1 * np.sqrt(14 / 15)
  expected = {'off_line': rms, 'ks': 0, 'transport': rms}
  assert score('painter', off) == pytest.approx(expected, abs=2e-4)
  along = jax.vmap(parabolas.parabola)(a + 0.25)
  unit = np.sqrt(np.mean((parabolas.POINTS**2 + 1) ** 2))
  expected = {'off_line': 0, 'ks': 0.25, 'transport': 0.25 * unit}
  assert score('painter', along) == pytest.approx(expected, abs=3e-4)


def test_samples_of_a_single_parabola_have_a_ks_of_one_half():
  scores = score('painter', jax.vmap(parabolas.parabola)(jnp.full(10_000, 1.5)))
  assert scores['ks'] == pytest.approx(0.5, abs=1e-3)
  assert scores['off_line'] < 1e-6


def test_the_parameter_of_drawn_parabolas_is_uniform():
  a = np.asarray(jax.vmap(parabolas.fit_parabola)(draw('painter', 4)))
  assert stats.kstest(a, stats.uniform(1, 1).cdf).pvalue > 1e-3


def test_the_score_of_the_point_mass_is_the_mean_distance_to_it():
  assert score('dirac', jnp.array([[0.5], [-1.5]])) == {'mean_abs': 1}
  assert not draw('dirac', 0).any()


@pytest.mark.parametrize('name', SYNTHETIC)
def test_distributions_without_density_are_refused(name):
  distribution = SYNTHETIC[name]
  if name in PERTURBED_DENSITIES:
    assert density_of(distribution) == Density(distribution.sample, distribution.log_density)
  else:
    with pytest.raises(ValueError, match=f'{name}.* has no density'):
      density_of(distribution)
