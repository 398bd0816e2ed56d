import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.neighbors import KernelDensity

from gan_jax.evaluation.sampling import to_unit_rows
from gan_jax.metrics import parzen


def reference(queries, centres, sigma):
  """The same density in float64, term by term."""
  queries, centres = np.asarray(queries, float), np.asarray(centres, float)
  squares = (queries**2).sum(1)[:, None] + (centres**2).sum(1)[None] - 2 * queries @ centres.T
  d = queries.shape[1]
  normaliser = np.log(len(centres)) + d * np.log(sigma * np.sqrt(2 * np.pi))
  return logsumexp(-squares / (2 * sigma**2), axis=1) - normaliser


@pytest.mark.parametrize('sigma', [parzen.SIGMAS[0], parzen.SIGMAS[2], parzen.SIGMAS[9]])
def test_log_likelihoods_of_real_images_equal_float64_and_scikit_learn(mnist, sigma):
  queries, centres = to_unit_rows(mnist.test[:100]), to_unit_rows(mnist.train[:2500])
  ours = parzen.parzen_log_densities(queries, centres, jnp.array([sigma]))[0]
  expected = reference(queries, centres, sigma)
  assert float(ours.mean()) == pytest.approx(expected.mean(), abs=1e-3)
  # Single images: float32 has 24 bits for values of up to thousands of nats.
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-3)
  # A leaf that holds every centre: with smaller ones its tree is inexact in 784 dimensions.
  theirs = KernelDensity(bandwidth=sigma, leaf_size=2500).fit(np.asarray(centres, float))
  scores = theirs.score_samples(np.asarray(queries[:20], float))
  assert float(ours[:20].mean()) == pytest.approx(scores.mean(), abs=1e-3)
  np.testing.assert_allclose(ours[:20], scores, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(('n', 'm'), [(1, 1), (7, 3), (1000, 1001), (1500, 2300)])
def test_tiles_leave_no_seam(n, m):
  queries = jax.random.uniform(jax.random.key(0), (n, 5))
  centres = jax.random.uniform(jax.random.key(1), (m, 5))
  sigmas = jnp.array([0.1, 0.5])
  ours = parzen.parzen_log_densities(queries, centres, sigmas)
  assert ours.shape == (2, n)
  for row, sigma in zip(ours, (0.1, 0.5), strict=True):
    np.testing.assert_allclose(row, reference(queries, centres, sigma), atol=1e-3)


def test_one_window_is_a_gaussian():
  centre = jnp.array([[0.2, 0.9, 0.4]])
  queries = jax.random.uniform(jax.random.key(0), (50, 3))
  expected = multivariate_normal(centre[0], 0.3**2 * np.eye(3)).logpdf(queries)
  np.testing.assert_allclose(
    parzen.parzen_log_densities(queries, centre, jnp.array([0.3]))[0], expected, atol=1e-4
  )


def test_windows_on_many_draws_give_the_density_smoothed_by_the_window():
  """Draws of N(0, 1) under windows of sigma are N(0, 1 + sigma^2) in the limit."""
  draws = jax.random.normal(jax.random.key(0), (200_000, 1))
  queries = jnp.linspace(-2, 2, 9)[:, None]
  ours = parzen.parzen_log_densities(queries, draws, jnp.array([0.3]))[0]
  expected = multivariate_normal(0, 1 + 0.3**2).logpdf(queries[:, 0])
  np.testing.assert_allclose(ours, expected, atol=0.02)


def test_sigma_is_the_best_of_the_grid_on_the_selection_images_alone():
  key = jax.random.key(0)
  samples, selection, test = (
    jax.random.uniform(jax.random.fold_in(key, i), (n, 12)) for i, n in enumerate((400, 200, 300))
  )
  score = parzen.parzen_score(samples, selection, test)
  means = [reference(selection, samples, sigma).mean() for sigma in parzen.SIGMAS]
  assert score.sigma == parzen.SIGMAS[int(np.argmax(means))]
  values = reference(test, samples, score.sigma)
  assert score.mean == pytest.approx(values.mean(), abs=1e-3)
  assert score.standard_error == pytest.approx(values.std() / np.sqrt(300), rel=1e-3)


def test_the_grid_is_that_of_2014():
  np.testing.assert_allclose(parzen.SIGMAS, np.logspace(-1, 0, 10))
