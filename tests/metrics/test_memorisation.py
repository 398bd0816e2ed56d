import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm

from gan_jax.metrics import kmeans, memorisation

KEY = jax.random.key(0)


def draws(n, d, seed, scale=1.0):
  return np.random.default_rng(seed).normal(0, scale, (n, d)).astype(np.float32)


def z_by_scipy(a, b):
  p = mannwhitneyu(a, b, alternative='less', method='asymptotic', use_continuity=False).pvalue
  return norm.ppf(p)


@pytest.mark.parametrize(('n', 'm', 'd'), [(2, 5, 2), (400, 130, 40)])
def test_authenticity_is_that_of_brute_force(n, m, d):
  train, fake = draws(n, d, 0), draws(m, d, 1, 0.7)
  across, within = cdist(fake, train), cdist(train, train)
  np.fill_diagonal(within, np.inf)
  expected = 100 * np.mean(within.min(axis=0)[across.argmin(axis=1)] < across.min(axis=1))
  assert memorisation.authenticity(train, fake) == pytest.approx(expected, abs=1e-4)


def test_copies_are_not_authentic():
  train = draws(400, 40, 0)
  assert memorisation.authenticity(train + 5, train[:130] + 5) == 0
  assert memorisation.authenticity(train, train[:130] + draws(130, 40, 1, 1e-3)) == 0


def test_fresh_draws_are_as_authentic_as_nearest_neighbours_are_mutual():
  """In the plane they are with probability 6 pi / (8 pi + 3 sqrt 3): a ball over the union of two."""
  mutual = 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3))
  found = memorisation.authenticity(draws(5000, 2, 0), draws(5000, 2, 1))
  assert found == pytest.approx(100 * (1 - mutual), abs=3)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize(('m', 'n'), [(1, 1), (21, 1), (40, 55)])
def test_z_is_that_of_scipy(m, n, ties):
  rng = np.random.default_rng(m)
  a, b = rng.normal(size=m) - 0.3, rng.normal(size=n)
  if ties:
    a, b = np.round(2 * a), np.round(2 * b) + (m == 1)
  assert memorisation.mann_whitney_z(a, b) == pytest.approx(z_by_scipy(a, b), abs=1e-9)


def test_z_of_numbers_that_are_all_tied_is_zero():
  assert memorisation.mann_whitney_z(np.ones(5), np.ones(3)) == 0


def brute_force(train, test, fake, n_cells):
  """The formula of the paper with SciPy's parts; only the centres are ours."""
  centres = kmeans.fit_centres(KEY, train, n_cells)
  cells = [cdist(x, centres).argmin(axis=1) for x in (train, test, fake)]
  total = weight = 0.0
  for i in range(n_cells):
    t, p, q = (x[c == i] for x, c in zip((train, test, fake), cells, strict=True))
    if len(q) > 20 and len(p):
      total += len(p) * z_by_scipy(cdist(q, t).min(axis=1), cdist(p, t).min(axis=1))
      weight += len(p)
  return total / weight


@pytest.mark.parametrize('d', [2, 20])
def test_c_t_is_that_of_brute_force(d):
  train, test, fake = draws(300, d, 0), draws(170, d, 1), draws(180, d, 2, 0.8)
  found = memorisation.data_copying_score(train, test, fake, KEY, n_cells=5)
  assert found == pytest.approx(brute_force(train, test, fake, 5), abs=1e-3)


def test_cells_with_too_few_fakes_do_not_enter():
  """Copies in one of two distant cells, and 20 draws far off in the other."""
  left = draws(200, 2, 0)
  train = np.concatenate([left, draws(200, 2, 1) + 100])
  test = np.concatenate([draws(100, 2, 2), draws(100, 2, 3) + 100])
  stray = draws(20, 2, 4) + 120
  without = memorisation.data_copying_score(train, test, left[:50], KEY, n_cells=2)
  assert without < -5
  for n, enters in ((20, False), (21, True)):
    fake = np.concatenate([left[:50], np.resize(stray, (n, 2))])
    found = memorisation.data_copying_score(train, test, fake, KEY, n_cells=2)
    assert (found > without + 5) if enters else found == pytest.approx(without, abs=1e-6)


def test_copies_score_far_below_zero_and_strays_far_above():
  train, test = draws(300, 3, 0), draws(200, 3, 1)
  copies = train[:200] + draws(200, 3, 2, 0.01)
  assert memorisation.data_copying_score(train, test, copies, KEY, n_cells=4) < -5
  assert memorisation.data_copying_score(train, test, draws(200, 3, 3, 3.0), KEY, n_cells=4) > 3


def test_fresh_draws_score_zero_on_average():
  train = draws(300, 3, 0)
  scores = [
    memorisation.data_copying_score(
      train, draws(200, 3, 2 * i + 1), draws(200, 3, 2 * i + 2), KEY, 4
    )
    for i in range(20)
  ]
  # A mean of 4 independent z of weight 1/4 has a deviation of 1/2.
  assert abs(np.mean(scores)) < 3 * 0.5 / np.sqrt(20)
  assert 0.25 < np.std(scores) < 0.8


def test_features_that_are_not_finite_have_no_scores():
  train, broken = draws(50, 2, 0), np.full((50, 2), np.nan, np.float32)
  assert np.isnan(memorisation.authenticity(train, broken))
  assert np.isnan(memorisation.data_copying_score(train, train, broken, KEY, n_cells=2))


def test_too_few_points_are_an_error_that_says_how_many_are_needed():
  with pytest.raises(ValueError, match='needs 2 and 1'):
    memorisation.authenticity(draws(1, 2, 0), draws(5, 2, 1))
  for sizes in ((9, 5, 50), (50, 0, 50), (50, 5, 20)):
    with pytest.raises(ValueError, match='needs 10, 1 and 21'):
      memorisation.data_copying_score(*(draws(n, 2, n) for n in sizes), KEY)
