"""What either player could still gain while the other stands still."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from gan_jax.config.config import Config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import duality_gap
from gan_jax.evaluation.tasks import load_task
from gan_jax.gan import gan as gan_lib
from gan_jax.gan import update_ratio
from gan_jax.gan.train_step import TrainSpec
from gan_jax.training.train_spec import train_spec_fn
from tests.helpers.tiny_gan import tiny_gan

FEED = device_batches.synthetic_batches(SYNTHETIC['gaussian'].sample)


def recipe(lr=0.05):
  gan, key, state = tiny_gan(shape=(1,), network='relu', lr=lr)
  return (
    TrainSpec(gan, 'alternating', update_ratio.ratio_from_float(1.0), 64, FEED, FEED),
    key,
    state,
  )


def test_the_gap_is_never_below_zero_and_vanishes_without_a_step():
  still, key, state = recipe(lr=0.0)
  found = duality_gap.estimate_duality_gap(
    lambda numbers: still, {}, key, state, DeviceData(()), 10
  )
  assert found.gap == pytest.approx(0, abs=1e-6)


def test_each_player_gains_alone():
  game, key, state = recipe()
  few, many = (
    duality_gap.estimate_duality_gap(lambda numbers: game, {}, key, state, DeviceData(()), n)
    for n in (10, 200)
  )
  assert many.gap > few.gap > 0
  assert many.best_d > few.best_d
  assert many.best_g < few.best_g


def test_an_undecided_d_leaves_nothing_to_g():
  game, key, state = recipe()
  zeros = jax.tree.map(jnp.zeros_like, state.d.params)
  state = state.replace(d=state.d.replace(params=zeros))
  found = duality_gap.estimate_duality_gap(lambda numbers: game, {}, key, state, DeviceData(()), 10)
  assert found.best_g == pytest.approx(-math.log(4), abs=1e-5)


def test_a_good_g_leaves_less_to_d_than_a_bad_one():
  game, key, state = recipe()
  # G of one latent at the mean and spread of the data, and one that stands far off.
  near = _shifted(state, 0.0)
  far = _shifted(state, 5.0)
  found = [
    duality_gap.estimate_duality_gap(lambda numbers: game, {}, key, x, DeviceData(()), 200).best_d
    for x in (near, far)
  ]
  assert found[1] > found[0] + 0.3


def _shifted(state: gan_lib.GanState, by: float) -> gan_lib.GanState:
  params = jax.tree.map(lambda x: x + by if x.shape == (1,) else x, state.g.params)
  return state.replace(g=state.g.replace(params=params))


def test_runs_that_differ_in_numbers_share_a_compiled_search():
  base = Config(dataset='gaussian', network='relu', latent='normal', latent_size=1, referee_every=0)
  task = load_task(base, None)
  ours, other, wide = (
    train_spec_fn(dataclasses.replace(base, **change), task)
    for change in ({}, {'g_lr': 0.5, 'seed': 3, 'steps': 7}, {'g_width': 3})
  )
  assert ours == other
  assert hash(ours) == hash(other)
  assert ours != wide
