"""Tests the report of a run in a browser: console errors, width, first screen, colours, rows."""

import dataclasses
import re

import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.training import report
from tests.helpers import browser, run_folders
from tests.helpers.run_folders import EARLIER_EVIDENCE, VERDICT, update_json


@pytest.fixture
def run(tmp_path):
  folder = tmp_path / 'run'
  run_folders.write_run(folder)
  return folder


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
  executable = browser.find_browser()
  if executable is None:
    pytest.skip(
      'there is no Chromium or Chrome on PATH (`make browser` as root on Debian installs one)'
    )
  running = browser.Browser(executable, tmp_path_factory.mktemp('profile'))
  yield running
  running.close()


def pages(run, tmp_path):
  """Yields reports: of a full run, of samples without a run, with long words, with missing parts."""
  yield report.write_run_page(run)
  yield report.write_verdict_page(tmp_path / 'samples.html', VERDICT)
  earlier = VERDICT | {'evidence': EARLIER_EVIDENCE}
  yield report.write_verdict_page(tmp_path / 'earlier.html', earlier)
  long_word = 'x' * 400
  update_json(
    run,
    'referee.json',
    facts=[long_word],
    advice=[f'--{long_word}=1: {long_word}'],
    verdict=long_word,
  )
  flags = dataclasses.asdict(Config()) | {
    'dataset': long_word,
    'data_dir': f'/{long_word} {long_word}',
  }
  update_json(run, 'config.json', flags=flags, data=long_word)
  update_json(
    run,
    'evaluation_test_00000040.json',
    watched={'raw': {long_word: 1}},
    protocol={long_word: long_word},
  )
  yield report.write_run_page(run)
  for path in (run / 'referee.json', run / 'metrics.jsonl', *run.glob('samples/*')):
    path.unlink()
  yield report.write_run_page(run)


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
  path = report.write_run_page(run)
  bottom = lambda what: chromium.evaluate(
    f'document.querySelector("{what}").getBoundingClientRect().bottom'
  )
  chromium.open(path, 375, 812)
  assert bottom('.big') < 200
  assert bottom('.advice li') < 812
  chromium.open(path, 1200, 800)
  assert bottom('#verdict') < 500


@pytest.mark.parametrize('what', ['document.body', "document.querySelector('.chart text')"])
def test_the_page_and_its_charts_follow_the_preferred_colours(what, chromium, run):
  path = report.write_run_page(run)
  lightness = {}
  for scheme in ('light', 'dark'):
    chromium.open(path, 375, scheme=scheme)
    for part, style in (
      ('page', 'getComputedStyle(document.body).backgroundColor'),
      ('text', f"getComputedStyle({what})['{'color' if 'body' in what else 'fill'}']"),
    ):
      rgb = re.findall(r'\d+', chromium.evaluate(style))
      lightness[scheme, part] = np.mean([int(x) for x in rgb[:3]])
  assert lightness['light', 'page'] > 200 > 110 > lightness['light', 'text']
  assert lightness['dark', 'page'] < 60 < 150 < lightness['dark', 'text']


@pytest.mark.parametrize('n_removed', range(5))
def test_rows_of_figures_are_full_at_1100_pixels(n_removed, chromium, run):
  for path in sorted(run.glob('samples/*'))[:n_removed]:
    path.unlink()
  chromium.open(report.write_run_page(run), 1100)
  rows = chromium.evaluate(
    """[...document.querySelectorAll('.figures')].map(grid => {
      const right = grid.getBoundingClientRect().right, last = {};
      for (const card of grid.children) {
        const box = card.getBoundingClientRect();
        last[box.top] = right - box.right;
      }
      return Object.values(last);
    })"""
  )
  assert len(rows) == (4, 3, 3, 3, 2)[n_removed]  # a lone picture joins the charts
  assert all(abs(gap) < 1 for row in rows for gap in row)


def test_tables_fill_both_columns_at_1100_pixels(chromium, run):
  chromium.open(report.write_run_page(run), 1100)
  columns = chromium.evaluate(
    """[...document.querySelectorAll('.tables')].map(block => {
      const boxes = [...block.querySelectorAll(':scope > :not(.wide)')].map(x => x.getBoundingClientRect());
      return [...new Set(boxes.map(x => Math.round(x.left)))].map(
        left => boxes.filter(x => Math.round(x.left) === left).reduce((sum, x) => sum + x.height, 0));
    })"""
  )
  (left, right), *_ = columns
  assert max(left, right) < 1.6 * min(left, right)
  wide = "document.querySelector('.tables > .wide').getBoundingClientRect().width"
  assert chromium.evaluate(wide) > 1000
  overflow = (
    "[...document.querySelectorAll('.scroll')].filter(x => x.scrollWidth > x.clientWidth + 1)"
  )
  assert chromium.evaluate(f'{overflow}.length') == 0
