"""Tests the charts of a report: plotted values, scales, omitted values, and the SVG."""

import dataclasses
import math
import re

import matplotlib
import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.gan.losses import LOSSES
from gan_jax.training.report import evidence_charts, run_charts
from gan_jax.training.report.chart_drawing import COLORS, Chart
from gan_jax.training.report.number_format import format_value
from tests.helpers.run_folders import EARLIER_EVIDENCE, EVALUATION, HOSTILE, RECORDS, VERDICT

FLAGS = dataclasses.asdict(Config())


def titled(charts, title):
  (chart,) = [chart for chart in charts if chart.title == title]
  return chart


def lines(chart):
  """Returns the labelled lines of a chart as {label: [n, 2]}."""
  artists = [line for line in chart.axes.lines if not line.get_label().startswith('_')]
  return {line.get_label(): np.transpose(line.get_data()).astype(float) for line in artists}


def ticks(axis):
  """Returns positions within the frame and labels of the ticks of an axis."""
  low, high = axis.get_view_interval()
  return zip(
    *[
      (tick, axis.get_major_formatter()(tick))
      for tick in axis.get_majorticklocs()
      if low <= tick <= high
    ],
    strict=True,
  )


def as_number(label):
  return float(label.replace('−', '-').replace(',', ''))


@pytest.mark.parametrize(
  ('low', 'high'), [(0, 1), (-3, 7), (1e-4, 3e-4), (1999.5, 2000.5), (0, 12_000)]
)
def test_ticks_are_round_few_and_labelled_with_their_values(low, high):
  chart = Chart('t', 'y')
  chart.line([0, 1], [low, high], 'data')
  at, labels = ticks(chart.axes.yaxis)
  assert 3 <= len(at) <= 7
  step = at[1] - at[0]
  assert f'{step:.0e}'[0] in '125'
  np.testing.assert_allclose(np.diff(at), step)
  np.testing.assert_allclose(np.asarray(at) / step, np.round(np.asarray(at) / step), atol=1e-6)
  np.testing.assert_allclose([as_number(label) for label in labels], at, atol=1e-9 * step)


@pytest.mark.parametrize(('low', 'high'), [(0.5, 3), (1e-5, 1e-1), (1e-12, 1e12), (2.1, 2.2)])
def test_ticks_of_a_log_scale_are_few_and_labelled_with_their_values(low, high):
  chart = Chart('t', 'y')
  chart.line([0, 1], [low, high], 'data')
  chart.use_log_scale()
  assert chart.axes.get_yscale() == 'log'
  at, labels = ticks(chart.axes.yaxis)
  assert len(at) <= 13
  np.testing.assert_allclose([as_number(label) for label in labels], at)


def test_a_log_scale_needs_positive_values():
  chart = Chart('t', 'y')
  chart.line([0, 1], [0.0, 1.0], 'data')
  chart.use_log_scale()
  assert chart.axes.get_yscale() == 'linear'


def test_lines_omit_nonfinite_values_and_values_outside_the_frame():
  chart = Chart('t', 'y')
  chart.axes.set_ylim(0, 2)
  chart.line(range(5), [1.0, None, math.nan, 3.0, math.inf], 'data', 'a', dots=True)
  np.testing.assert_array_equal(lines(chart)['a'], [(0, 1), (3, 2)])
  dots = [line for line in chart.axes.lines if line.get_gid()]
  assert [line.get_gid() for line in dots] == ['tooltip a: 1', 'tooltip a: 3']
  np.testing.assert_array_equal([line.get_xydata()[0] for line in dots], [(0, 1), (3, 2)])
  assert not chart.is_empty
  chart = Chart('t', 'y')
  chart.line([1], [None], 'data', 'a')
  assert chart.is_empty
  assert not chart.axes.lines


def test_levels_and_events_are_within_the_frame():
  chart = Chart('t', 'y')
  chart.line([0, 1], [0.0, 1.0], 'data', 'a')
  chart.level(9.0, 'soft', 'level')
  chart.event(99, 'alarm', 'event', 'text')
  (left, right), (bottom, top) = chart.axes.get_xlim(), chart.axes.get_ylim()
  assert left < 0 < 99 < right
  assert bottom < 0 < 9 < top
  assert lines(chart)['level'][:, 1].tolist() == [9, 9]
  assert lines(chart)['event'][:, 0].tolist() == [99, 99]


