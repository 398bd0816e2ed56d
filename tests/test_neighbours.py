import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gan_jax.metrics.neighbours import nearest


@pytest.mark.parametrize(('n', 'm'), [(1, 1), (13, 999), (20, 1000), (50, 2345)])
def test_nearest_equals_scikit_learn(n, m):
  queries = np.asarray(jax.random.normal(jax.random.key(0), (n, 6)))
  references = np.asarray(jax.random.normal(jax.random.key(1), (m, 6)))
  indices, distances = nearest(queries, references)
  theirs = NearestNeighbors(n_neighbors=1).fit(references).kneighbors(queries)
  np.testing.assert_array_equal(indices, theirs[1][:, 0])
  np.testing.assert_allclose(distances, theirs[0][:, 0], atol=1e-3)


def test_a_training_image_finds_itself(mnist):
  from gan_jax.evaluate import flat

  train = flat(mnist.train[:3000])
  indices, distances = nearest(train[500:520], train)
  np.testing.assert_array_equal(indices, np.arange(500, 520))
  np.testing.assert_allclose(distances, 0, atol=2e-2)
