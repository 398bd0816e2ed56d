"""What the loop asks while it trains, held against NumPy and SciPy."""

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
def seen():
  gan, _, state = tiny_gan()
  other = jax.tree.map(lambda x: 1.1 * x, state.g_ema)
  state = state.replace(g_ema=other)
  train, held_out = (
    Batch(jax.random.uniform(jax.random.key(i), (60, *IMAGE_SHAPE), minval=-1)) for i in (1, 2)
  )
  key = jax.random.key(3)
  found = training_monitors.monitors_of_batches(gan, key, state, train, held_out)
  latents = sample_latents(gan.latent, example_keys(key, 60, None))
  fake = gan_lib.sample(gan, state.g.weights, latents, None)
  average = gan_lib.sample(gan, other, latents, None)
  rows = [np.asarray(x).reshape(60, -1) for x in (train.images, held_out.images, fake, average)]
  outputs = [
    np.asarray(gan_lib.logits(gan, state.d.weights, x, None))
    for x in (train.images, held_out.images, fake)
  ]
  return {name: float(x) for name, x in found.items()}, rows, outputs, gan


def inside(x):
  return cdist(x, x).sum() / (len(x) * (len(x) - 1))


def test_distances_are_those_of_scipy():
  found, (train, held_out, fake, average), _, _ = seen()
  unit = inside(held_out)
  apart, alike = cdist(held_out, fake), cdist(held_out, train)
  near = lambda d: (d.min(axis=0).mean() + d.min(axis=1).mean()) / 2
  assert found['watch_gap'] == pytest.approx(
    (2 * apart.mean() - inside(fake) - unit) / unit, rel=1e-3
  )
  assert found['watch_near'] == pytest.approx(near(apart) / near(alike) - 1, rel=1e-3)
  assert found['watch_spread'] == pytest.approx(inside(fake) / unit, rel=1e-3)
  drift = np.linalg.norm(fake - average, axis=1).mean() / unit
  assert found['watch_drift'] == pytest.approx(drift, rel=1e-3)


def test_what_d_ranks_is_the_area_under_its_curve():
  found, _, (train, held_out, fake), _ = seen()
  labels = np.repeat([1, 0], 60)
  own = roc_auc_score(labels, np.concatenate([held_out, fake]))
  overfit = roc_auc_score(labels, np.concatenate([train, held_out]))
  assert found['watch_own'] == pytest.approx(own, abs=1e-5)
  assert found['watch_overfit'] == pytest.approx(overfit, abs=1e-5)


def test_the_slope_of_the_non_saturating_loss_is_what_d_denies():
  found, _, (_, _, fake), _ = seen()
  assert found['watch_slope'] == pytest.approx(np.mean(1 / (1 + np.exp(fake))), rel=1e-5)


def test_the_saturating_loss_has_none_where_d_is_sure():
  saturating, plain = tiny_gan('saturating')[0], tiny_gan()[0]
  flat = training_monitors.generator_loss_slope(saturating, jnp.full(8, 20.0), jnp.full(8, -20.0))
  steep = training_monitors.generator_loss_slope(plain, jnp.full(8, 20.0), jnp.full(8, -20.0))
  assert float(flat) < 1e-8
  assert float(steep) == pytest.approx(1)
