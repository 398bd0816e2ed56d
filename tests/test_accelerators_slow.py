"""Presets that need an accelerator: a few steps here, and a resumed run."""

import os

import numpy as np
import pytest

from gan_jax.data import cache, dataset
from tests import commands

pytestmark = pytest.mark.slow

PRESETS = ('cifar10', 'cifar10_2014', 'cifar10_2014_conv')


@pytest.fixture(scope='module')
def colours(tmp_path_factory):
  """A prepared set in CIFAR-10's shape, and the environment of scripts that train on it."""
  folder = tmp_path_factory.mktemp('data')
  rng = np.random.default_rng(0)
  arrays = {}
  for split, n in (('train', 200), ('validation', 100), ('test', 100)):
    arrays[split] = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    arrays[f'{split}_labels'] = rng.permutation(np.arange(n) % 10)
  path = folder / 'cifar10' / 'decoded.npz'
  path.parent.mkdir()
  made = dataset.from_arrays('cifar10', arrays)
  cache.write(path, cache.Cached(made, 'cifar10/3.0.2'))
  return os.environ | {'GAN_JAX_DATA_DIR': str(folder), 'JAX_PLATFORMS': 'cpu'}


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_takes_steps_and_resumes_bit_for_bit(name, colours, tmp_path):
  flags = (f'--flagfile=experiments/presets/{name}.flags', '--batch_size=4', '--log_every=1')

  def train(run, steps):
    events = (
      f'--steps={steps}',
      '--eval_every=4',
      '--checkpoint_every=2',
      f'--run={tmp_path / run}',
    )
    ended = commands.finish(commands.start('train', *flags, *events, env=colours), timeout=1800)
    assert ended.code == 0, ended.err

  train('unbroken', 4)
  process = commands.start(
    'train', *flags, '--steps=4', '--eval_every=4', '--checkpoint_every=2',
    f'--run={tmp_path / "broken"}', env=colours,
  )  # fmt: skip
  commands.wait_for_step(tmp_path / 'broken', 2, process, timeout=1200)
  process.kill()
  process.communicate()
  train('broken', 4)
  commands.assert_same_run(tmp_path / 'broken', tmp_path / 'unbroken')
