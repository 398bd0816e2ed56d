"""Tests how much either player gains while the other one is fixed."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest

from gan_jax.config.run_config import Config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import duality_gap
from gan_jax.evaluation.tasks import load_task
from gan_jax.gan.train_step import TrainSpec
from gan_jax.gan.update_ratio import ratio_from_float
from gan_jax.training.train_spec import train_spec_fn
from tests.helpers.tiny_gan import tiny_gan

BATCHES = device_batches.synthetic_batches(SYNTHETIC['gaussian'].sample)


@functools.cache
def spec_and_state(lr=0.05):
  gan, _, state = tiny_gan(shape=(1,), network='relu', lr=lr)
  return TrainSpec(gan, 'alternating', ratio_from_float(1.0), 64, BATCHES, BATCHES), state


def gap_of(spec, state, n_updates):
  return duality_gap.estimate_duality_gap(
    lambda _: spec, {}, jax.random.key(7), state, DeviceData(()), n_updates
  )


def test_the_gap_is_never_below_zero_and_vanishes_without_a_step():
  assert gap_of(*spec_and_state(lr=0.0), 10).gap == pytest.approx(0, abs=1e-6)


def test_each_player_gains_alone():
  few, many = (gap_of(*spec_and_state(), n) for n in (10, 200))
  assert many.gap > few.gap > 0
  assert many.best_d > few.best_d
  assert many.best_g < few.best_g


def test_against_a_constant_discriminator_g_gains_nothing():
  spec, state = spec_and_state()
  zeros = jax.tree.map(jnp.zeros_like, state.d.params)
  state = state.replace(d=state.d.replace(params=zeros))
  assert gap_of(spec, state, 10).best_g == pytest.approx(-math.log(4), abs=1e-5)


def test_a_good_generator_leaves_less_to_d_than_a_bad_one():
  spec, state = spec_and_state()
  # Shifts move the samples from the mean of the data to far off.
  near, far = (gap_of(spec, _shift_biases(state, by), 200).best_d for by in (0.0, 5.0))
  assert far > near + 0.3


def _shift_biases(state, by):
  params = jax.tree.map(lambda x: x + by if x.shape == (1,) else x, state.g.params)
  return state.replace(g=state.g.replace(params=params))


def test_runs_that_differ_in_numbers_share_a_compiled_program():
  base = Config(dataset='gaussian', network='relu', latent='normal', latent_size=1, referee_every=0)
  task = load_task(base, None)
  spec_fn, other, wide = (
    train_spec_fn(dataclasses.replace(base, **change), task)
    for change in ({}, {'g_lr': 0.5, 'seed': 3, 'steps': 7}, {'g_width': 3})
  )
  assert spec_fn == other
  assert hash(spec_fn) == hash(other)
  assert spec_fn != wide
