import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.distributed.randomness import example_keys
from gan_jax.gan.latents import (
  LATENTS,
  Latent,
  interpolate_latents,
  sample_latents,
  truncate_latents,
)

KEYS = example_keys(jax.random.key(0), 4000, None)


@pytest.mark.parametrize('name', LATENTS)
def test_every_prior_has_zero_mean_and_unit_variance(name):
  latents = sample_latents(Latent(name, 25), KEYS)
  assert latents.shape == (4000, 25)
  np.testing.assert_allclose(latents.mean(), 0, atol=0.02)
  np.testing.assert_allclose((latents**2).mean(), 1, atol=0.02)


@pytest.mark.parametrize(
  ('name', 'cdf'),
  [('uniform', stats.uniform(-(3**0.5), 2 * 3**0.5).cdf), ('normal', stats.norm().cdf)],
)
def test_coordinates_follow_their_distribution(name, cdf):
  latents = np.asarray(sample_latents(Latent(name, 5), KEYS)).ravel()
  assert stats.kstest(latents, cdf).pvalue > 1e-3


def test_sphere_latents_lie_on_the_sphere():
  norms = jnp.linalg.norm(sample_latents(Latent('sphere', 9), KEYS), axis=1)
  np.testing.assert_allclose(norms, 3, rtol=1e-5)


def test_binary_latents_are_fair_coins_that_do_not_depend_on_each_other():
  latents = np.asarray(sample_latents(Latent('binary', 4), KEYS))
  assert set(np.unique(latents)) == {-1.0, 1.0}
  corners = ((latents > 0) @ (1 << np.arange(4))).astype(int)
  assert stats.chisquare(np.bincount(corners, minlength=16)).pvalue > 1e-3


def test_binary_interpolation_changes_one_coordinate_after_another():
  latent = Latent('binary', 12)
  start, end = -jnp.ones(12), jnp.ones(12)
  path = np.asarray(interpolate_latents(latent, start, end, 13))
  np.testing.assert_array_equal((path == 1).sum(axis=1), np.arange(13))
  assert set(np.unique(path)) == {-1.0, 1.0}


@pytest.mark.parametrize('name', LATENTS)
def test_interpolation_ends_where_it_should(name):
  a, b = sample_latents(Latent(name, 30), KEYS[:2])
  path = interpolate_latents(Latent(name, 30), a, b, 7)
  np.testing.assert_allclose(path[0], a, atol=1e-5)
  np.testing.assert_allclose(path[-1], b, atol=1e-5)


def test_interpolation_stays_on_the_sphere():
  latent = Latent('sphere', 30)
  a, b = sample_latents(latent, KEYS[:2])
  np.testing.assert_allclose(
    jnp.linalg.norm(interpolate_latents(latent, a, b, 9), axis=1), 30**0.5, rtol=1e-5
  )


def test_interpolation_between_equal_latents_stands_still():
  latent = Latent('normal', 8)
  a = sample_latents(latent, KEYS[:1])[0]
  np.testing.assert_allclose(interpolate_latents(latent, a, a, 3), jnp.stack([a] * 3), atol=1e-6)


def test_truncation_keeps_the_quantiles_of_a_normal_prior():
  """Independent check: SciPy's truncated normal has the same quantiles."""
  z = sample_latents(Latent('normal', 4), example_keys(jax.random.key(0), 500, None))
  for bound in (0.5, 1.0, 2.0):
    truncated = np.asarray(truncate_latents(z, bound))
    expected = stats.truncnorm.ppf(stats.norm.cdf(np.asarray(z, float)), -bound, bound)
    np.testing.assert_allclose(truncated, expected, atol=2e-3)
    assert np.abs(truncated).max() <= bound
  np.testing.assert_allclose(truncate_latents(z, 9.0), z, atol=5e-3)
