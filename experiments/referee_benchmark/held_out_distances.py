"""Measures the distance of a generator's samples to held-out data that training never saw, two ways each.

Points: the energy distance, and the squared maximum mean discrepancy of a narrow Laplace kernel, which sees
fine detail; both unbiased. Images: Frechet distances in the features of the data set's classifier, and of
the same network with random weights, which needs no labels. Distances stand beside those of real examples.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.evaluation import classifier_network
from gan_jax.evaluation.classifier import Classifier
from gan_jax.metrics import frechet_distance

N_POINTS = 4096  # samples, and held-out points
N_IMAGES = 1024  # samples
_KERNEL_WIDTH = 0.05  # of the mean distance between two real points
_TILE = 64  # rows of a tile of distances
_N_NULL = 6  # sets of real examples, in place of samples
_FLOOR = 3.0  # null standard deviations that are added to every distance before its logarithm

Distances = dict[str, float]
MeasureFn = Callable[[np.ndarray], Distances]


class Measure(NamedTuple):
  """Holds the distances of one data set, and their mean and deviation for real examples."""

  measure: MeasureFn  # samples [n, ...] as the network makes them: points, or images in [-1, 1]
  null_mean: Distances
  null_std: Distances

  def log_distance(self, distances: Distances) -> float:
    """Returns the mean logarithm of the distances less those of real examples; +inf where one is not finite.

    Three null standard deviations are added to each: a ratio of two distances that are both noise is then
    near 1.
    """
    logs = []
    for name, value in distances.items():
      if not math.isfinite(value):
        return math.inf
      logs.append(
        math.log(max(value - self.null_mean[name], 0.0) + _FLOOR * self.null_std[name] + 1e-12)
      )
    return float(np.mean(logs))


def point_measure(real: np.ndarray) -> Measure:
  """Returns the distances to points [n, d], of which the first `N_POINTS` are compared with samples."""
  held_out, rest = jnp.asarray(real[:N_POINTS]), real[N_POINTS:]
  unit = float(_mean_distance(held_out, held_out, same=True))
  within = np.asarray(_kernel_means(held_out, held_out, unit, same=True))

  def measure(samples: np.ndarray) -> Distances:
    fake = jnp.asarray(samples, jnp.float32)
    between = np.asarray(_kernel_means(held_out, fake, unit, same=False))
    own = np.asarray(_kernel_means(fake, fake, unit, same=True))
    energy, fine = within + own - 2 * between  # the first kernel is -|x - y|
    return {'energy': float(energy) / unit, 'fine': float(fine)}

  return _with_null(measure, rest, N_POINTS)


def _with_null(measure: MeasureFn, real: np.ndarray, n: int) -> Measure:
  """Returns the measure with its values on consecutive sets of n of the `real` examples."""
  n_sets = min(_N_NULL, len(real) // n)
  assert n_sets > 1
  values = [measure(real[i * n : (i + 1) * n]) for i in range(n_sets)]
  columns = {name: np.asarray([value[name] for value in values]) for name in values[0]}
  mean = {name: float(column.mean()) for name, column in columns.items()}
  std = {name: float(column.std(ddof=1)) for name, column in columns.items()}
  return Measure(measure, mean, std)


def _kernel_means(x: jax.Array, y: jax.Array, unit: float, *, same: bool) -> jax.Array:
  """Returns the means of -|x - y| and of a narrow Laplace kernel; of different pairs where `same`."""
  means = _pair_means(x, y, unit)
  if not same:
    return means
  n = x.shape[0]  # the diagonal has distance 0 and kernel 1
  return (means * n * n - jnp.asarray([0.0, n])) / (n * (n - 1))


@jax.jit
def _pair_means(x: jax.Array, y: jax.Array, unit: float) -> jax.Array:
  def tile_means(rows: jax.Array) -> jax.Array:
    # Coordinate by coordinate: exact also for near points, and without an array of all differences.
    squares = sum((rows[:, i, None] - y[None, :, i]) ** 2 for i in range(y.shape[1]))
    distances = jnp.sqrt(squares)
    kernel = jnp.exp(-distances / (_KERNEL_WIDTH * unit))
    return jnp.stack([-jnp.mean(distances), jnp.mean(kernel)])

  return jnp.mean(jax.lax.map(tile_means, x.reshape(-1, _TILE, x.shape[1])), axis=0)


def _mean_distance(x: jax.Array, y: jax.Array, *, same: bool) -> jax.Array:
  return -_kernel_means(x, y, 1.0, same=same)[0]


def image_measure(real: np.ndarray, classifier: Classifier | None) -> Measure:
  """Returns the Frechet distances to held-out images `real`, uint8 [n, h, w, c].

  A random half of the images is the reference, the others the null sets, which repeat images where few.
  """
  channels = real.shape[-1] if classifier is None else classifier.shape[-1]
  shape = (*real.shape[1:3], channels)
  random = classifier_network.init_params(jax.random.key(5), shape, 1)
  networks: dict[str, Any] = {'frechet_random': random}
  if classifier is not None:
    networks = {'frechet': classifier.params} | networks

  def features(params: Any, images: np.ndarray) -> np.ndarray:
    parts = np.split(images, images.shape[-1] // channels, axis=-1)
    extract = lambda part: np.asarray(
      classifier_network.features_and_probabilities(params, part)[0]
    )
    return np.concatenate([extract(part) for part in parts], axis=1)

  # Test images may be in an order: the first half of MNIST's is by other writers than the second.
  real = np.random.default_rng(2).permutation(real)
  half = len(real) // 2
  in_features = {name: functools.partial(features, params) for name, params in networks.items()}
  reference = {
    name: frechet_distance.moments(_in_chunks(apply, real[:half]))
    for name, apply in in_features.items()
  }

  def measure(samples: np.ndarray) -> Distances:
    images = samples
    if samples.dtype != np.uint8:
      if not np.isfinite(samples).all():
        return dict.fromkeys(networks, math.nan)
      images = np.asarray(np.clip(np.round((samples + 1) * 127.5), 0, 255), np.uint8)
    distances = {}
    for name, params in networks.items():
      found = frechet_distance.moments(features(params, images))
      real_moments = reference[name]
      distances[name] = frechet_distance.frechet_distance(
        real_moments.mean, real_moments.covariance, found.mean, found.covariance
      )
    return distances

  rest = real[half:]
  draws = np.random.default_rng(0).integers(0, len(rest), (_N_NULL, N_IMAGES))
  sets = [np.random.default_rng(i).permutation(rest) for i in range(_N_NULL)]
  if len(rest) >= N_IMAGES:
    chosen = np.concatenate([each[:N_IMAGES] for each in sets])
  else:
    chosen = np.concatenate([rest[indices] for indices in draws])
  return _with_null(measure, chosen, N_IMAGES)


def _in_chunks(apply: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
  size = min(N_IMAGES, len(images))
  whole = len(images) // size * size
  return np.concatenate([apply(images[i : i + size]) for i in range(0, whole, size)])
