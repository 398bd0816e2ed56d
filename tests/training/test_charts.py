"""The charts of a run's page: scales, what they leave out, and what their heights say."""

import dataclasses
import math

import numpy as np
import pytest

from gan_jax.config.config import Config
from gan_jax.gan.losses import LOSSES
from gan_jax.training.report import charts, figures
from gan_jax.training.report.charts import Rule, Series
from tests.helpers.run_folders import EVALUATION, RECORDS, VERDICT


@pytest.mark.parametrize(
  ('low', 'high'), [(0, 1), (-3, 7), (1e-4, 3e-4), (1999.5, 2000.5), (0, 12_000)]
)
def test_ticks_are_round_few_and_within(low, high):
  at = charts.ticks(low, high)
  assert 3 <= len(at) <= 7
  assert low <= at[0] < at[-1] <= high
  step = at[1] - at[0]
  assert f'{step:.0e}'[0] in '125'
  np.testing.assert_allclose(np.diff(at), step)
  np.testing.assert_allclose(np.asarray(at) / step, np.round(np.asarray(at) / step), atol=1e-6)


@pytest.mark.parametrize(('low', 'high'), [(0.5, 3), (1e-5, 1e-1), (1e-12, 1e12), (2.1, 2.2)])
def test_decades_are_few_and_within(low, high):
  at = charts.decades(low, high)
  assert len(at) <= 13
  assert all(low * 0.99 <= x <= high * 1.01 for x in at)


def test_lines_leave_out_what_is_no_number_and_nothing_leaves_the_frame():
  series = Series('a', 'data', range(5), [1.0, None, math.nan, 3.0, math.inf], dots=True)
  chart = charts.lines('t', [series], rules=[Rule('r', 'ceiling', y=9.0), Rule('e', 'alarm', x=99)])
  (_, x0, y0, _), (_, x1, y1, _) = chart.dots
  assert x0 < x1
  assert y0 > y1  # y grows downwards
  assert chart.paths == [('line data', f'M{x0:g} {y0:g}L{x1:g} {y1:g}')]
  for _, *ends, _ in chart.rules:
    assert charts.LEFT <= min(ends[::2]) <= max(ends[::2]) <= charts.RIGHT
    assert charts.TOP <= min(ends[1::2]) <= max(ends[1::2]) <= charts.BOTTOM
  assert charts.lines('t', [Series('a', 'data', [1], [None])]) is None


def test_thinning_keeps_the_extremes():
  y = np.random.default_rng(0).normal(size=5000)
  y[1234], y[4321] = 50.0, -50.0
  chart = charts.lines('t', [Series('', 'data', range(5000), y.tolist())])
  heights = [float(pair.split()[1]) for pair in chart.paths[0][1][1:].split('L')]
  assert len(heights) <= 500
  whole = charts.lines('t', [Series('', 'data', [0, 1], [50.0, -50.0])])
  ends = [float(pair.split()[1]) for pair in whole.paths[0][1][1:].split('L')]
  assert [min(heights), max(heights)] == ends


def test_heights_of_bars_are_shares():
  chart = figures.cells(VERDICT['evidence'], {})
  height = {(style, says.split(':')[0]): h for style, _, _, _, h, says in chart.boxes}
  assert height['fake', 'a'] == pytest.approx(9 * height['fake', 'b'], rel=0.02)
  assert height['data', 'a'] == pytest.approx(5 / 9 * height['fake', 'a'], rel=0.02)
  only = figures.cells({}, EVALUATION)
  assert [box[0] for box in only.boxes] == ['fake', 'fake']
  classes = {'real': [0.2, 0.8], 'fake': [0.1, 0.9], 'names': ['0', '1']}
  by_class = figures.cells(VERDICT['evidence'] | {'classes': classes}, EVALUATION)
  assert len(by_class.boxes) == 4  # they come before the cells
  many = figures.cells({'cells': {'real': [1e-3] * 1000, 'fake': [1e-3] * 1000}}, {})
  assert len(many.paths) == 2
  assert figures.cells({}, {}) is None


def test_histograms_are_shares_of_their_own_series():
  chart = charts.histogram(
    't',
    [0, 1, 2],
    {('data', 'a'): [30, 10], ('fake', 'b'): [3, 1], ('held', 'c'): [1]},
    x_label='',
    note='',
  )
  assert [name for _, name in chart.legend] == ['a', 'b']  # c fits no edges
  paths = dict(chart.paths)
  assert paths['line data'] == paths['line fake']


def test_the_ladder_has_its_null_on_every_rung_and_the_ceiling():
  chart = figures.ladder(VERDICT['evidence'])
  assert [label for _, label in chart.x_ticks] == ['0', '0.1', '0.5']
  null = dict(chart.paths)['line null']
  assert null.count('L') == 2
  (rule,) = chart.rules
  on_scale = charts.BOTTOM - (charts.BOTTOM - charts.TOP) * math.log(2) / 0.75
  assert rule[2] == pytest.approx(on_scale, abs=0.1)
  assert figures.ladder({}) is None


@pytest.mark.parametrize('loss', LOSSES)
def test_losses_have_lines_at_their_equilibrium(loss):
  flags = dataclasses.asdict(Config()) | {'loss': loss}
  trained = [r for r in RECORDS if 'd_loss' in r]
  losses = figures.training(trained, flags)[0]
  assert [rule[5] for rule in losses.rules] == ['D at equilibrium', 'G at equilibrium']


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    *((None, '–'), (math.nan, '–'), (True, 'yes'), (12_000, '12,000'), (0.4123, '0.412')),
    *((-1.5, '−1.5'), (1e-30, '1e−30'), (3004.85, '3,005'), ('x', 'x'), (2.0, '2')),
  ],
)
def test_numbers_are_said_as_a_person_would(value, text):
  assert charts.say(value) == text
