"""Presets that need an accelerator: a few steps here, a resumed run, and a compilation for TPUs."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gan_jax.data import cache, dataset
from tests import commands, libtpu

pytestmark = pytest.mark.slow

PRESETS = ('cifar10', 'cifar10_2014', 'cifar10_2014_conv')
COMPILE = """
import functools, sys
import jax, jax.numpy as jnp
from jax.experimental import topologies
from gan_jax import config as config_lib
from gan_jax import feeds, gan, parallel, stretch
from gan_jax.feeds import Data, Images
from tests.test_presets import read
from pathlib import Path

config = read(Path(sys.argv[1]))
devices = topologies.get_topology_desc(platform='tpu', topology_name='v5e:2x2').devices
shape, n = (32, 32, 3), 40_000
model = config_lib.build(config, shape, n, 10)
recipe = stretch.Recipe(
  model, config.update, config.ratio, config.batch_size,
  feeds.from_images(contrast=config.contrast), feeds.from_images(contrast=config.contrast),
)
call = parallel.pmap(functools.partial(stretch.run_steps, recipe), devices, 4, donate_argnum=1)
state = jax.eval_shape(lambda key: gan.init(model, key, jnp.zeros((1, *shape))), jax.random.key(0))
labels = jax.ShapeDtypeStruct((n,), jnp.int32) if config.conditional else None
data = Data(Images(jax.ShapeDtypeStruct((n, *shape), jnp.uint8), labels))
key = jax.eval_shape(lambda: jax.random.key(0))
lowered = call.func.lower(*call.args, key, state, data, jax.ShapeDtypeStruct((), jnp.int32))
compiled = lowered.compile(compiler_options={'exec_time_optimization_effort': -1.0})
print('bytes per chip', compiled.memory_analysis().temp_size_in_bytes)
"""


@pytest.fixture(scope='module')
def libtpu_folder(tmp_path_factory):
  """The compiler of this jax in a folder of its own: in the environment jax would look for a TPU."""
  folder = tmp_path_factory.mktemp('libtpu')
  libtpu.install(folder)
  return folder


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_compiles_for_a_tpu(name, libtpu_folder):
  env = os.environ | {
    'PYTHONPATH': f'{commands.ROOT}:{libtpu_folder}',
    'JAX_PLATFORMS': 'cpu',
    'TPU_SKIP_MDS_QUERY': '1',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }
  command = [sys.executable, '-c', COMPILE, f'experiments/presets/{name}.flags']
  ended = subprocess.run(
    command, cwd=commands.ROOT, env=env, capture_output=True, text=True, timeout=1800
  )
  assert ended.returncode == 0, ended.stderr[-3000:]
  used = int(ended.stdout.split()[-1])
  assert 0 < used < 15.75 * 2**30  # what a v5e chip has


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
