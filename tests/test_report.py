"""The page of a run: what it says first, what it leaves out, what it never lets through, and how it looks."""

import base64
import dataclasses
import html.parser
import io
import json
import math
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from gan_jax import report
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.losses import LOSSES
from gan_jax.report import charts, figures, tables
from gan_jax.report.charts import Rule, Series
from tests import browser

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>'
VERDICT = {
  'verdict': 'D too weak',
  'confidence': 0.93,
  'facts': ['a fresh D finds 0.41 nats', 'the own D finds 0.02', 'coverage 0.9 (real 0.97)'],
  'advice': ['--k=2, or --k=auto: more updates of D', '--d_lr: raise it', 'more data'],
  'step': 40,
  'evidence': {
    'n': {'train': 1000, 'held_out': 500, 'fake': 500},
    'ladder': [
      {'sigma': 0.0, 'bound': 0.41, 'low': 0.39, 'high': 0.43, 'null': 0.001, 'null_high': 0.004},
      {'sigma': 0.1, 'bound': 0.2, 'low': 0.18, 'high': 0.22},
      {'sigma': 0.5, 'bound': -0.01, 'low': -0.02, 'high': 0.01},
    ],
    'c2st': {'accuracy': 0.91, 'p': 1e-30, 'n': 4000},
    'own': {'held_out': 0.02, 'train': 0.05, 'mean_real': 0.51, 'mean_fake': 0.49},
    'histogram': {
      'edges': [-2, 0, 2, 4],
      'train': [1, 2, 3],
      'held_out': [2, 2, 2],
      'fake': [5, 1, 0],
    },
    'manifold': {'precision': 0.9, 'recall': 0.8, 'density': 1.0, 'coverage': 0.9},
    'manifold_null': {'precision': 0.95, 'recall': 0.94, 'density': 1.0, 'coverage': 0.97},
    'frechet': {'fake': 12.0, 'null': 1.0},
    'cells': {'real': [0.5, 0.3, 0.2], 'fake': [0.9, 0.1, 0.0], 'names': ['a', 'b', HOSTILE]},
    'memorisation': {'authentic': 60.0, 'copying': -1.2, 'near': 0.01},
    'memorisation_null': {'authentic': 62.0, 'copying': 0.1, 'near': 0.02},
    'gradient': {'slope': 0.5, 'norm': math.nan},
    'history': {'steps': [20, 40], 'score': [0.3, 0.2], 'drift': [0.5, 0.1], 'best': 0.2},
  },
  'protocol': {'n_fake': 500, 'split': 'test', 'sha256': {'fake': 'f' * 64}, 'seed': 0},
}
RECORDS = [
  *(
    {
      'step': step,
      'd_loss': 1.4 - step / 100,
      'g_loss': 0.7,
      'd_real': 0.6,
      'd_fake': 0.4,
      'k': 1.0,
    }
    | {'d_penalty': 0.01 * step, 'steps_per_second': 50.0}
    for step in range(1, 41, 3)
  ),
  {'step': 20, 'validation_frechet_raw': 5.0, 'validation_frechet_ema': 4.0, 'score': -4.0},
  {'step': 30, 'alarm': 'collapse', 'says': 'G makes few things only'},
  {'step': 40, 'validation_frechet_raw': 9.0, 'validation_frechet_ema': 8.0, 'score': -8.0},
]
EVALUATION = {
  'checkpoint': 40,
  'protocol': {'dataset': 'mnist', 'seed': 0},
  'parzen': {'ema': {'mean': 210.0, 'standard_error': 2.0}, 'raw': {'mean': math.nan}},
  'references': {'noise': {'mean': -628.0, 'standard_error': 0.1}, 'real': {'mean': 243.0}},
  'features': {name: {'frechet': 3.0, 'recall': 0.5} for name in ('raw', 'ema', 'train', 'fresh')},
  'class_shares': [0.5, 0.5],
  'modes': {},
  'watched': {'raw': {'d_loss': 1.3}, 'ema': {'d_loss': 1.2}},
}
PARTS = ('config.json', 'metrics.jsonl', 'referee.json', 'evaluation_test_00000040.json', 'samples')


