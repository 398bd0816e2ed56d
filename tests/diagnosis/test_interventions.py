import collections
import dataclasses
import json
import math
import pathlib

import jax
import numpy as np
import pytest
import scipy.spatial

from experiments.referee_benchmark import (
  advice_scores,
  held_out_distances,
  interventions,
  real_runs,
  run_programs,
  train_real_run,
)
from experiments.referee_benchmark.interventions import AVERAGED, UNCHANGED, Fork
from gan_jax.config.run_config import Config
from gan_jax.training import load_run, metric_writers

RUNS = real_runs.list_real_runs('/data')


def test_runs_are_enough_of_each_kind_and_can_be_run():
  assert len(RUNS) >= 80
  assert len({run.name for run in RUNS}) == len(RUNS)
  assert len(RUNS) / 5 < sum('_28' in run.world for run in RUNS) < len(RUNS) / 3
  for run in RUNS:
    Config(**run.settings)
  assert real_runs.list_real_runs('/data') == RUNS


def test_a_third_of_the_kinds_and_half_of_the_seeds_are_not_for_tuning():
  kinds = {run.kind for run in RUNS} - {*real_runs.HEALTHY}
  assert {*real_runs.HELD_OUT_KINDS} < kinds
  assert 0.28 < len(real_runs.HELD_OUT_KINDS) / len(kinds) < 0.38
  tune = [run for run in RUNS if run.half == 'tune']
  assert not any(run.held_out_kind or run.seed % 2 for run in tune)
  assert len(tune) > len(RUNS) / 4


def test_any_first_part_of_the_runs_is_of_many_worlds_and_kinds():
  for n, n_worlds, n_kinds in ((20, 10, 5), (50, 15, 12), (80, 15, 18)):
    worlds = collections.Counter(run.world for run in RUNS[:n])
    assert len(worlds) >= n_worlds
    assert max(worlds.values()) <= n / 4
    assert len({run.kind for run in RUNS[:n]}) >= n_kinds
    assert {run.half for run in RUNS[:n]} == {'tune', 'test'}


def test_energy_distance_equals_that_of_scipy_and_is_zero_for_real_points():
  n = held_out_distances.N_POINTS
  points = np.random.default_rng(0).normal(size=(4 * n, 2)).astype(np.float32)
  measure = held_out_distances.point_measure(points)
  moved = points[-n:] * 1.2 + 0.1
  pairs = lambda x, y: scipy.spatial.distance.cdist(x, y).sum()
  own = lambda x: pairs(x, x) / (n * (n - 1))
  real = points[:n]
  unit = own(real)
  expected = (2 * pairs(real, moved) / n**2 - own(real) - own(moved)) / unit
  assert measure.measure(moved)['energy'] == pytest.approx(expected, rel=1e-3)
  assert abs(measure.null_mean['energy']) < 4 * measure.null_std['energy'] < 0.01
  null, far = measure.measure(points[-n:]), measure.measure(moved)
  assert measure.log_distance(null) < measure.log_distance(far) - 0.5
  assert measure.log_distance({'energy': math.nan, 'fine': 1.0}) == math.inf


def test_frechet_distance_of_images_grows_with_noise_and_refuses_nan():
  random = np.random.default_rng(1)
  real = random.integers(0, 120, (3000, 8, 8, 1), np.uint8)
  measure = held_out_distances.image_measure(real, None)
  assert [*measure.null_mean] == ['frechet_random']
  noisy = lambda std: (
    real[: held_out_distances.N_IMAGES] / 127.5
    - 1
    + random.normal(0, std, (held_out_distances.N_IMAGES, 8, 8, 1))
  )
  logs = [measure.log_distance(measure.measure(noisy(std))) for std in (0.0, 0.3, 0.8)]
  assert logs == sorted(logs)
  assert measure.log_distance(measure.measure(noisy(math.nan))) == math.inf


