"""Tests the training monitors against NumPy, SciPy and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from gan_jax.data.device_batches import Batch
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed.randomness import example_keys
from gan_jax.gan import gan as gan_lib
from gan_jax.gan.latents import sample_latents
from tests.helpers.tiny_gan import IMAGE_SHAPE, tiny_gan


@functools.cache
def monitors_and_inputs():
  gan, _, state = tiny_gan()
  average_weights = jax.tree.map(lambda x: 1.1 * x, state.g_ema)
  state = state.replace(g_ema=average_weights)
  train, held_out = (
    Batch(jax.random.uniform(jax.random.key(i), (60, *IMAGE_SHAPE), minval=-1)) for i in (1, 2)
  )
  key = jax.random.key(3)
  monitors = training_monitors.monitors_of_batches(gan, key, state, train, held_out)
  latents = sample_latents(gan.latent, example_keys(key, 60, None))
  fake = gan_lib.sample(gan, state.g.weights, latents, None)
  average = gan_lib.sample(gan, average_weights, latents, None)
  rows = [np.asarray(x).reshape(60, -1) for x in (train.images, held_out.images, fake, average)]
  outputs = [
    np.asarray(gan_lib.logits(gan, state.d.weights, x, None))
    for x in (train.images, held_out.images, fake)
  ]
  return {name: float(x) for name, x in monitors.items()}, rows, outputs, gan


def mean_distance(x):
  return cdist(x, x).sum() / (len(x) * (len(x) - 1))


def test_distances_are_those_of_scipy():
  monitors, (train, held_out, fake, average), _, _ = monitors_and_inputs()
  unit = mean_distance(held_out)
  to_fake, to_train = cdist(held_out, fake), cdist(held_out, train)
  mean_nearest = lambda d: (d.min(axis=0).mean() + d.min(axis=1).mean()) / 2
  assert monitors['watch_gap'] == pytest.approx(
    (2 * to_fake.mean() - mean_distance(fake) - unit) / unit, rel=1e-3
  )
  assert monitors['watch_near'] == pytest.approx(
    mean_nearest(to_fake) / mean_nearest(to_train) - 1, rel=1e-3
  )
  assert monitors['watch_spread'] == pytest.approx(mean_distance(fake) / unit, rel=1e-3)
  drift = np.linalg.norm(fake - average, axis=1).mean() / unit
  assert monitors['watch_drift'] == pytest.approx(drift, rel=1e-3)


def test_ranking_probabilities_are_areas_under_the_roc_curve():
  monitors, _, (train, held_out, fake), _ = monitors_and_inputs()
  labels = np.repeat([1, 0], 60)
  own = roc_auc_score(labels, np.concatenate([held_out, fake]))
  overfit = roc_auc_score(labels, np.concatenate([train, held_out]))
  assert monitors['watch_own'] == pytest.approx(own, abs=1e-5)
  assert monitors['watch_overfit'] == pytest.approx(overfit, abs=1e-5)


def test_the_slope_of_the_non_saturating_loss_is_the_mean_probability_of_fake():
  monitors, _, (_, _, fake), _ = monitors_and_inputs()
  assert monitors['watch_slope'] == pytest.approx(np.mean(1 / (1 + np.exp(fake))), rel=1e-5)


def test_the_saturating_loss_has_no_slope_where_d_is_certain():
  saturating, plain = tiny_gan('saturating')[0], tiny_gan()[0]
  flat = training_monitors.generator_loss_slope(saturating, jnp.full(8, 20.0), jnp.full(8, -20.0))
  steep = training_monitors.generator_loss_slope(plain, jnp.full(8, 20.0), jnp.full(8, -20.0))
  assert float(flat) < 1e-8
  assert float(steep) == pytest.approx(1)
