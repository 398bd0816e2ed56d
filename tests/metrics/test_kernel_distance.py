import numpy as np
import pytest

from gan_jax.metrics.kernel_distance import kernel_distance


def draws(n, d, seed, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, (n, d)).astype(np.float32)


def kernel(x, y):
  return (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3


def direct(x, y):
  """The unbiased estimate in float64, pair by pair."""
  n, m = len(x), len(y)
  xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
  within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
  return within - 2 * xy.mean()


@pytest.mark.parametrize(('n', 'm'), [(2, 3), (50, 1000), (1001, 999), (2300, 1700)])
def test_all_pairs_are_those_of_float64(n, m):
  x, y = draws(n, 20, 1), draws(m, 20, 2, 0.1)
  assert kernel_distance(x, y).value == pytest.approx(direct(x, y), abs=1e-6)


@pytest.mark.parametrize('seed', [1, 3])
def test_features_far_from_zero_keep_their_digits(seed):
  """At 30 a kernel is 7e8 with a last place of 64 in float32, and what is left of it about 10."""
  x, y = (np.float32(30 + draws(n, 10, s) / 10) for n, s in ((900, seed), (800, seed + 1)))
  expected = direct(x, y)
  assert 1 < abs(expected) < 100
  assert kernel_distance(x, y).value == pytest.approx(expected, abs=0.1)


def test_blocks_are_disjoint_thousands():
  x, y = draws(3500, 8, 1), draws(3100, 8, 2, 0.2)
  blocks = [direct(x[i : i + 1000], y[i : i + 1000]) for i in (0, 1000, 2000)]
  expected = np.std(blocks, ddof=1) / np.sqrt(3)
  assert kernel_distance(x, y).standard_error == pytest.approx(expected, rel=1e-3)


def test_one_block_has_no_spread():
  assert np.isnan(kernel_distance(draws(1999, 3, 1), draws(2000, 3, 2)).standard_error)


def test_two_draws_of_one_distribution_are_at_distance_zero_on_average():
  values = [
    kernel_distance(draws(300, 5, 2 * i), draws(200, 5, 2 * i + 1)).value for i in range(40)
  ]
  assert min(values) < 0 < max(values)
  assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40)


def test_gaussians_that_differ_in_mean_are_at_the_closed_form():
  """In one dimension the kernel is 1 + 3xy + 3(xy)^2 + (xy)^3: differences of the first three moments."""
  mu = 0.5
  moments = np.array([mu, mu**2, mu**3 + 3 * mu])  # of N(mu, 1), less those of N(0, 1)
  expected = (np.array([3, 3, 1]) * moments**2).sum()
  values = [
    kernel_distance(draws(1000, 1, 2 * i), draws(1000, 1, 2 * i + 1, mu)).value for i in range(40)
  ]
  assert abs(np.mean(values) - expected) < 3 * np.std(values) / np.sqrt(40)


@pytest.mark.parametrize(('n', 'm'), [(1, 5), (5, 1)])
def test_too_few_features_are_an_error_that_says_how_many_are_needed(n, m):
  with pytest.raises(ValueError, match=f'{n} real and {m} fake features.* 2 of each'):
    kernel_distance(draws(n, 2, 0), draws(m, 2, 1))
