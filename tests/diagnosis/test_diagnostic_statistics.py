"""Tests the statistics of samples beside those of a perfect sampler."""

import functools
import json
import math

import jax
import numpy as np
import pytest

from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis.diagnostic_statistics import (
  compute_diagnostic_statistics,
  compute_reference_statistics,
)
from gan_jax.diagnosis.discriminator_calibration import (
  DiscriminatorOutputs,
  compute_discriminator_statistics,
)
from gan_jax.diagnosis.training_monitors import MonitorHistory, monitor_history_from_records
from gan_jax.diagnosis.verdict_formatting import statistics_as_json
from gan_jax.metrics import embeddings

N = 2500  # one split
COMPILE_OPTIMIZED = True  # the probes run longer than they compile


@functools.cache
def points(seed):
  keys = jax.random.split(jax.random.key(seed), N)
  return np.asarray(jax.vmap(SYNTHETIC['ring'].sample)(keys))


@functools.cache
def reference(with_train=True):
  train = points(0) if with_train else None
  return compute_reference_statistics(train, points(1), embeddings.point_embedding)


@functools.cache
def perfect():
  return compute_diagnostic_statistics(reference(), points(2))


@functools.cache
def copied():
  return compute_diagnostic_statistics(reference(), points(0)[::-1])


def test_a_perfect_sampler_scores_as_data_do():
  s = perfect()
  assert abs(s.separation.bound.value) < 0.03
  assert s.separation.p > 0.01
  assert s.parts == []
  scores, null = s.scores, s.null_scores
  coverage = null.precision_recall.coverage
  assert scores.precision_recall.coverage == pytest.approx(coverage, abs=0.05)
  assert scores.frechet_distance < 0.01
  assert scores.memorisation.authentic == pytest.approx(null.memorisation.authentic, abs=5)
  assert s.set_sizes == {'train': N, 'held_out': N, 'fake': N}


def test_copies_are_not_authentic():
  memorisation = copied().scores.memorisation
  assert memorisation.authentic == 0
  assert memorisation.near == 1
  assert memorisation.copying < -10


def test_without_training_data_memorisation_is_unknown():
  s = compute_diagnostic_statistics(reference(with_train=False), points(2))
  assert s.scores.memorisation is None
  assert 'memorisation' not in statistics_as_json(s)


def test_samples_that_are_not_finite_are_counted_and_left_out():
  broken = points(2).copy()
  broken[::2] = np.nan
  s = compute_diagnostic_statistics(reference(), broken)
  assert s.finite_share == 0.5
  assert s.separation.p > 0.01  # the rest is judged
  assert math.isfinite(s.scores.frechet_distance)
  with pytest.raises(ValueError, match='0 finite samples'):
    compute_diagnostic_statistics(reference(), np.full_like(broken, np.inf))


def test_samples_far_from_the_data_have_finite_statistics():
  s = compute_diagnostic_statistics(reference(), 1e20 * points(2))
  assert s.separation.bound.value == pytest.approx(math.log(2), abs=0.01)
  assert s.spread_ratio > 1e10


def test_statistics_convert_to_json():
  text = json.dumps(statistics_as_json(perfect()), allow_nan=False)
  assert json.loads(text)['ladder'][0]['sigma'] == 0


def test_the_same_seed_gives_the_same_statistics():
  again = compute_diagnostic_statistics(reference(), points(2))
  assert statistics_as_json(again) == statistics_as_json(perfect())


def outputs(edge, overfit=0.0, n=2000):
  rng = np.random.default_rng(0)
  return DiscriminatorOutputs(
    rng.normal(edge + overfit, 1, n), rng.normal(edge, 1, n), rng.normal(-edge, 1, n), 0.5
  )


def test_the_discriminator_bound_does_not_depend_on_the_scale_of_outputs():
  first, second = outputs(1.0), outputs(1.0)
  loud = second._replace(held_out=9 * second.held_out + 4, fake=9 * second.fake + 4)
  a, b = (
    compute_discriminator_statistics(first),
    compute_discriminator_statistics(loud),
  )
  assert a.held_out_bound.value == pytest.approx(b.held_out_bound.value, rel=1e-3)
  assert 0.2 < a.held_out_bound.value < math.log(2)


def test_an_overfitted_discriminator_ranks_training_data_above_held_out():
  assert compute_discriminator_statistics(outputs(1.0)).train_above_held_out == pytest.approx(
    0.5, abs=0.04
  )
  assert compute_discriminator_statistics(outputs(1.0, overfit=2.0)).train_above_held_out > 0.85


def test_few_training_examples_widen_the_null_of_overfitting():
  few = outputs(1.0)._replace(train=outputs(1.0).train[:50])
  assert compute_discriminator_statistics(few).train_above_held_out_std == pytest.approx(
    math.sqrt(2051 / (12 * 50 * 2000))
  )


def test_the_monitor_history_comes_from_the_records():
  monitors = {f'watch_{name}': 0.5 for name in MonitorHistory._fields[1:]}
  records = [{'step': 1, 'd_loss': 1.0}, {'step': 2, **monitors}, {'step': 4, **monitors}]
  history = monitor_history_from_records(records)
  assert history.steps == [2, 4]
  assert history.gap == [0.5, 0.5]
  assert monitor_history_from_records(records[:1]) is None


def test_drift_is_unknown_while_the_average_holds_initial_weights():
  monitors = {f'watch_{name}': 0.5 for name in MonitorHistory._fields[1:]}
  records = [{'step': step, **monitors} for step in (100, 300, 500)]
  drift = monitor_history_from_records(records, ema_decay=0.99).drift
  assert [math.isnan(x) for x in drift] == [True, False, False]


def test_the_order_of_rows_has_no_effect():
  by_first = lambda x: x[np.argsort(x[:, 0])]
  expected = statistics_as_json(perfect())
  train, held_out, fake = (by_first(points(i)) for i in range(3))
  real = compute_reference_statistics(train, held_out, embeddings.point_embedding)
  assert statistics_as_json(compute_diagnostic_statistics(real, fake)) == expected
