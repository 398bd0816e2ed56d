"""Tests a few steps and a resumed run of presets for accelerators, on a CPU."""

import os
import signal

import jax
import numpy as np
import pytest

from gan_jax.data import array_cache, dataset
from tests.helpers import commands

pytestmark = pytest.mark.slow

PRESETS = ('cifar10', 'cifar10_2014', 'cifar10_2014_conv')


@pytest.fixture(scope='module')
def cifar10_env(tmp_path_factory):
  """Returns environment variables of scripts, with random images prepared as CIFAR-10."""
  folder = tmp_path_factory.mktemp('data')
  rng = np.random.default_rng(0)
  arrays = {}
  for split, n in (('train', 200), ('validation', 100), ('test', 100)):
    arrays[split] = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    arrays[f'{split}_labels'] = rng.permutation(np.arange(n) % 10)
  path = folder / 'cifar10' / 'decoded.npz'
  path.parent.mkdir()
  images = dataset.from_arrays('cifar10', arrays)
  array_cache.write_cache(path, array_cache.CachedDataset(images, 'cifar10/3.0.2'))
  return os.environ | {'GAN_JAX_DATA_DIR': str(folder), 'JAX_PLATFORMS': 'cpu'}


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_takes_steps_and_resumes_bit_for_bit(name, cifar10_env, tmp_path):
  # Stopped before an evaluation, whose 10,000 images take an hour on a CPU.
  flags = (
    f'--flagfile=experiments/presets/{name}.flags',
    '--batch_size=4',
    '--log_every=1',
    '--checkpoint_every=2',
  )
  unbroken, broken = tmp_path / 'unbroken', tmp_path / 'broken'

  def train_until(step, run, stop_signal):
    process = commands.start('train', *flags, f'--run={run}', env=cifar10_env)
    commands.wait_for_checkpoint(run, step, process, timeout=1200)
    process.send_signal(stop_signal)
    return commands.finish(process, timeout=600)

  def draw(run):
    output = run / 'samples.npz'
    few = ('--checkpoint=4', '--num_samples=4', f'--output={output}')
    ended = commands.finish(commands.start('sample', f'--run={run}', *few, env=cifar10_env))
    assert ended.code == 0, ended.err
    return np.load(output)['images']

  assert train_until(4, unbroken, signal.SIGTERM).code == 143
  assert train_until(2, broken, signal.SIGKILL).code == -signal.SIGKILL
  resumed = train_until(4, broken, signal.SIGTERM)
  assert resumed.code == 143
  assert 'going on from step ' in resumed.err
  left, right = (commands.load_state(run, 4) for run in (unbroken, broken))
  jax.tree.map(np.testing.assert_array_equal, left, right)
  left, right = (
    [record for record in commands.records(run) if record['step'] <= 4]
    for run in (unbroken, broken)
  )
  assert left == right
  assert [record['step'] for record in left] == [1, 2, 3, 4]
  left, right = (draw(run) for run in (unbroken, broken))
  np.testing.assert_array_equal(left, right)
