"""Tests that a run is bound to the content of its data and not to a path."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from gan_jax.evaluation.tasks import CheckpointEvaluation, image_task
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError
from tests.helpers import small_runs
from tests.helpers.small_runs import SMALL, final_state_and_records, run
from tests.helpers.tiny_gan import assert_trees_equal

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run


@pytest.fixture(autouse=True)
def fast_evaluations(monkeypatch):
  small_runs.disable_figures(monkeypatch)
  constant = CheckpointEvaluation(
    {'validation_frechet_raw': 1.0, 'validation_frechet_ema': 2.0}, 0.0, 'line'
  )
  monkeypatch.setattr(image_task.ImageTask, 'evaluate_checkpoint', lambda *args: constant)


@pytest.fixture
def pictures(tmp_path):
  """Writes 60 pictures of noise to a folder."""
  folder, rng = tmp_path / 'place' / 'flat', np.random.default_rng(0)
  folder.mkdir(parents=True)
  for i in range(60):
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f'{i:03d}.png')
  return folder


@pytest.fixture
def config(tmp_path, pictures):
  return dataclasses.replace(SMALL, dataset=f'folder:{pictures}', data_dir=str(tmp_path / 'data'))


def moved_to(config, path, **changes):
  return dataclasses.replace(config, dataset=f'folder:{path}', **changes)


def test_a_run_goes_on_bit_for_bit_when_its_data_are_renamed_moved_and_prepared_elsewhere(
  tmp_path, config, pictures
):
  run(tmp_path / 'whole', config)
  run(tmp_path / 'parts', dataclasses.replace(config, steps=7))
  run(tmp_path / 'parts', moved_to(config, f'{pictures}/', steps=13))  # a trailing slash
  elsewhere = tmp_path / 'mount' / 'renamed'
  elsewhere.parent.mkdir()
  pictures.rename(elsewhere)
  outcome = run(tmp_path / 'parts', moved_to(config, elsewhere, data_dir=str(tmp_path / 'other')))
  assert (outcome.step, outcome.already) == (25, False)
  whole, parts = (final_state_and_records(tmp_path / name) for name in ('whole', 'parts'))
  assert_trees_equal(parts[0], whole[0])
  trained = lambda records: [r for r in records if r['step'] in (20, 25)]
  assert trained(parts[1]) == trained(whole[1])
  described = json.loads((tmp_path / 'parts' / 'config.json').read_text())
  assert described['flags']['dataset'] == f'folder:{elsewhere}'


def test_other_data_at_the_same_path_are_refused(tmp_path, config, pictures):
  run(tmp_path / 'run', dataclasses.replace(config, steps=7))
  Image.fromarray(np.zeros((8, 8), np.uint8)).save(pictures / '000.png')
  with pytest.raises(UserError, match=r'begun on other data \(sha256 \w{12}, and --dataset=folder'):
    run(tmp_path / 'run', config)
  assert load_run.load_run(tmp_path / 'run', 'last').step == 7


def test_scripts_find_moved_data_and_refuse_others(tmp_path, config, pictures):
  run(tmp_path / 'run', config)
  trained = load_run.load_run(tmp_path / 'run', 'last')
  assert load_run.load_run_data(trained).fingerprint == trained.fingerprint
  elsewhere = pictures.rename(tmp_path / 'there')
  with pytest.raises(UserError, match=r'^--run=.*run: --dataset=.*; if the data are elsewhere, .*'):
    load_run.load_run_data(trained)
  task = load_run.load_run_data(trained, dataset=f'folder:{elsewhere}', data_dir=str(tmp_path))
  assert task.fingerprint == trained.fingerprint
  (elsewhere / '000.png').unlink()
  with pytest.raises(UserError, match=r'^--dataset=folder.*: these are not the data that --run='):
    load_run.load_run_data(trained, dataset=f'folder:{elsewhere}')
