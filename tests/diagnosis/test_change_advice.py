"""Tests the prediction of what a change does: features of runs, the fit, and the ranking."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from experiments.referee_benchmark import fit_advice
from experiments.referee_benchmark.fit_advice import JudgedRun
from gan_jax.config.run_config import Config
from gan_jax.diagnosis import change_advice, verdict_rules
from gan_jax.diagnosis.change_advice import CHANGES, rank_changes
from gan_jax.diagnosis.run_features import RunFeatures, distance_from_usual, run_features
from tests.helpers.example_statistics import BAD, PERFECT, discriminator, history

CONFIG = Config()


def test_features_of_a_run_are_read_from_its_statistics():
  falling = history(gap=[1.0] * 4 + [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1], d=0.9)
  found = run_features(
    BAD._replace(discriminator=discriminator(0.15), history=falling, distances=(0.2, 0.1))
  )
  assert found.divergence == pytest.approx(0.3 / math.log(2))
  assert found.proven == pytest.approx(0.5)
  assert found.ranked == pytest.approx(0.8)
  assert found.improved == pytest.approx(math.log(4), rel=0.2)
  assert found.averaged == pytest.approx(-math.log(2), abs=0.01)
  assert found.moving == pytest.approx(0.05)


def test_what_is_not_known_of_samples_without_a_run_is_zero():
  found = run_features(PERFECT)
  assert found.proven == found.ranked == found.improved == found.averaged == 0


def test_a_run_that_broke_down_has_finite_features_and_advice():
  broken = history(gap=[0.1, float('nan'), float('nan'), float('nan')], d=float('nan'))
  run = BAD._replace(
    config=CONFIG, finite_share=0.5, discriminator=discriminator(float('nan')), history=broken
  )
  assert np.isfinite(run_features(run)).all()
  assert all(np.isfinite(change[2:]).all() for change in rank_changes(run, is_images=False))
  assert verdict_rules.decide_verdict(run).name == 'diverged or cycling'


def test_few_data_are_told_from_many():
  sizes = lambda n: PERFECT._replace(set_sizes={'train': n, 'held_out': 9, 'fake': 9})
  assert run_features(sizes(100)).few_data == 1
  assert 0.2 < run_features(sizes(3000)).few_data < 0.8
  assert run_features(sizes(50_000)).few_data == 0


@pytest.mark.parametrize(
  ('change', 'settings'),
  [
    ('d_lr_up', {'d_lr': 1e-5}),
    ('lower_rates', {'g_lr': 0.1}),
    ('more_d_updates', {'k': '0.2'}),
    ('penalty_up', {'r1': 0.0}),
    ('penalty_down', {'r1': 100.0}),
    ('no_momentum', {'g_b1': 0.9}),
    ('larger_g', {'g_width': 4}),
    ('larger_batch', {'batch_size': 8}),
  ],
)
def test_a_setting_far_from_the_usual_speaks_for_the_change_towards_it(change, settings):
  far = distance_from_usual(dataclasses.replace(CONFIG, **settings), change)
  assert far > max(distance_from_usual(CONFIG, change), 0.5)


def test_changes_name_flags_that_exist_and_values_that_they_take():
  known = {field.name for field in dataclasses.fields(Config)} | {'weights'}
  for change in CHANGES.values():
    for flag, value in re.findall(r'--(\w+)=([^\s:]+)', change(CONFIG)):
      assert flag in known
      assert value


def test_changes_that_do_not_apply_are_not_named():
  no_momentum = dataclasses.replace(CONFIG, g_b1=0.0, d_b1=0.0)
  assert CHANGES['no_momentum'](no_momentum) == ''
  assert CHANGES['penalty_down'](dataclasses.replace(CONFIG, r1=0.0)) == ''


def simulated_runs(n, rng):
  """Runs in which a higher rate of D helps by as much as D fails to prove, and nothing else does anything."""
  runs = []
  for i in range(n):
    features = RunFeatures(*rng.uniform(0, 1, len(RunFeatures._fields)))
    value = lambda x: {
      'log_ratio': x + rng.normal(0, 0.05),
      'helps': x < -0.1,
      'log_ratio_start': 0.0,
    }
    effects = {
      'd_lr_up': value(features.proven - 1),
      'penalty_up': value(0.0),
      'unchanged': value(0.0),
    }
    runs.append(JudgedRun(str(i), features, {}, effects))
  return runs


def test_the_fit_finds_which_feature_speaks_for_which_change():
  rng = np.random.default_rng(0)
  weights = fit_advice.fit_weights(simulated_runs(60, rng), ridge=1.0)
  new = simulated_runs(40, rng)
  predictions = [fit_advice.predict(weights, run) for run in new]
  assert fit_advice.squared_error(new, predictions) < 0.03
  slope, _ = fit_advice.fit_calibration(new, predictions)
  assert slope < -2


@pytest.fixture
def predict(monkeypatch, tmp_path):
  """Makes every prediction the given constant, by change."""

  def write(**log_ratios):
    size = len(RunFeatures._fields) + 1
    weights = {name: [x] + [0.0] * size for name, x in log_ratios.items()}
    file = tmp_path / 'weights.json'
    file.write_text(json.dumps({'changes': weights, 'calibration': [-4.0, -1.0]}))
    monkeypatch.setattr(change_advice, 'WEIGHTS_FILE', file)
    change_advice.fitted_weights.cache_clear()

  yield write
  change_advice.fitted_weights.cache_clear()


@pytest.mark.parametrize(
  ('change', 'verdict'),
  [
    ('more_d_updates', 'D too weak'),
    ('d_lr_down', 'D too strong'),
    ('averaged_weights', 'not settled'),
    ('larger_g', 'G behind'),
    ('unchanged', 'still improving'),
  ],
)
def test_the_verdict_of_a_run_is_what_is_predicted_to_help(predict, change, verdict):
  predict(**{'lower_rates': -0.2, 'd_lr_up': -0.1, change: -0.9})
  run = BAD._replace(config=CONFIG, discriminator=discriminator(0.25), distances=(0.2, 0.1))
  decided = verdict_rules.decide_verdict(run)
  assert decided.name == verdict
  assert decided.confidence == pytest.approx(1 / (1 + math.exp(1.0 - 3.6)))
  assert decided.advice[0] == f'{CHANGES[change](CONFIG)} (expected to help: 93%)'
  assert verdict_rules.decide_verdict(PERFECT._replace(config=CONFIG)).name == 'converged'


def test_what_can_have_no_effect_is_not_advised(predict):
  predict(averaged_weights=-0.9, lower_rates=-0.8, unchanged=-0.7, d_lr_up=-0.1)
  run = BAD._replace(config=CONFIG, distances=(0.1, 0.1), rates_are_zero=True)
  assert [change.name for change in rank_changes(run, is_images=False)] == ['d_lr_up']


def test_changes_are_ranked_by_their_predicted_effect(predict):
  predict(unchanged=-0.1, d_lr_up=-0.7, diffaugment=-0.9)
  run = BAD._replace(config=CONFIG)
  assert [change.name for change in rank_changes(run, is_images=False)] == ['d_lr_up', 'unchanged']
  best = rank_changes(run, is_images=True)[0]
  assert best.name == 'diffaugment'
  assert best.chance == pytest.approx(1 / (1 + math.exp(1.0 - 3.6)))
  assert rank_changes(BAD, is_images=False) == []
