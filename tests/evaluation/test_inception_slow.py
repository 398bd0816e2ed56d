"""Our Inception-v3 against torchvision's, made into the one of Frechet distances."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gan_jax.evaluation import inception
from tests.helpers import commands

pytestmark = pytest.mark.slow

REFERENCE = pathlib.Path(__file__).parents[1] / 'helpers' / 'inception_reference.py'
# The build without CUDA where there is one (0.2 GB), else what the registry has (5.5 GB).
BUILDS = (('torch==2.13.0+cpu', 'torchvision==0.28.0'), ('torch', 'torchvision'))


@pytest.fixture(scope='module')
def known(tmp_path_factory):
  """Random weights, images, and what torchvision's network makes of them."""
  folder, torch = tmp_path_factory.mktemp('known'), tmp_path_factory.mktemp('torch')
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', f'--target={torch}', 'safetensors']
  for build in BUILDS:
    installed = subprocess.run([*pip, *build], capture_output=True, text=True)
    if installed.returncode == 0:
      break
  else:
    pytest.skip(f'no PyTorch to be had: {installed.stderr[-300:]}')
  env = os.environ | {'PYTHONPATH': str(torch)}
  subprocess.run([sys.executable, REFERENCE, folder], env=env, check=True)
  return folder


@pytest.mark.parametrize('kind', ['npz', 'safetensors'])
@pytest.mark.parametrize('pictures', ['images', 'larger'])
def test_features_and_logits_are_those_of_torchvision(known, monkeypatch, kind, pictures):
  """From the same uint8 pictures on: Pillow resizes them there."""
  monkeypatch.setattr(inception, '_CHUNK', 5)
  network = inception.load_inception(known / f'checkpoint.{kind}')
  with np.load(known / 'known.npz') as arrays:
    images, features, logits = (arrays[pictures + x] for x in ('', '_features', '_logits'))
  found = network.features(images)
  assert features.std(axis=0).mean() > 0.005  # pictures differ by far more than the tolerance
  np.testing.assert_allclose(found, features, atol=1e-4)
  fc = network.variables['params']['fc']
  np.testing.assert_allclose(found @ fc['kernel'] + fc['bias'], logits, atol=1e-4)


def test_a_run_is_judged_in_its_features(known, trained, env):
  """Figures of random weights mean nothing, but for order: training images are nearer than samples."""
  arguments = (f'--run={trained}', f'--inception={known}/checkpoint.npz', '--num_samples=30')
  ended = commands.finish(commands.start('evaluate', *arguments, env=env), timeout=540)
  assert ended.code == 0, ended.err
  assert 'in the features of Inception-v3' in ended.out
  (path,) = trained.glob('evaluation_test_*.json')
  found = json.loads(path.read_text())['inception']
  path.unlink()
  assert found['protocol']['n_samples'] == found['protocol']['n_real'] == 30
  frechet = {name: x['frechet'] for name, x in found['scores'].items()}
  assert frechet['train'] < frechet['ema']
  assert frechet['fresh'] < frechet['ema']
