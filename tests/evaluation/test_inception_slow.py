"""Compares Inception-v3 with torchvision's, modified as for Frechet distances."""

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
def reference(tmp_path_factory):
  """Returns a folder with random weights, images, and the outputs of torchvision's network."""
  folder, torch = tmp_path_factory.mktemp('known'), tmp_path_factory.mktemp('torch')
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', f'--target={torch}', 'safetensors']
  for build in BUILDS:
    installed = subprocess.run([*pip, *build], capture_output=True, text=True)
    if installed.returncode == 0:
      break
  else:
    pytest.skip(f'PyTorch cannot be installed: {installed.stderr[-300:]}')
  env = os.environ | {'PYTHONPATH': str(torch)}
  subprocess.run([sys.executable, REFERENCE, folder], env=env, check=True)
  return folder


@pytest.mark.parametrize('kind', ['npz', 'safetensors'])
@pytest.mark.parametrize('images_name', ['images', 'larger'])
def test_features_and_logits_are_those_of_torchvision(reference, monkeypatch, kind, images_name):
  """The reference resizes the same uint8 images with Pillow."""
  monkeypatch.setattr(inception, '_CHUNK', 5)
  network = inception.load_inception(reference / f'checkpoint.{kind}')
  with np.load(reference / 'known.npz') as arrays:
    images, features, logits = (arrays[images_name + x] for x in ('', '_features', '_logits'))
  computed = network.features(images)
  assert features.std(axis=0).mean() > 0.005  # images differ by far more than the tolerance
  np.testing.assert_allclose(computed, features, atol=1e-4)
  fc = network.variables['params']['fc']
  np.testing.assert_allclose(computed @ fc['kernel'] + fc['bias'], logits, atol=1e-4)


def test_a_run_is_scored_in_its_features(reference, trained, env):
  """Even with random weights training images are nearer than samples."""
  arguments = (f'--run={trained}', f'--inception={reference}/checkpoint.npz', '--num_samples=30')
  ended = commands.finish(commands.start('evaluate', *arguments, env=env), timeout=540)
  assert ended.code == 0, ended.err
  assert 'in the features of Inception-v3' in ended.out
  (path,) = trained.glob('evaluation_test_*.json')
  report = json.loads(path.read_text())['inception']
  path.unlink()
  assert report['protocol']['n_samples'] == report['protocol']['n_real'] == 30
  frechet = {name: x['frechet'] for name, x in report['scores'].items()}
  assert frechet['train'] < frechet['ema']
  assert frechet['fresh'] < frechet['ema']
