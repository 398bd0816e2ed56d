"""Partitions points into cells by k-means: k-means++ initialisation and Lloyd's iterations (1982)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.metrics.nearest_neighbours import nearest_neighbour

_TILE_ROWS = 1000  # points assigned at once


def kmeans_plus_plus(key: jax.Array, points: jax.Array, k: int) -> jax.Array:
  """Draws k initial centres [k, d] from points [n, d] (Arthur & Vassilvitskii, 2007).

  A point's probability is proportional to its squared distance to the nearest centre drawn before.
  """
  first = points[jax.random.randint(key, (), 0, len(points))]

  def draw(squares: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    # If all points coincide with centres, draw uniformly: log 0 of all would be no distribution.
    logits = jnp.where(jnp.any(squares > 0), jnp.log(squares), 0)
    centre = points[jax.random.categorical(key, logits)]
    return jnp.minimum(squares, _squares_to(points, centre)), centre

  _, others = lax.scan(draw, _squares_to(points, first), jax.random.split(key, k)[1:])
  return jnp.concatenate([first[None], others])


def _squares_to(points: jax.Array, centre: jax.Array) -> jax.Array:
  return jnp.sum((points - centre[None]) ** 2, axis=1)


def assign_cells(points: jax.Array, centres: jax.Array) -> jax.Array:
  """Returns the index of the nearest of `centres` [k, d] to each of points [n, d]: int [n]."""
  n = len(points)
  tiles = jnp.pad(points, ((0, -n % _TILE_ROWS), (0, 0))).reshape(-1, _TILE_ROWS, points.shape[1])
  return lax.map(lambda rows: nearest_neighbour(rows, centres)[0], tiles).reshape(-1)[:n]


class _State(NamedTuple):
  step: jax.Array
  centres: jax.Array
  cells: jax.Array
  moved: jax.Array  # whether a point changed its cell in the last step


@jax.jit
def k_means(points: jax.Array, centres: jax.Array, max_steps: int | jax.Array = 300) -> jax.Array:
  """Returns centres [k, d] after Lloyd's iterations on points [n, d] from initial `centres` [k, d].

  Stops when no point changes its cell, or after `max_steps`. The centre of an empty cell stays in place.
  """
  k = len(centres)

  def step(state: _State) -> _State:
    centres, cells = state.centres, state.cells
    sums = jnp.zeros_like(centres).at[cells].add(points)
    counts = jnp.zeros(k).at[cells].add(1)[:, None]
    centres = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centres)
    assigned = assign_cells(points, centres)
    return _State(state.step + 1, centres, assigned, jnp.any(assigned != cells))

  start = _State(jnp.int32(0), centres, assign_cells(points, centres), jnp.bool_(True))
  return lax.while_loop(lambda s: s.moved & (s.step < max_steps), step, start).centres


@functools.partial(jax.jit, static_argnames='k')
def fit_centres(key: jax.Array, points: jax.Array, k: int) -> jax.Array:
  """Returns k-means centres [k, d] of points [n, d], n >= k, from one k-means++ initialisation."""
  origin = points.mean(axis=0, keepdims=True)
  points = points - origin
  return k_means(points, kmeans_plus_plus(key, points, k)) + origin
