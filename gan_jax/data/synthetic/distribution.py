"""What a game is: data without end, and an oracle that knows the truth about them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Sample = Callable[[jax.Array], jax.Array]  # one key to one example
LogDensity = Callable[[jax.Array], jax.Array]  # one example to its log-density, nats
Scorer = Callable[[jax.Array], dict[str, jax.Array]]  # samples [n, *shape] to numbers


class Density(NamedTuple):
  """A distribution that can be drawn from and whose density is known; both functions take one example."""

  sample: Sample
  log_density: LogDensity


class SyntheticDistribution(NamedTuple):
  """A distribution to learn, and how samples of a generator are judged against it."""

  name: str
  shape: tuple[int, ...]  # of one example
  sample: Sample
  log_density: LogDensity | None  # exact; None where there is no density
  score_samples: Scorer
  perfect_scores: dict[str, float]  # what `n_judged` samples of the truth itself get, on average
  ranking_score: str  # the number of the oracle by which checkpoints are ranked
  higher_is_better: bool
  n_scored: int  # samples that the oracle is shown
  extent: tuple[float, ...] | None = None  # window of a picture: (low, high) of each axis in a row
  mode_centres: np.ndarray | None = None  # centres [m, d], where there are any


def density_of(game: SyntheticDistribution) -> Density:
  """The game's data as a density; raises ValueError where it has none."""
  if game.log_density is None:
    raise ValueError(f'the data of the game {game.name!r} have no density')
  return Density(game.sample, game.log_density)


def shifted(density: Density, offset: jax.Array | np.ndarray) -> Density:
  """The same density moved by `offset` [d]."""
  return Density(
    lambda key: density.sample(key) + jnp.asarray(offset),
    lambda x: density.log_density(x - jnp.asarray(offset)),
  )


def blended(density: Density, other: Density, share: float) -> Density:
  """The mixture (1 - share) p + share q, for a share strictly between 0 and 1."""

  def sample(key: jax.Array) -> jax.Array:
    which_key, key = jax.random.split(key)
    other_chosen = jax.random.bernoulli(which_key, share)
    return jnp.where(other_chosen, other.sample(key), density.sample(key))

  def log_density(x: jax.Array) -> jax.Array:
    return jnp.logaddexp(
      jnp.log1p(-share) + density.log_density(x), jnp.log(share) + other.log_density(x)
    )

  return Density(sample, log_density)
