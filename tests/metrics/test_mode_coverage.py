import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gan_jax.data.synthetic import mixtures
from gan_jax.metrics import kolmogorov_smirnov, mode_coverage

SIGMA = 0.05
CENTRES = jnp.asarray(mixtures.grid().centres)
M = len(CENTRES)
SCORES = jax.jit(lambda samples: mode_coverage.mode_scores(samples, CENTRES, SIGMA))
DRAW = jax.jit(
  lambda factor, key: (
    CENTRES[jnp.arange(10_000) % M] + factor * SIGMA * jax.random.normal(key, (10_000, 2))
  )
)


def at_centres(counts):
  """Samples on the centres themselves, as many as `counts` says."""
  return jnp.asarray(np.repeat(np.asarray(CENTRES), counts, axis=0))


def cut_variance(radius):
  """Variance of each coordinate of a plane N(0, 1) that is cut off at `radius`."""
  mass = stats.rayleigh.cdf(radius)
  return integrate.quad(lambda r: r**2 * stats.rayleigh.pdf(r), 0, radius)[0] / mass / 2


@pytest.mark.parametrize('d', [1, 2, 3, 4, 7])
def test_the_mass_of_a_ball_is_that_of_scipy(d):
  for radius in (0.5, 3.0):
    assert mode_coverage.normal_ball_probability(d, radius) == pytest.approx(
      stats.chi(d).cdf(radius), rel=1e-9
    )


@pytest.mark.parametrize('kept', [25, 13, 1])
def test_dropped_modes_cost_the_log_of_their_share(kept):
  scores = SCORES(at_centres(np.where(np.arange(M) < kept, 4, 0)))
  assert scores['modes'] == kept
  assert float(scores['reverse_kl']) == pytest.approx(np.log(M / kept), abs=1e-5)
  assert scores['high_quality'] == 1


def test_reverse_kl_is_that_of_scipy():
  counts = np.arange(M) * 3
  expected = stats.entropy(counts, np.ones(M))
  assert float(SCORES(at_centres(counts))['reverse_kl']) == pytest.approx(expected, abs=1e-6)
  n_modes, kl = mode_coverage.modes_and_uniform_kl(jnp.asarray(counts))
  assert int(n_modes) == M - 1
  assert float(kl) == pytest.approx(expected, abs=1e-6)


def test_far_samples_lower_quality_and_nothing_else_of_the_published_numbers():
  near = at_centres(np.full(M, 4))
  scores = SCORES(jnp.concatenate([near, near + 1]))  # the middle between four centres
  assert scores['high_quality'] == 0.5
  assert scores['modes'] == M
  assert float(scores['reverse_kl']) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('stray', [1.0, jnp.nan, jnp.inf])
def test_samples_that_hit_nothing_get_the_worst_of_every_number(stray):
  scores = SCORES(at_centres(np.full(M, 2)) + stray)
  assert scores['modes'] == 0
  assert scores['high_quality'] == 0
  assert scores['covariance_ratio'] == 0
  assert float(scores['reverse_kl']) == pytest.approx(np.log(M), abs=1e-5)
  # Outside of all discs lies exp(-4.5) of the truth.
  assert float(scores['cell_kl']) == pytest.approx(4.5, abs=1e-3)


def test_the_border_of_a_mode_lies_at_three_sigma():
  just = jnp.array([[0.999, 0], [1.001, 0]]) * 3 * SIGMA
  assert SCORES(CENTRES[:1] + just)['high_quality'] == 0.5


@pytest.mark.parametrize('factor', [0.0, 0.5, 1.0, 2.0])
def test_width_shows_in_quality_and_covariance_by_the_right_amount(factor):
  scores = SCORES(DRAW(factor, jax.random.key(0)))
  quality = stats.rayleigh.cdf(3 / factor) if factor else 1
  assert float(scores['high_quality']) == pytest.approx(quality, abs=0.02)
  ratio = factor**2 * cut_variance(3 / factor) / cut_variance(3) if factor else 0
  assert float(scores['covariance_ratio']) == pytest.approx(ratio, rel=0.04)
  core = stats.rayleigh.cdf(np.sqrt(2 * np.log(2)) / factor) if factor else 1
  q = np.array([core, quality - core, 1 - quality])
  p = np.array([0.5, 0.5 - np.exp(-4.5), np.exp(-4.5)])
  expected = stats.entropy(q, p)
  assert float(scores['cell_kl']) == pytest.approx(expected, abs=0.05)


def test_collapse_inside_modes_looks_perfect_but_for_covariance_and_cells():
  scores = SCORES(at_centres(np.full(M, 10)))
  assert scores['high_quality'] == 1
  assert float(scores['reverse_kl']) == pytest.approx(0, abs=1e-6)
  assert scores['covariance_ratio'] == 0
  assert float(scores['cell_kl']) == pytest.approx(np.log(2), abs=1e-5)


def test_covariance_ratio_does_not_depend_on_which_modes_are_found():
  samples = DRAW(1.0, jax.random.key(1))
  some = samples[jnp.arange(len(samples)) % M < 5]
  whole, part = (SCORES(x)['covariance_ratio'] for x in (samples, some))
  np.testing.assert_allclose([whole, part], 1, atol=0.05)


def test_covariance_ratio_is_about_each_modes_own_mean_and_free_of_bias():
  """Two samples a mode, 2 sigma apart, beside the centre: a variance of 2 sigma^2 in one of two coordinates."""
  pair = jnp.array([[0.0, 1.0], [2.0, 1.0]]) * SIGMA
  samples = (CENTRES[:, None] + pair[None]).reshape(-1, 2)
  lonely = samples[:-1]  # a mode with one sample says nothing of width
  for x in (samples, lonely):
    ratio = float(SCORES(x)['covariance_ratio'])
    assert ratio == pytest.approx(1 / cut_variance(3), rel=1e-4)


def test_uniform_draws_of_many_classes_have_the_kl_of_their_number():
  draws = np.random.default_rng(0).integers(0, 1000, (20, 26_000))
  counts = np.stack([np.bincount(row, minlength=1000) for row in draws])
  n_modes, kl = jax.vmap(mode_coverage.modes_and_uniform_kl)(jnp.asarray(counts))
  assert (n_modes == 1000).all()
  assert float(kl.mean()) == pytest.approx(999 / 52_000, rel=0.03)


@pytest.mark.parametrize('n', [1, 10, 1000])
def test_ks_distance_is_that_of_scipy(n):
  samples = jax.random.normal(jax.random.key(n), (n,)) * 1.2 + 0.1
  expected = stats.kstest(np.asarray(samples, float), stats.norm.cdf).statistic
  ours = kolmogorov_smirnov.ks_distance(samples, jax.scipy.special.ndtr)
  assert float(ours) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('n', [20, 2500, 10_000])
def test_expected_ks_is_the_mean_of_its_law(n):
  assert kolmogorov_smirnov.expected_ks_distance(n) == pytest.approx(
    stats.kstwo(n).mean(), rel=0.01
  )
