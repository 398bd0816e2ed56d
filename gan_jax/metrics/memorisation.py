"""Tests for memorisation: whether samples lie nearer to training data than held-out data do."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics import nearest_neighbours as neighbours
from gan_jax.metrics.kmeans import assign_cells, fit_centres

MIN_FAKES = 20  # cells with more fakes than this enter C_T: the authors' tau = 20 / m


def authenticity(train: jax.Array, fake: jax.Array) -> float:
  """Returns the percentage of authentic fakes [m, d]: AuthPct of Alaa et al. (2022).

  A fake is authentic if its nearest training point, of `train` [n, d], is nearer to another training point
  than to the fake. The value of a perfect sampler depends on the data (38 in the plane, 85 for 10,000 points
  of a normal in 64 dimensions): compare with a test set. NaN where a feature is not finite; raises
  ValueError without two training points and a fake.
  """
  train, fake = jnp.asarray(train), jnp.asarray(fake)
  if len(train) < 2 or len(fake) < 1:
    raise ValueError(f'{len(train)} training points, {len(fake)} fakes: authenticity needs 2 and 1')
  return float(_authenticity(train, fake))


@jax.jit
def _authenticity(train: jax.Array, fake: jax.Array) -> jax.Array:
  origin = train.mean(axis=0, keepdims=True)
  finite = jnp.isfinite(train).all() & jnp.isfinite(fake).all()
  train, fake = train - origin, fake - origin
  index, distance = neighbours.nearest_neighbour(fake, train)
  squares = neighbours.kth_squared_distance(train[index], index, train, 1)
  return jnp.where(finite, 100 * jnp.mean(squares < distance**2), jnp.nan)


def data_copying_score(
  train: jax.Array, test: jax.Array, fake: jax.Array, key: jax.Array, n_cells: int = 10
) -> float:
  """Returns the data-copying statistic C_T of Meehan et al. (2020).

  In each k-means cell of `train` [l, d]: the Mann-Whitney z of the distances to the nearest training point
  of the cell, of `fake` [m, d] against `test` [n, d]. C_T is the mean of z, weighted by the test points of a
  cell. Below about -3, fakes are copies; far above 0, they lie farther from training data than test data do.
  Cells without more than 20 fakes are left out. NaN if no cell is left or a feature is not finite; raises
  ValueError without n_cells training points, a test point and 21 fakes.
  """
  train, test, fake = jnp.asarray(train), jnp.asarray(test), jnp.asarray(fake)
  if len(train) < n_cells or len(test) < 1 or len(fake) <= MIN_FAKES:
    raise ValueError(
      f'{len(train)} training points, {len(test)} test points and {len(fake)} fakes: '
      f'C_T in {n_cells} cells needs {n_cells}, 1 and {MIN_FAKES + 1}'
    )
  if not all(jnp.isfinite(x).all() for x in (train, test, fake)):
    return float('nan')
  centres = fit_centres(key, train, n_cells)
  test_cells, test_distances = map(np.asarray, _distances_in_cells(train, centres, test))
  fake_cells, fake_distances = map(np.asarray, _distances_in_cells(train, centres, fake))
  scores, weights = [], []
  for cell in range(n_cells):
    in_fake, in_test = fake_distances[fake_cells == cell], test_distances[test_cells == cell]
    if len(in_fake) > MIN_FAKES and len(in_test):
      scores.append(mann_whitney_z(in_fake, in_test))
      weights.append(len(in_test))
  return float(np.average(scores, weights=weights)) if scores else float('nan')


@jax.jit
def _distances_in_cells(
  train: jax.Array, centres: jax.Array, points: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns each point's cell and its distance to the nearest training point of the cell: [n], [n]."""
  origin = train.mean(axis=0, keepdims=True)
  train, centres, points = train - origin, centres - origin, points - origin
  train_cells, cells = assign_cells(train, centres), assign_cells(points, centres)

  def visit(at: tuple[jax.Array, jax.Array]) -> jax.Array:
    point, cell = at
    squares = neighbours.squared_distances(point[None], train)[0]
    nearest = jnp.where(train_cells == cell, squares, jnp.inf).argmin()
    return jnp.linalg.norm(point - train[nearest])

  return cells, lax.map(visit, (points, cells), batch_size=neighbours.TILE_ROWS)


def mann_whitney_z(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the z score of the Mann-Whitney U of `a` [m] against `b` [n]: below 0 if `a` tends to be smaller.

  Ties get their mean rank and reduce the variance; no continuity correction. 0 if all values are tied.
  """
  m, n, total = len(a), len(b), len(a) + len(b)
  _, order, counts = np.unique(np.concatenate([a, b]), return_inverse=True, return_counts=True)
  ranks = np.cumsum(counts) - (counts - 1) / 2
  u = ranks[order[:m]].sum() - m * (m + 1) / 2
  ties = np.sum(counts.astype(np.float64) ** 3 - counts) / max(total * (total - 1), 1)
  variance = m * n / 12 * (total + 1 - ties)
  return float((u - m * n / 2) / np.sqrt(variance)) if variance > 0 else 0.0
