"""The benchmark of the referee: faults are what they are called, and counts are right."""

import functools

import numpy as np
import pytest
from scipy.spatial import cKDTree

from experiments.referee_benchmark import (
  accuracy_tables,
  benchmark_data,
  benchmark_discriminators,
  fault_cases,
  faulty_samplers,
)
from experiments.referee_benchmark.fault_cases import Case


@functools.cache
def world(name='ring'):
  return benchmark_data.draw_synthetic_data(name, 0)


def located(samples):
  return benchmark_data.SYNTHETIC_DATASETS['ring'][0](samples)


def rng():
  return np.random.default_rng(0)


def test_perfect_samples_are_data_that_nobody_else_has():
  fake = faulty_samplers.perfect_samples(world(), rng())
  assert len(np.unique(np.concatenate([fake, world().train, world().held_out]), axis=0)) == 100_000


def test_dropped_modes_are_gone_and_others_as_they_were():
  shares = np.bincount(
    located(faulty_samplers.samples_with_dropped_modes(world(), rng()))[0], minlength=8
  )
  assert 1 <= (shares == 0).sum() <= 4
  kept = shares[shares > 0]
  assert kept.max() / kept.min() < 1.1


def test_reweighted_modes_are_all_there():
  shares = np.bincount(
    located(faulty_samplers.samples_with_reweighted_modes(world(), rng()))[0], minlength=8
  )
  assert shares.min() > 0
  assert shares.max() / shares.min() > 2.5


def test_shrunken_modes_are_narrower():
  whole, core = (
    located(world().pool)[1],
    located(faulty_samplers.samples_with_shrunken_modes(world(), rng()))[1],
  )
  assert core.max() < 0.6 * whole.max()


def test_noise_is_of_one_to_two_grains():
  moved = np.linalg.norm(faulty_samplers.noisy_samples(world(), rng()), axis=1) - 1
  own = np.linalg.norm(world().pool, axis=1) - 1
  added = np.sqrt(moved.var() - own.var())
  assert 0.9 * world().grain < added < 2.1 * world().grain


def test_replays_are_training_data_and_jitter_stays_near_them():
  tree = cKDTree(world().train)
  assert tree.query(faulty_samplers.training_copies(world(), rng()))[0].max() == 0
  distances = tree.query(faulty_samplers.jittered_training_copies(world(), rng()))[0]
  apart = np.median(tree.query(world().train, k=2)[0][:, 1])
  assert 0 < np.median(distances) < 0.2 * apart


@pytest.mark.parametrize('name', benchmark_data.SYNTHETIC_DATASETS)
def test_every_game_has_cells_and_middles(name):
  found = world(name)
  assert set(np.unique(found.cells)) == set(range(found.cells.max() + 1))
  assert (found.middle.min(), found.middle.max()) == (0, 1)


@pytest.mark.slow
def test_an_untrained_d_knows_nothing_and_a_healthy_one_sees_noise():
  fake = faulty_samplers.noisy_samples(world(), rng())
  untrained = benchmark_discriminators.train_and_apply_discriminator(world(), 'untrained', fake, 0)
  healthy = benchmark_discriminators.train_and_apply_discriminator(world(), 'healthy', fake, 0)
  right = lambda x: (np.mean(x.held_out > 0) + np.mean(x.fake < 0)) / 2
  assert right(untrained) < 0.6 < right(healthy)


def test_a_case_is_the_same_every_time():
  case = Case('ring', 'noise, D untrained', 3)
  first, second = (fault_cases.build_case(case, world()) for _ in range(2))
  np.testing.assert_array_equal(first.fake, second.fake)
  np.testing.assert_array_equal(first.outputs.fake, second.outputs.fake)


def test_there_are_three_hundred_cases_and_half_of_them_unseen():
  planted = list(fault_cases.iterate_cases(4))
  assert len(planted) == len(set(planted)) >= 300
  assert sum(case.seed % 2 for case in planted) == len(planted) / 2


def record(kind, seed, truth, verdict):
  numbers = {'precision': 1.0, 'recall': 1.0, 'density': 1.0, 'coverage': 1.0}
  evidence = {
    'own': {'mean_real': 0.5, 'mean_fake': 0.5},
    'histogram': {'edges': [-1.0, 1.0], 'train': [1.0], 'fake': [1.0]},
    'frechet': {'fake': 1.0 if truth == 'converged' else 9.0, 'null': 1.0},
    'manifold': numbers,
    'manifold_null': numbers,
  }
  case = {'world': 'ring', 'kind': kind, 'seed': seed}
  return {'truth': [truth], 'verdict': verdict, 'evidence': evidence, 'losses': None} | {
    'protocol': {'case': case}
  }


def test_the_table_counts_unseen_cases_only():
  known = [
    record('noise', 0, 'G behind', 'converged'),
    record('perfect', 2, 'converged', 'converged'),
  ]
  asked = [record('noise', 1, 'G behind', 'G behind')] * 3
  asked += [record('perfect', 1, 'converged', 'G behind')] + [
    record('perfect', 3, 'converged', 'converged')
  ] * 4
  text = accuracy_tables.format_summary(known + asked)
  assert '10 cases, 8 of them unseen' in text
  assert (
    f'| the referee | {accuracy_tables.format_share(7, 8)} | {accuracy_tables.format_share(4, 5)} |'
    in text
  )
  assert f'| Frechet distance alone | {accuracy_tables.format_share(8, 8)} |' in text
  assert '| perfect | 4/5 | G behind 1 |' in text
  assert '| converged | 1 | 4 |' in text


def test_shares_have_exact_intervals():
  assert accuracy_tables.format_share(95, 100) == '95/100 = 95.0% [88.7%, 98.4%]'
  assert accuracy_tables.format_share(0, 0) == 'no case'