@pytest.mark.parametrize('bound', [0.5, None, math.nan])
def test_a_band_is_drawn_between_its_ends_where_all_are_finite(bound):
  chart = Chart('t', 'y')
  chart.band([0, 1], [0.5, 1.5], [2.5, bound], 'data')
  assert len(chart.axes.collections) == (bound == 0.5)
  for band in chart.axes.collections:
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert corners == {(0, 0.5), (1, 1.5), (0, 2.5), (1, 0.5)}


def test_thinning_keeps_the_extremes():
  y = np.random.default_rng(0).normal(size=5000)
  y[1234], y[4321] = 50.0, -50.0
  chart = Chart('t', 'y')
  chart.line(range(5000), y.tolist(), 'data', 'a')
  kept = lines(chart)['a']
  assert len(kept) <= 500
  assert {(1234, 50.0), (4321, -50.0)} <= set(map(tuple, kept))
  np.testing.assert_array_equal(y[kept[:, 0].astype(int)], kept[:, 1])
  assert (np.diff(kept[:, 0]) > 0).all()


def coverage(evidence, evaluation):
  return [
    c for c in evidence_charts.evidence_charts(evidence, evaluation) if c.title.startswith('Where')
  ]


def test_heights_of_bars_are_shares():
  (chart,) = coverage(VERDICT['evidence'], {})
  heights = {c.get_label(): [bar.get_height() for bar in c] for c in chart.axes.containers}
  assert heights == {'data': [0.5, 0.3, 0.2], 'samples': [0.9, 0.1, 0.0]}
  assert chart.axes.patches[0].get_gid() == 'tooltip a: data 50.0 %'
  # The two bars of a group stand side by side around its place.
  data, samples = chart.axes.containers
  for place, left, right in zip(range(3), data, samples, strict=True):
    assert left.get_x() + left.get_width() == pytest.approx(place)
    assert right.get_x() == pytest.approx(place)
  (only,) = coverage({}, EVALUATION)
  assert [c.get_label() for c in only.axes.containers] == ['samples']
  assert [bar.get_height() for bar in only.axes.patches] == [0.5, 0.5]
  classes = {'real': [0.2, 0.8], 'fake': [0.1, 0.9], 'names': ['0', '1']}
  (by_class,) = coverage(VERDICT['evidence'] | {'classes': classes}, EVALUATION)
  assert len(by_class.axes.patches) == 4  # classes are drawn in place of cells
  (many,) = coverage({'cells': {'real': [1e-3] * 1000, 'fake': [1e-3] * 999 + [2e-3]}}, {})
  assert lines(many)['samples'][0].tolist() == [0, 2e-3]
  assert set(lines(many)['data'][:, 1]) == {1e-3}
  assert coverage({}, {}) == []


def test_histograms_are_shares_of_each_series():
  chart = Chart('t', 'y')
  for label, counts in (('a', [30, 10]), ('b', [3, 1]), ('wrong length', [1]), ('none', [0, 0])):
    chart.histogram([0, 1, 2], counts, 'data', label)
  assert [patch.get_label() for patch in chart.axes.patches] == ['', 'a', '', 'b']
  for patch in chart.axes.patches:
    assert patch.get_data().values.tolist() == [0.75, 0.25]
    assert patch.get_data().edges.tolist() == [0, 1, 2]
  broken = Chart('t', 'y')
  for edges in ([0, None, 2], [0, math.nan, 2], [2, 1, 0]):
    broken.histogram(edges, [1, 1], 'data', 'a')
  assert broken.is_empty


def test_logits_are_drawn_for_all_three_sets():
  chart = titled(evidence_charts.evidence_charts(VERDICT['evidence'], {}), "The run's own D")
  shares = {p.get_label(): p.get_data().values for p in chart.axes.patches if p.get_label()}
  np.testing.assert_allclose(shares['training data'], [1 / 6, 2 / 6, 3 / 6])
  np.testing.assert_allclose(shares['held-out data'], [1 / 3, 1 / 3, 1 / 3])
  np.testing.assert_allclose(shares['samples'], [5 / 6, 1 / 6, 0])