def forks_of(logs):
  """Returns forks by their log-distances: change -> one for each seed; averaged weights are .5 better."""
  return [
    Fork(name, seed, {}, 10, value, value - 0.5, {'energy': 1.0})
    for name, values in logs.items()
    for seed, value in enumerate(values)
  ]


def test_effects_are_log_ratios_to_going_on_unchanged():
  forks = forks_of(
    {
      UNCHANGED: [-1.0, -1.2, -1.1, -0.9],
      'd_lr_up': [-2.0, -2.2],
      'g_lr_up': [-1.1, -1.3],
      'lower_rates': [math.inf, -1.0],
    }
  )
  effects = interventions.effects_of_changes(forks, -0.5)
  assert effects[UNCHANGED].log_ratio == 0
  assert effects[UNCHANGED].log_ratio_start == pytest.approx(-1.05 + 0.5)
  assert effects['d_lr_up'].log_ratio == pytest.approx(-1.05)
  assert effects['g_lr_up'].log_ratio == pytest.approx(-0.15)
  assert effects[AVERAGED].log_ratio == pytest.approx(-0.5)
  assert effects['lower_rates'].log_ratio > 1  # a fork that diverged counts as much worse
  assert [name for name, effect in effects.items() if effect.helps] == ['d_lr_up', AVERAGED]


def test_one_unstable_change_does_not_hide_the_effects_of_others():
  calm = {f'change {i}': [-1.0, -1.1] for i in range(8)}
  logs = {UNCHANGED: [-1.0, -1.1], 'd_lr_up': [-1.6, -1.7], **calm}
  effects = interventions.effects_of_changes(forks_of(logs | {'larger_g': [3.0, -1.0]}), 0.0)
  assert effects['d_lr_up'].helps
  assert effects['larger_g'].error > 5 * effects['d_lr_up'].error


def test_a_fork_survives_json():
  fork = Fork('d_lr_up', 1, {'d_lr': 1.0}, 10, math.inf, math.nan, {'energy': 0.5})
  record = json.loads(json.dumps(interventions.fork_as_json('run', fork)))
  assert record['log_distance'] is None
  back = interventions.fork_from_json(record)
  assert back.log_distance == math.inf
  assert math.isnan(back.log_distance_ema)
  assert back._replace(log_distance_ema=0) == fork._replace(log_distance_ema=0)


def test_changes_apply_where_they_change_something():
  usual = real_runs.WORLDS['mnist_8'].settings
  config = Config(**usual)
  names = set(interventions.applicable_changes(config, usual))
  assert names == set(interventions.CHANGES) - {'smaller_d', 'd_dropout'}
  sick = dataclasses.replace(config, r1=0.0, g_b1=0.0, d_b1=0.0, d_width=3)
  changes = interventions.applicable_changes(sick, usual)
  assert not {'penalty_down', 'no_momentum'} & set(changes)
  assert changes['penalty_up'] == {'r1': usual['r1']}
  assert changes['larger_d'] == {'d_width': usual['d_width']}
  for values in changes.values():
    dataclasses.replace(sick, **values)


def record(name, ratios, half='test'):
  """Returns a result with these log-ratios, of which those below -.1 help."""
  effects = {UNCHANGED: {'log_ratio': 0.0}} | {k: {'log_ratio': v} for k, v in ratios.items()}
  helps = sorted((x for x, ratio in ratios.items() if ratio < -0.1), key=lambda x: ratios[x])
  return {'name': name, 'half': half, 'effects': effects, 'helps': helps}


