import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from gan_jax.metrics import kmeans


def blobs(n=600, k=6, d=3):
  rng = np.random.default_rng(0)
  centres = 1000 * rng.normal(size=(k, d))
  return (centres[np.arange(n) % k] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize('d', [3, 20])
def test_centres_are_those_of_scikit_learn_from_the_same_start(d):
  points = np.random.default_rng(1).normal(size=(500, d)).astype(np.float32)
  start = points[:7]
  theirs = KMeans(7, init=start, n_init=1, algorithm='lloyd', tol=0).fit(points)
  np.testing.assert_allclose(kmeans.k_means(points, start), theirs.cluster_centers_, atol=1e-4)
  np.testing.assert_array_equal(
    kmeans.assign_cells(points, theirs.cluster_centers_), theirs.predict(points)
  )


def test_a_few_rounds_are_those_of_scikit_learn():
  points = np.random.default_rng(2).normal(size=(1500, 4)).astype(np.float32)
  theirs = KMeans(20, init=points[:20], n_init=1, max_iter=3, tol=0, algorithm='lloyd').fit(points)
  ours = kmeans.k_means(points, points[:20], max_steps=3)
  np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-4)


def test_cells_of_distant_blobs_are_the_blobs():
  points = blobs()
  centres = kmeans.fit_centres(jax.random.key(0), points, 6)
  cells = np.asarray(kmeans.assign_cells(points, centres))
  for i in range(6):
    assert len(set(cells[i::6])) == 1
  assert len(set(cells)) == 6


def test_a_start_is_drawn_from_points_in_proportion_to_squared_distance():
  """Of 0, 1 and 3 the first is any; after 0 the other is 3 nine times of ten."""
  points = jnp.array([[0.0], [1.0], [3.0]])
  keys = jax.random.split(jax.random.key(0), 4000)
  starts = np.asarray(jax.vmap(lambda key: kmeans.kmeans_plus_plus(key, points, 2))(keys))[..., 0]
  for first, expected in ((0, 9 / 10), (1, 4 / 5)):
    others = starts[starts[:, 0] == first, 1]
    assert len(others) / 4000 == pytest.approx(1 / 3, abs=0.03)
    assert np.mean(others == 3) == pytest.approx(expected, abs=0.04)
    assert first not in others


def test_equal_points_share_one_centre():
  centres = kmeans.fit_centres(jax.random.key(0), np.ones((10, 2), np.float32), 3)
  np.testing.assert_array_equal(centres, np.ones((3, 2)))


def test_a_cell_without_points_stays_where_it_was():
  points = np.array([[0.0], [1.0]], np.float32)
  centres = kmeans.k_means(points, np.array([[0.4], [50.0]], np.float32))
  np.testing.assert_allclose(centres, [[0.5], [50.0]])
