"""What is gathered about samples, beside what a perfect sampler gets."""

import functools
import json
import math

import jax
import numpy as np
import pytest

from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import diagnostic_statistics, discriminator_bound
from gan_jax.diagnosis.discriminator_bound import DiscriminatorOutputs
from gan_jax.metrics import embeddings

N = 2000


@functools.cache
def points(seed):
  keys = jax.random.split(jax.random.key(seed), N)
  return np.asarray(jax.vmap(SYNTHETIC['ring'].sample)(keys))


@functools.cache
def reference(with_train=True):
  train = points(0) if with_train else None
  return diagnostic_statistics.compute_reference_statistics(
    train, points(1), embeddings.point_embedding(points(0))
  )


@functools.cache
def perfect():
  return diagnostic_statistics.compute_diagnostic_statistics(reference(), points(2))


@functools.cache
def copied():
  return diagnostic_statistics.compute_diagnostic_statistics(reference(), points(0)[::-1])


def test_a_perfect_sampler_gets_what_data_get():
  e = perfect()
  assert abs(e.ladder[0][1].value) < 0.03
  assert abs(e.null.value) < 0.03  # a part of 400 examples scores
  assert e.manifold.coverage == pytest.approx(e.manifold_null.coverage, abs=0.05)
  assert e.frechet < 0.01
  assert e.memory.authentic == pytest.approx(e.memory_null.authentic, abs=5)
  assert e.n == {'train': N, 'held_out': N, 'fake': N}


def test_copies_are_not_authentic():
  assert copied().memory.authentic == 0
  assert copied().memory.near == 1
  assert copied().memory.copying < -10


def test_without_training_data_nothing_is_said_of_memory():
  e = diagnostic_statistics.compute_diagnostic_statistics(reference(with_train=False), points(2))
  assert e.memory is None
  assert 'memorisation' not in diagnostic_statistics.statistics_as_json(e)


def test_samples_that_are_no_numbers_are_counted_and_left_out():
  broken = points(2).copy()
  broken[::2] = np.nan
  e = diagnostic_statistics.compute_diagnostic_statistics(reference(), broken)
  assert not e.finite
  assert math.isfinite(e.frechet)
  nothing = diagnostic_statistics.compute_diagnostic_statistics(
    reference(), np.full_like(broken, np.inf)
  )
  assert not nothing.finite
  assert all(math.isfinite(bound.value) for _, bound in nothing.ladder)


def test_samples_far_off_are_finite_evidence():
  e = diagnostic_statistics.compute_diagnostic_statistics(reference(), 1e20 * points(2))
  assert e.ladder[0][1].value == pytest.approx(math.log(2), abs=0.01)
  assert e.far > 1e10


def test_evidence_is_json():
  text = json.dumps(diagnostic_statistics.statistics_as_json(perfect()), allow_nan=False)
  assert json.loads(text)['ladder'][0]['sigma'] == 0


def test_the_same_seed_finds_the_same():
  again = diagnostic_statistics.compute_diagnostic_statistics(reference(), points(2))
  assert diagnostic_statistics.statistics_as_json(
    again
  ) == diagnostic_statistics.statistics_as_json(perfect())


def outputs(edge, overfit=0.0, n=2000):
  rng = np.random.default_rng(0)
  return DiscriminatorOutputs(
    rng.normal(edge + overfit, 1, n), rng.normal(edge, 1, n), rng.normal(-edge, 1, n), 0.5
  )


def test_what_its_own_d_knows_does_not_depend_on_its_confidence():
  first, second = outputs(1.0), outputs(1.0)
  loud = second._replace(held_out=9 * second.held_out + 4, fake=9 * second.fake + 4)
  a, b = (
    discriminator_bound.compute_discriminator_statistics(first),
    discriminator_bound.compute_discriminator_statistics(loud),
  )
  assert a.held_out.value == pytest.approx(b.held_out.value, rel=1e-3)
  assert 0.2 < a.held_out.value < math.log(2)


def test_an_overfitted_d_ranks_training_data_above_held_out():
  assert discriminator_bound.compute_discriminator_statistics(
    outputs(1.0)
  ).overfit == pytest.approx(0.5, abs=0.04)
  assert (
    discriminator_bound.compute_discriminator_statistics(outputs(1.0, overfit=2.0)).overfit > 0.85
  )


def test_few_training_examples_say_so_by_a_wide_null():
  few = outputs(1.0)._replace(train=outputs(1.0).train[:50])
  assert discriminator_bound.compute_discriminator_statistics(few).overfit_std == pytest.approx(
    math.sqrt(2051 / (12 * 50 * 2000))
  )


def test_the_course_of_a_run_comes_from_its_records():
  watched = {f'watch_{name}': 0.5 for name in diagnostic_statistics.MonitorHistory._fields[1:]}
  records = [{'step': 1, 'd_loss': 1.0}, {'step': 2, **watched}, {'step': 4, **watched}]
  course = diagnostic_statistics.monitor_history_from_records(records)
  assert course.steps == [2, 4]
  assert course.gap == [0.5, 0.5]
  assert diagnostic_statistics.monitor_history_from_records(records[:1]) is None


def test_drift_is_unknown_until_the_average_has_forgotten_the_start():
  watched = {f'watch_{name}': 0.5 for name in diagnostic_statistics.MonitorHistory._fields[1:]}
  records = [{'step': step, **watched} for step in (100, 300, 500)]
  drift = diagnostic_statistics.monitor_history_from_records(records, ema_decay=0.99).drift
  assert [math.isnan(x) for x in drift] == [True, False, False]