def test_advice_is_scored_by_what_the_change_did():
  records = [
    record('a', {'d_lr_up': -1.0, 'g_lr_up': 0.5}),
    record('b', {'d_lr_up': 0.3, 'g_lr_up': -0.2}),
    record('c', {'d_lr_up': 0.1, 'g_lr_up': 0.2}),
  ]
  score = advice_scores.score_advice(records, lambda r: ['larger_g', 'd_lr_up'])
  assert (score.helped, score.n, score.needless, score.n_nothing) == (1, 2, 0, 1)
  assert score.log_ratio == pytest.approx((-1.0 + 0.3) / 2)
  none = advice_scores.score_advice(records, lambda r: [])
  assert (none.helped, none.needless, none.share) == (0, 1, 0)
  random = advice_scores.score_random_advice(records)
  assert random.helped == pytest.approx(1.0)
  assert random.log_ratio == pytest.approx((-0.25 + 0.05) / 2)
  without = advice_scores.score_advice(records, lambda r: ['d_lr_up'], frozenset({'d_lr_up'}))
  assert (without.n, without.n_nothing, without.helped) == (1, 2, 0)
  assert advice_scores.same_advice(records)(records[2]) == ['d_lr_up', 'g_lr_up']


def test_a_forest_learns_advice_from_what_tells_the_faults_apart():
  def faulty(i):
    sign = 1 if i % 2 else -1
    return record(str(i), {'d_lr_up': -0.5 * sign, 'g_lr_up': 0.5 * sign}) | {'clue': float(sign)}

  records = [faulty(i) for i in range(40)]
  adviser = advice_scores.fit_adviser(lambda r: [r['clue']], records[:20])
  score = advice_scores.score_advice(records[20:], adviser)
  assert (score.helped, score.n) == (20, 20)
  assert 'x 0.6' in advice_scores.format_advice_table({'forest': score})


@pytest.mark.slow
def test_a_trained_run_is_a_run_folder_and_its_forks_are_measured(tmp_path):
  run = next(run for run in RUNS if run.name == 'ring-healthy-0')
  small = {'steps': 40, 'g_width': 8, 'd_width': 8, 'log_every': 10, 'referee_every': 10}
  config = Config(**run.settings | small | {'eval_every': 20, 'checkpoint_every': 40})
  programs = run_programs.RunPrograms()
  world = run_programs.open_world('ring', 0, '', None)
  trained = train_real_run.train_or_load(programs, world, config, tmp_path / 'run')
  loaded = load_run.load_run(tmp_path / 'run', 'last')
  assert (loaded.step, loaded.config) == (40, config)
  records = metric_writers.read_metrics(tmp_path / 'run' / 'metrics.jsonl')
  assert [r['step'] for r in records if 'watch_gap' in r] == [10, 20, 30, 40]
  again = train_real_run.train_or_load(programs, world, config, tmp_path / 'run')
  assert again.log_distance == trained.log_distance
  fork = lambda name, changes, seed: interventions.fork_and_measure(
    programs, world, config, trained.state, (name, changes), seed, 20
  )
  unchanged = fork(UNCHANGED, {}, 0)
  assert (unchanged, fork(UNCHANGED, {}, 0)) == (fork(UNCHANGED, {}, 0), unchanged)
  assert unchanged.log_distance != fork(UNCHANGED, {}, 1).log_distance
  assert unchanged.steps == 20
  assert fork('more_d_updates', {'k': '3'}, 0).steps < 15  # of equal compute
  assert math.isfinite(fork('larger_d', {'d_width': 16}, 0).log_distance)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained.state))


def test_recorded_results_are_of_the_listed_runs_and_halves():
  folder = pathlib.Path(advice_scores.__file__).parent / 'results'
  lines = (folder / 'interventions.jsonl').read_text().splitlines()
  listed = {run.name: run for run in RUNS}
  for result in map(json.loads, lines):
    run = listed[result['name']]
    assert (result['half'], result['held_out_kind']) == (run.half, run.held_out_kind)
    for name in result['helps']:
      effect = result['effects'][name]
      assert effect['log_ratio'] <= -interventions.MIN_EFFECT + 1e-3
      assert effect['log_ratio'] <= -(interventions.MIN_ERRORS - 0.01) * effect['error']
  assert len(lines) >= 79