@pytest.mark.parametrize(
  ('evidence', 'chance'),
  [(VERDICT['evidence'], [0.002, 0.003, 0.004]), (EARLIER_EVIDENCE, [0.004] * 3)],
)
def test_the_noise_ladder_has_a_band_of_chance_at_every_level(evidence, chance):
  chart = titled(evidence_charts.evidence_charts(evidence, {}), 'What noise hides')
  assert [label.get_text() for label in chart.axes.get_xticklabels()] == ['0', '0.1', '0.5']
  drawn = lines(chart)
  assert drawn['best fresh discriminator'][:, 1].tolist() == [
    0.41,
    0.2,
    0.0,
  ]  # -0.01 is off the axis
  assert drawn["the run's own D"].tolist() == [[0, 0.02]]
  band, samples = (band.get_paths()[0].vertices for band in chart.axes.collections)
  expected = {(x, 0) for x in range(3)} | set(enumerate(chance))
  assert {tuple(corner) for corner in band} == expected
  assert {(0, 0.39), (0, 0.43), (1, 0.18), (1, 0.22)} <= {tuple(corner) for corner in samples}
  tooltips = [line.get_gid() for line in chart.axes.lines if line.get_gid()]
  assert 'tooltip best fresh discriminator: −0.01' in tooltips
  assert evidence_charts.evidence_charts({}, {}) == []


@pytest.mark.parametrize(('bound', 'top'), [(0.003, 0.1), (0.2, 0.23), (0.69, 0.75)])
def test_the_noise_ladder_shows_small_bounds_and_names_the_largest_divergence(bound, top):
  rungs = [{'sigma': 0.0, 'bound': bound, 'chance': 0.001}]
  (chart,) = evidence_charts.evidence_charts({'ladder': rungs, 'probes': [{}]}, {})
  assert chart.axes.get_ylim() == pytest.approx((0, top))
  assert ('log 2: always told apart' in lines(chart)) == (top > math.log(2))


def test_each_probe_has_its_interval_its_chance_and_its_p_value():
  title = 'What each fresh discriminator proves'
  chart = titled(evidence_charts.evidence_charts(VERDICT['evidence'], {}), title)
  dots = [line for line in chart.axes.lines if line.get_marker() == 'o']
  assert [tuple(dot.get_xydata()[0]) for dot in dots] == [(0.41, 0), (0.25, 1), (0, 2)]
  assert dots[2].get_gid() == 'tooltip trees on statistics of pixels: −0.001'
  intervals = [line.get_xdata() for line in chart.axes.lines if line.get_marker() == 'None']
  assert [list(ends) for ends in intervals] == [[0.39, 0.43], [0.22, 0.28], [0, 0.001]]
  assert [bar.get_width() for bar in chart.axes.patches] == [0.002, 0.003, 0.002]
  words = [text.get_text() for text in chart.axes.texts]
  assert words[::2][0] == 'convolutional, 8 channels'
  assert words[1::2] == ['p < 0.0001', 'p < 0.0001', 'p = 0.3']
  assert max(map(len, words)) <= 42
  bottom, top = chart.axes.get_ylim()
  assert bottom > 2 > 0 > top  # the first probe is on top


