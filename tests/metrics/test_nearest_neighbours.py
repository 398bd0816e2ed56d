import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gan_jax.metrics import nearest_neighbours
from gan_jax.metrics.nearest_neighbours import (
  kth_squared_distance,
  nearest_image,
  nearest_neighbour,
)


@pytest.mark.parametrize(('n', 'm'), [(1, 1), (13, 999), (20, 1000), (50, 2345)])
def test_nearest_equals_scikit_learn(n, m):
  queries = np.asarray(jax.random.normal(jax.random.key(0), (n, 6)))
  references = np.asarray(jax.random.normal(jax.random.key(1), (m, 6)))
  indices, distances = nearest_neighbour(queries, references)
  theirs = NearestNeighbors(n_neighbors=1).fit(references).kneighbors(queries)
  np.testing.assert_array_equal(indices, theirs[1][:, 0])
  np.testing.assert_allclose(distances, theirs[0][:, 0], rtol=1e-5)


def test_a_training_image_finds_itself(mnist):
  from gan_jax.evaluation.sampling import to_unit_rows

  train = to_unit_rows(mnist.train[:3000])
  indices, distances = nearest_neighbour(train[500:520], train)
  np.testing.assert_array_equal(indices, np.arange(500, 520))
  np.testing.assert_array_equal(distances, 0)


def test_modes_far_narrower_than_the_space_between_them_keep_their_digits():
  """Products would round squares to .1 here, and neighbours lie .002 apart."""
  rng = np.random.default_rng(0)
  centres = rng.integers(-1000, 1000, (8, 2))
  queries, references = (
    np.float32(centres[np.arange(n) % 8] + rng.normal(0, 0.02, (n, 2))) for n in (50, 1200)
  )
  _, distances = nearest_neighbour(queries, references)
  theirs = NearestNeighbors(n_neighbors=1).fit(references.astype(float)).kneighbors(queries)
  np.testing.assert_allclose(distances, theirs[0][:, 0], atol=2e-4)


@pytest.mark.parametrize(('n', 'm', 'd', 'k'), [(40, 100, 3, 1), (150, 333, 20, 5), (20, 6, 2, 5)])
def test_kth_nearest_is_that_of_scikit_learn_without_the_point_itself(n, m, d, k):
  references = np.random.default_rng(0).normal(size=(m, d)).astype(np.float32)
  own = np.arange(n) % m
  theirs = NearestNeighbors(n_neighbors=k).fit(references.astype(float)).kneighbors()[0][own, -1]
  found = kth_squared_distance(references[own], own, references, k)
  np.testing.assert_allclose(np.sqrt(found), theirs, rtol=1e-5)


@pytest.mark.parametrize('m', [1, 7, 30, 31])
def test_the_nearest_picture_is_that_of_scikit_learn_whatever_the_tiles(monkeypatch, m):
  monkeypatch.setattr(nearest_neighbours, '_TILE_VALUES', 7 * 48)  # seven pictures
  between, tiles = nearest_neighbours._squared_image_distances, []
  watch = lambda queries, tile: tiles.append(tile) or between(queries, tile)
  monkeypatch.setattr(nearest_neighbours, '_squared_image_distances', watch)
  rng = np.random.default_rng(0)
  references = rng.integers(0, 256, (m, 4, 4, 3), np.uint8)
  queries = np.concatenate([references[::3], rng.integers(0, 256, (9, 4, 4, 3), np.uint8)])
  rows = lambda x: x.reshape(len(x), -1).astype(float)
  theirs = NearestNeighbors(n_neighbors=1).fit(rows(references)).kneighbors(rows(queries))
  np.testing.assert_array_equal(nearest_image(queries, references), theirs[1][:, 0])
  assert {(tile.shape, tile.dtype) for tile in tiles} == {
    ((min(m, 7), 4, 4, 3), np.dtype(np.uint8))
  }
