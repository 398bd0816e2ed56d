"""Presets that need an accelerator: a few steps here, and a resumed run."""

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
  array_cache.write_cache(path, array_cache.CachedDataset(made, 'cifar10/3.0.2'))
  return os.environ | {'GAN_JAX_DATA_DIR': str(folder), 'JAX_PLATFORMS': 'cpu'}


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_takes_steps_and_resumes_bit_for_bit(name, colours, tmp_path):
  # Stopped long before an evaluation: ten thousand pictures of the largest take an hour here.
  flags = (
    f'--flagfile=experiments/presets/{name}.flags',
    '--batch_size=4',
    '--log_every=1',
    '--checkpoint_every=2',
  )
  unbroken, broken = tmp_path / 'unbroken', tmp_path / 'broken'

  def until(step, run, ended_by):
    process = commands.start('train', *flags, f'--run={run}', env=colours)
    commands.wait_for_checkpoint(run, step, process, timeout=1200)
    process.send_signal(ended_by)
    return commands.finish(process, timeout=600)

  def painted(run):
    output = run / 'painted.npz'
    few = ('--checkpoint=4', '--num_samples=4', f'--output={output}')
    ended = commands.finish(commands.start('sample', f'--run={run}', *few, env=colours))
    assert ended.code == 0, ended.err
    return np.load(output)['images']

  assert until(4, unbroken, signal.SIGTERM).code == 0
  assert until(2, broken, signal.SIGKILL).code == -signal.SIGKILL
  resumed = until(4, broken, signal.SIGTERM)
  assert resumed.code == 0
  assert 'going on from step ' in resumed.err
  left, right = (commands.state(run, 4) for run in (unbroken, broken))
  jax.tree.map(np.testing.assert_array_equal, left, right)
  left, right = (
    [record for record in commands.records(run) if record['step'] <= 4]
    for run in (unbroken, broken)
  )
  assert left == right
  assert [record['step'] for record in left] == [1, 2, 3, 4]
  left, right = (painted(run) for run in (unbroken, broken))
  np.testing.assert_array_equal(left, right)
