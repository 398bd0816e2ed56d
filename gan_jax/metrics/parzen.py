"""Estimates log-likelihoods by Gaussian Parzen windows, as in Goodfellow et al. (2014), section 5."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

SIGMAS = tuple(10 ** (-1 + i / 9) for i in range(10))  # the grid of the paper: logspace(-1, 0, 10)
N_SELECTION = 1000  # images on which sigma is selected
_CHUNK = 100  # dimensions per matrix product
_TILE = 1000  # queries and centres per matrix product: fits a CPU's cache


class ParzenScore(NamedTuple):
  """Holds a mean log-likelihood in nats per image, its standard error, and the window width."""

  mean: float
  standard_error: float  # std / sqrt(n) over test points, as in the paper
  sigma: float


def _inner_products(queries: jax.Array, centres: jax.Array) -> jax.Array:
  """Returns the inner products [n, m] of rows, accurate to a few units of float32's last place.

  Sums over 100 dimensions at a time, added pairwise: the rounding of one product over all d, divided by
  2 sigma^2, would show in the second decimal of a log-likelihood.
  """
  parts = [
    jnp.matmul(queries[:, i : i + _CHUNK], centres[:, i : i + _CHUNK].T, precision='highest')
    for i in range(0, queries.shape[1], _CHUNK)
  ]
  while len(parts) > 1:
    parts = [sum(parts[i + 1 : i + 2], parts[i]) for i in range(0, len(parts), 2)]
  return parts[0]


def _log_kernel_sums(queries: jax.Array, centres: jax.Array, sigmas: jax.Array) -> jax.Array:
  """Returns log sum_j exp(-|x_i - c_j|^2 / 2 sigma^2) for one tile of queries: [s, tile]."""
  query_norms = jnp.sum(queries**2, axis=1)

  def add_tile(sums: jax.Array, tile: jax.Array) -> tuple[jax.Array, None]:
    norms = query_norms[:, None] + jnp.sum(tile**2, axis=1)[None]
    # Rounding may take the distance of a point to itself below zero.
    distances = jnp.maximum(norms - 2 * _inner_products(queries, tile), 0)

    def add_sigma(sigma: jax.Array, total: jax.Array) -> jax.Array:
      return jnp.logaddexp(total, jax.nn.logsumexp(-distances / (2 * sigma**2), axis=1))

    return lax.map(lambda args: add_sigma(*args), (sigmas, sums)), None

  start = jnp.full((sigmas.shape[0], queries.shape[0]), -jnp.inf)
  return lax.scan(add_tile, start, centres)[0]


def _tiles(x: jax.Array, size: int, fill: float) -> jax.Array:
  """Returns x [n, d] as [tiles, size, d], its end padded with `fill`."""
  padded = jnp.pad(x, ((0, -x.shape[0] % size), (0, 0)), constant_values=fill)
  return padded.reshape(-1, size, x.shape[1])


@jax.jit
def _log_sums(queries: jax.Array, centres: jax.Array, sigmas: jax.Array) -> jax.Array:
  # Distances do not depend on the origin; near the data's mean they lose less to rounding.
  origin = centres.mean(axis=0, keepdims=True)
  queries, centres = queries - origin, centres - origin
  # Padded centres lie so far away that their kernel is zero for any sigma of the grid.
  centre_tiles = _tiles(centres, min(_TILE, centres.shape[0]), 1e6)
  query_tiles = _tiles(queries, min(_TILE, queries.shape[0]), 0.0)
  sums = lax.map(lambda tile: _log_kernel_sums(tile, centre_tiles, sigmas), query_tiles)
  return jnp.moveaxis(sums, 1, 0).reshape(sigmas.shape[0], -1)[:, : queries.shape[0]]


def parzen_log_densities(queries: jax.Array, centres: jax.Array, sigmas: jax.Array) -> jax.Array:
  """Returns log (1/m) sum_j N(x_i; c_j, sigma^2 I) in nats: [s, n], a row for each of `sigmas` [s].

  Queries x are [n, d], centres c [m, d]. Streams over tiles, so memory does not grow with n times m.
  """
  m, d = centres.shape
  normaliser = math.log(m) + d * jnp.log(sigmas * math.sqrt(2 * math.pi))
  return _log_sums(queries, centres, sigmas) - normaliser[:, None]


def parzen_score(samples: jax.Array, selection: jax.Array, test: jax.Array) -> ParzenScore:
  """Scores `samples` [m, d] in [0, 1] by the mean log-density of `test` [n, d] under windows at the samples.

  Uses the sigma of `SIGMAS` with the best mean on `selection` [1000, d]. NaN if one of the three is empty.
  """
  if 0 in (len(samples), len(selection), len(test)):
    return ParzenScore(math.nan, math.nan, math.nan)
  scores = parzen_log_densities(selection, samples, jnp.asarray(SIGMAS)).mean(axis=1)
  sigma = SIGMAS[int(scores.argmax())]
  values = parzen_log_densities(test, samples, jnp.asarray([sigma]))[0]
  return ParzenScore(float(values.mean()), float(values.std()) / math.sqrt(test.shape[0]), sigma)
