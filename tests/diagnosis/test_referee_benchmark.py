"""Tests the benchmark of the referee: each sampler has its fault, and tables count correctly."""

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
def data(name='ring'):
  return benchmark_data.draw_synthetic_data(name, 0)


def modes_and_distances(samples):
  return benchmark_data.SYNTHETIC_DATASETS['ring'][0](samples)


def mode_counts(samples):
  return np.bincount(modes_and_distances(samples)[0], minlength=8)


def rng():
  return np.random.default_rng(0)


def test_perfect_samples_are_in_no_other_set():
  fake = faulty_samplers.perfect_samples(data(), rng())
  assert len(np.unique(np.concatenate([fake, data().train, data().held_out]), axis=0)) == 100_000


def test_dropped_modes_are_missing_and_others_unchanged():
  counts = mode_counts(faulty_samplers.dropped_modes(data(), rng()))
  assert 1 <= (counts == 0).sum() <= 4
  kept = counts[counts > 0]
  assert kept.max() / kept.min() < 1.1


def test_reweighted_modes_are_all_present():
  counts = mode_counts(faulty_samplers.reweighted_modes(data(), rng()))
  assert counts.min() > 0
  assert counts.max() / counts.min() > 2.5


def test_shrunken_modes_are_narrower():
  shrunken = faulty_samplers.shrunken_modes(data(), rng())
  whole, core = modes_and_distances(data().pool)[1], modes_and_distances(shrunken)[1]
  assert core.max() < 0.6 * whole.max()


def test_noise_is_once_to_twice_the_visible_std():
  noisy = np.linalg.norm(faulty_samplers.noisy_samples(data(), rng()), axis=1) - 1
  clean = np.linalg.norm(data().pool, axis=1) - 1
  added = np.sqrt(noisy.var() - clean.var())
  assert 0.9 * data().noise_std < added < 2.1 * data().noise_std


def test_copies_are_training_data_and_jittered_ones_near_them():
  tree = cKDTree(data().train)
  assert tree.query(faulty_samplers.training_copies(data(), rng()))[0].max() == 0
  distances = tree.query(faulty_samplers.jittered_copies(data(), rng()))[0]
  between_neighbours = np.median(tree.query(data().train, k=2)[0][:, 1])
  assert 0 < np.median(distances) < 0.2 * between_neighbours


@pytest.mark.parametrize('name', benchmark_data.SYNTHETIC_DATASETS)
def test_every_distribution_has_modes_and_distances_to_their_centres(name):
  drawn = data(name)
  assert set(np.unique(drawn.modes)) == set(range(drawn.modes.max() + 1))
  assert (drawn.distance_rank.min(), drawn.distance_rank.max()) == (0, 1)


@pytest.mark.slow
def test_a_healthy_discriminator_detects_noise_and_an_untrained_one_does_not():
  fake = faulty_samplers.noisy_samples(data(), rng())
  untrained = benchmark_discriminators.train_and_apply_discriminator(data(), 'untrained', fake, 0)
  healthy = benchmark_discriminators.train_and_apply_discriminator(data(), 'healthy', fake, 0)
  accuracy = lambda x: (np.mean(x.held_out > 0) + np.mean(x.fake < 0)) / 2
  assert accuracy(untrained) < 0.6 < accuracy(healthy)


def test_a_case_is_the_same_every_time():
  case = Case('ring', 'noise, D untrained', 3)
  first, second = (fault_cases.build_case(case, data()) for _ in range(2))
  np.testing.assert_array_equal(first.fake, second.fake)
  np.testing.assert_array_equal(first.outputs.fake, second.outputs.fake)


def test_there_are_three_hundred_cases_and_half_are_test_cases():
  cases = list(fault_cases.iterate_cases(4))
  assert len(cases) == len(set(cases)) >= 300
  assert sum(case.seed % 2 for case in cases) == len(cases) / 2


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


def test_the_table_counts_test_cases_only():
  train = [
    record('noise', 0, 'G behind', 'converged'),
    record('perfect', 2, 'converged', 'converged'),
  ]
  test = [record('noise', 1, 'G behind', 'G behind')] * 3
  test += [record('perfect', 1, 'converged', 'G behind')] + [
    record('perfect', 3, 'converged', 'converged')
  ] * 4
  text = accuracy_tables.format_summary(train + test)
  assert '10 cases, 8 of them test cases' in text
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