@pytest.fixture
def run(tmp_path):
  """A run's folder with every part that the page reads."""
  folder = tmp_path / 'run'
  (folder / 'samples').mkdir(parents=True)
  described = {
    'flags': dataclasses.asdict(Config(d_lr=1e-3, conditional=True, steps=60)),
    'data': 'a' * 64,
    'ran_on': [{'commit': 'b' * 40 + '-dirty', 'devices': '1 x cpu', 'versions': {'jax': '0.10'}}],
  }
  (folder / 'config.json').write_text(json.dumps(described))
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in RECORDS))
  (folder / 'referee.json').write_text(json.dumps(VERDICT))
  (folder / 'evaluation_test_00000040.json').write_text(json.dumps(EVALUATION))
  for i, name in enumerate(('grid_00000020', 'grid_00000040', 'neighbours_00000040')):
    write_picture(folder / 'samples' / f'{name}.png', 20 + i)
  return folder


def write_picture(path, side):
  pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
  Image.fromarray(pixels).save(path)


class Parsed(html.parser.HTMLParser):
  """Elements, their attributes, and all text of a page."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.text = [], ''
    self.feed(path.read_text())

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_data(self, data):
    self.text += data

  def of(self, tag):
    return [attributes for name, attributes in self.elements if name == tag]


def change(folder, name, **values):
  path = folder / name
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


# What the page says


def test_the_verdict_comes_first_then_evidence_then_how_to_get_there(run):
  text = Parsed(report.write(run)).text
  in_order = (
    *('D too weak', '93 %', 'a fresh D finds 0.41 nats', '--k=2', 'Judged at step 40'),
    *('What a fresh discriminator finds', "The run's own D", 'Losses', "D's beliefs", 'collapse'),
    *('Frechet distance, validation', 'best, step 20', 'last, step 40', 'Nearest training images'),
    *('Where data and samples are', "The referee's numbers", 'Parzen', 'Protocol', 'Flags'),
    *('--conditional=True', 'at their defaults', 'Reproduce', 'experiments.train', 'jax 0.10'),
  )
  at = -1
  for words in in_order:
    at = text.find(words, at + 1)
    assert at >= 0, words


def test_the_same_files_make_the_same_bytes(run):
  first = report.write(run).read_bytes()
  assert report.write(run).read_bytes() == first


def test_the_command_to_train_names_every_flag_that_is_not_at_its_default(run):
  config = Config(dataset="a b'c", d_lr=1e-3, conditional=True, k='0.5', r1=0.0, steps=60)
  words = tables.train_command(dataclasses.asdict(config), 'runs/x y')
  assert words[:3] == ['python', '-m', 'experiments.train']
  assert words[-1] == '--run=runs/x y'
  given = {}
  for word in words[3:-1]:
    name, _, value = word.removeprefix('--').partition('=')
    default = getattr(Config(), name)
    given[name] = True if not value else type(default)(value)
  assert Config(**given) == config
  change(run, 'config.json', flags=dataclasses.asdict(config))
  line = next(x for x in Parsed(report.write(run)).text.splitlines() if 'experiments.train' in x)
  assert shlex.split(line)[:-1] == words[:-1]


def test_flags_that_differ_come_first_and_those_of_another_version_are_shown():
  changed, others = tables.flags(dataclasses.asdict(Config(steps=7)) | {'gone': 1})
  assert [row.name for row in changed] == ['--steps', '--gone']
  assert len(others) == len(dataclasses.fields(Config)) - 1


def test_the_score_is_named_by_the_measurement_that_it_is():
  score = figures.score_of(RECORDS)
  assert score.name == 'validation_frechet_ema'
  assert not score.higher_is_better
  assert (score.steps, score.values, score.best) == ([20, 40], [4.0, 8.0], 0)
  assert figures.score_of([{'step': 1, 'score': 2.0}]).name == 'score'
  assert figures.score_of([{'step': 1, 'd_loss': 2.0}]) is None


def test_a_run_that_went_on_is_said_to_have_an_old_verdict(run):
  assert 'judge it again' not in report.write(run).read_text()
  change(run, 'referee.json', step=20)
  assert 'judge it again' in report.write(run).read_text()


# What is missing


@pytest.mark.parametrize('name', PARTS[1:])
@pytest.mark.parametrize('damaged', [False, True])
def test_a_missing_or_damaged_part_is_left_out_and_said(name, damaged, run):
  for path in [run / name, *run.glob(f'{name}/*')]:
    if damaged and path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif path.is_file():
      path.unlink()
  text = Parsed(report.write(run)).text
  words = {
    'metrics.jsonl': 'Reproduce' if damaged else 'No records of the training yet',
    'referee.json': 'No verdict yet',
    'evaluation_test_00000040.json': 'No evaluation yet',
    'samples': 'No picture of samples yet',
  }[name]
  assert words in text
  if name != 'referee.json':
    assert 'D too weak' in text


def test_a_folder_without_a_run_is_a_mistake(tmp_path):
  with pytest.raises(UserError, match='there is no run here'):
    report.write(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_bare_config_is_enough(run):
  for path in (*run.glob('*.json'), *run.glob('*.jsonl'), *run.glob('samples/*')):
    if path.name != 'config.json':
      path.unlink()
  text = Parsed(report.write(run)).text
  assert 'No verdict yet' in text
  (run / 'config.json').write_text('{')
  report.write(run)


def test_every_key_of_a_verdict_is_optional(tmp_path):
  evidence = VERDICT['evidence']
  less = [{}, {'verdict': 'not enough evidence'}]
  for key in VERDICT:
    less += [{k: v for k, v in VERDICT.items() if k != key}, VERDICT | {key: None}]
  for key, value in evidence.items():
    fewer = [{k: v for k, v in evidence.items() if k != key}, evidence | {key: None}]
    if isinstance(value, dict):
      fewer += [evidence | {key: {k: v for k, v in value.items() if k != name}} for name in value]
      fewer += [evidence | {key: value | {name: None}} for name in value]
    less += [VERDICT | {'evidence': found} for found in fewer]
  for i, verdict in enumerate(less):
    text = Parsed(report.write_verdict(tmp_path / 'page.html', verdict)).text
    assert ('Undefined' in text, 'None' in text, 'nan' in text) == (False, False, False), less[i]


def test_samples_of_no_run_have_verdict_evidence_and_nothing_of_a_run(tmp_path):
  text = Parsed(report.write_verdict(tmp_path / 'theirs.html', VERDICT)).text
  for words in ('theirs', 'D too weak', 'What a fresh discriminator finds', 'belong to no run'):
    assert words in text
  for words in ('experiments.', 'Flags', 'Reproduce', 'Training\n'):
    assert words not in text


# What it never lets through


def test_hostile_strings_stay_text(run):
  flags = dataclasses.asdict(Config()) | {'dataset': HOSTILE, HOSTILE: HOSTILE}
  change(run, 'config.json', flags=flags, data=HOSTILE, ran_on=[{'commit': HOSTILE}])
  verdict = json.loads(json.dumps(VERDICT).replace('D too weak', json.dumps(HOSTILE)[1:-1]))
  verdict |= {
    'facts': [HOSTILE],
    'advice': [f'--x={HOSTILE}: {HOSTILE}'],
    'protocol': {HOSTILE: HOSTILE},
  }
  (run / 'referee.json').write_text(json.dumps(verdict))
  change(
    run,
    'evaluation_test_00000040.json',
    watched={'raw': {HOSTILE: 1}},
    parzen={HOSTILE: {'mean': 1}},
  )
  with (run / 'metrics.jsonl').open('a') as file:
    file.write(json.dumps({'step': 40, 'alarm': HOSTILE, 'says': HOSTILE}) + '\n')
  page = Parsed(report.write(run))
  assert page.text.count('alert(1)') > 12
  assert not page.of('script')
  assert not [name for _, attributes in page.elements for name in attributes if name[:2] == 'on']
  assert all(image['src'].startswith('data:image/') for image in page.of('img'))


def test_the_page_needs_nothing_from_outside(run):
  page = Parsed(report.write(run))
  sources = [x[k] for _, x in page.elements for k in ('src', 'href', 'srcset') if k in x]
  assert len(sources) == 4
  assert all(source.startswith('data:') for source in sources)
  (policy,) = [x['content'] for x in page.of('meta') if 'http-equiv' in x]
  assert policy.startswith("default-src 'none'; img-src data:;")
  assert not re.search(r'url\(|@import', (run / 'report.html').read_text())


def test_pictures_are_inside_whole_and_large_ones_made_smaller(run):
  small = (run / 'samples' / 'grid_00000020.png').read_bytes()
  write_picture(run / 'samples' / 'grid_00000040.png', 1400)  # noise: 6 MB
  path = report.write(run)
  page = Parsed(path)
  assert path.stat().st_size < 3e6
  first, second, _ = (base64.b64decode(image['src'].split(',', 1)[1]) for image in page.of('img'))
  assert first == small
  with Image.open(io.BytesIO(second)) as reduced:
    assert reduced.size == (900, 900)
  assert 'Made smaller' in page.text


def test_long_runs_make_no_long_pages(run):
  records = [RECORDS[0] | {'step': step, 'd_loss': math.sin(step)} for step in range(1, 20_000)]
  (run / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
  assert report.write(run).stat().st_size < 200_000


# Charts


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


# In a browser


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
  executable = browser.find()
  if executable is None:
    pytest.skip(
      'there is no Chromium or Chrome on PATH (`make browser` as root on Debian installs one)'
    )
  running = browser.Browser(executable, tmp_path_factory.mktemp('profile'))
  yield running
  running.close()


def pages(run, tmp_path):
  """A full page, one of a run that has just begun, one of samples alone, and one with words without end."""
  yield report.write(run)
  yield report.write_verdict(tmp_path / 'theirs.html', VERDICT)
  endless = 'x' * 400
  change(
    run, 'referee.json', facts=[endless], advice=[f'--{endless}=1: {endless}'], verdict=endless
  )
  flags = dataclasses.asdict(Config()) | {'dataset': endless, 'data_dir': f'/{endless} {endless}'}
  change(run, 'config.json', flags=flags, data=endless)
  change(
    run, 'evaluation_test_00000040.json', watched={'raw': {endless: 1}}, protocol={endless: endless}
  )
  yield report.write(run)
  for path in (run / 'referee.json', run / 'metrics.jsonl', *run.glob('samples/*')):
    path.unlink()
  yield report.write(run)


@pytest.mark.parametrize(('width', 'scheme'), [(375, 'light'), (375, 'dark'), (1200, 'light')])
def test_the_page_renders_without_complaint_and_never_scrolls_sideways(
  width, scheme, chromium, run, tmp_path
):
  for path in pages(run, tmp_path):
    chromium.open(path, width, scheme=scheme)
    assert chromium.complaints == []
    assert all(url.startswith(('file:', 'data:')) for url in chromium.requests)
    for part in ('documentElement', 'body'):
      assert chromium.evaluate(f'document.{part}.scrollWidth') <= width
    loaded = '[...document.images].every(i => i.complete && i.naturalWidth > 0)'
    assert chromium.evaluate(loaded)


def test_the_verdict_and_what_to_change_are_on_the_first_screen(chromium, run):
  path = report.write(run)
  bottom = lambda what: chromium.evaluate(
    f'document.querySelector("{what}").getBoundingClientRect().bottom'
  )
  chromium.open(path, 375, 812)
  assert bottom('.big') < 200
  assert bottom('.advice li') < 812
  chromium.open(path, 1200, 800)
  assert bottom('#verdict') < 500


def test_the_page_follows_the_colours_that_a_person_prefers(chromium, run):
  path = report.write(run)
  lightness = {}
  for scheme in ('light', 'dark'):
    chromium.open(path, 375, scheme=scheme)
    for what in ('backgroundColor', 'color'):
      rgb = chromium.evaluate(f'getComputedStyle(document.body).{what}')
      lightness[scheme, what] = np.mean([int(x) for x in re.findall(r'\d+', rgb)])
  assert lightness['light', 'backgroundColor'] > 200 > 60 > lightness['light', 'color']
  assert lightness['dark', 'backgroundColor'] < 60 < 200 < lightness['dark', 'color']
