"""The page of a run in a browser: complaints, width, what is on the first screen, colours."""

import dataclasses
import re

import numpy as np
import pytest

from gan_jax.config.config import Config
from gan_jax.training import report
from tests.helpers import browser, run_folders
from tests.helpers.run_folders import VERDICT, change


@pytest.fixture
def run(tmp_path):
  folder = tmp_path / 'run'
  run_folders.write_run(folder)
  return folder


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
