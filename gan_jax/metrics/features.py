"""All that features say of samples: how near they are, how varied, how much of them is known by heart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.metrics import frechet
from gan_jax.metrics.kernel import kernel_distance
from gan_jax.metrics.manifold import manifold
from gan_jax.metrics.memorisation import authenticity, data_copying


class FeatureScores(NamedTuple):
  """Scores of one set of samples; each is told by its own module."""

  frechet: float
  kernel: float  # the kernel distance
  precision: float
  recall: float
  density: float
  coverage: float
  authentic: float  # per cent
  copying: float  # C_T


def feature_scores(
  train: np.ndarray, held_out: np.ndarray, fake: np.ndarray, key: jax.Array
) -> FeatureScores:
  """Judge features `fake` [m, d] by `held_out` ones [n, d]; `train` [l, d] tells who copies.

  Raises ValueError where a score needs more of them.
  """
  real, ours = frechet.moments(held_out), frechet.moments(fake)
  known, fresh, made = (jnp.asarray(x) for x in (train, held_out, fake))
  return FeatureScores(
    frechet.frechet_distance(ours.mean, ours.covariance, real.mean, real.covariance),
    kernel_distance(fresh, made).value,
    *manifold(fresh, made),
    authenticity(known, made),
    data_copying(known, fresh, made, key),
  )