@pytest.mark.parametrize('loss', LOSSES)
def test_losses_have_lines_at_their_equilibrium(loss):
  trained = [r for r in RECORDS if 'd_loss' in r]
  chart = titled(run_charts.training_charts(trained, FLAGS | {'loss': loss}, {}), 'Losses')
  drawn = lines(chart)
  assert list(drawn) == ['D', 'G', 'D at equilibrium', 'G at equilibrium']
  if loss == 'non_saturating':
    np.testing.assert_allclose(drawn['D at equilibrium'][:, 1], 2 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(drawn['G at equilibrium'][:, 1], math.log(2), rtol=1e-6)


def test_training_charts_draw_the_records():
  charts = run_charts.training_charts(RECORDS, FLAGS, VERDICT['evidence'])
  steps = list(range(1, 41, 3))
  expected = {
    'Losses': {'D': (steps, [1.4 - step / 100 for step in steps]), 'G': (steps, [0.7] * 14)},
    "D's beliefs": {'D(x), data': (steps, [0.6] * 14), 'D(G(z)), samples': (steps, [0.4] * 14)},
    "Penalty on D's slope": {},
    'Frechet distance, validation (lower is better)': {
      'averaged weights': ([20, 40], [4.0, 8.0]),
      'last weights': ([20, 40], [5.0, 9.0]),
      'best': ([20, 20], [0, 1]),  # y of a vertical line is a share of the axis
    },
    'Distance to held-out data (lower is better)': {},
    'How much G still moves': {},
  }
  assert [chart.title for chart in charts] == list(expected)
  for chart in charts:
    for label, columns in expected[chart.title].items():
      np.testing.assert_allclose(lines(chart)[label], np.transpose(columns), rtol=1e-6)
    assert lines(chart)['alarm'][:, 0].tolist() == [30, 30]
    assert 'tooltip collapse' in [line.get_gid() for line in chart.axes.lines]
  penalty, distance, drift = (charts[i].axes for i in (2, 4, 5))
  assert penalty.get_yscale() == 'log'
  np.testing.assert_allclose(penalty.lines[0].get_ydata(), [0.01 * step for step in steps])
  assert distance.lines[0].get_xydata().tolist() == [[20, 0.3], [40, 0.2]]
  assert drift.lines[0].get_xydata().tolist() == [[20, 0.5], [40, 0.1]]


def test_a_run_without_a_verdict_shows_the_monitors_of_its_records():
  records = [{'step': step, 'watch_gap': 1 / step, 'watch_drift': step} for step in (1, 2)]
  distance, drift = run_charts.training_charts(records, FLAGS, {})
  assert distance.axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5]]
  assert drift.axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 2]]


def test_k_is_drawn_only_where_it_changes():
  records = [{'step': step, 'g_loss': 1.0, 'k': k} for step, k in ((1, 1.0), (2, 3.0))]
  chart = titled(run_charts.training_charts(records, FLAGS, {}), 'Updates of D per update of G')
  assert chart.axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 3]]
  constant = run_charts.training_charts([records[0], records[0] | {'step': 2}], FLAGS, {})
  assert [chart.title for chart in constant] == ['Losses']


# The SVG


def every_chart():
  evidence = evidence_charts.evidence_charts(VERDICT['evidence'], {})
  return [*evidence, *run_charts.training_charts(RECORDS, FLAGS, VERDICT['evidence'])]


def test_equal_data_give_equal_svg_with_any_matplotlib_settings():
  expected = [chart.svg() for chart in every_chart()]
  assert len(expected) == 10
  before = dict(matplotlib.rcParams)
  with matplotlib.rc_context({'svg.fonttype': 'path', 'font.size': 30, 'axes.facecolor': 'red'}):
    assert [chart.svg() for chart in every_chart()] == expected
    assert matplotlib.rcParams['font.size'] == 30
  assert dict(matplotlib.rcParams) == before


def test_svg_has_only_colours_of_the_page_and_its_text_as_text():
  for chart in every_chart():
    svg = chart.svg()
    assert not re.search(r'#[0-9a-fA-F]{3,6}\b(?!")', re.sub(r'url\(#\w+\)', '', svg)), chart.title
    assert set(re.findall(r'var\(--(\w+)\)', svg)) <= COLORS.keys()
    assert {'data', 'fake', 'critic', 'alarm'} & set(re.findall(r'var\(--(\w+)\)', svg))
    assert chart.axes.get_ylabel() in svg
    assert set(re.findall(r' id="(\w+)"', svg)) == set(re.findall(r'(?:url\(|href=")#(\w+)', svg))
    assert svg.startswith('<svg role="img" aria-label="')


def test_hostile_names_stay_text_in_svg():
  names = [HOSTILE, '$\\frac{x', '\'"&<b>', 'tooltip', '']
  chart = Chart(HOSTILE, 'y $', HOSTILE)
  chart.bars(names, {('a', 'data'): [0.2] * 5})
  chart.event(1, 'alarm', HOSTILE, HOSTILE)
  svg = chart.svg()
  assert '<script' not in svg
  assert '<img' not in svg
  assert '<b>' not in svg
  assert svg.count('<title>') == 6


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    *((None, '–'), (math.nan, '–'), (True, 'yes'), (12_000, '12,000'), (0.4123, '0.412')),
    *((-1.5, '−1.5'), (1e-30, '1e−30'), (3004.85, '3,005'), ('x', 'x'), (2.0, '2')),
    *((1e38, '1e+38'), (-12_000_000, '−12,000,000')),
  ],
)
def test_numbers_are_formatted_for_reading(value, text):
  assert format_value(value) == text
