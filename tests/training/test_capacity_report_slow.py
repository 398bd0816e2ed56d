"""Compiles every preset for TPU slices and counts collectives; no step transfers data to the host.

Each update needs one all-reduce of its gradients and metrics: two per step at k = 1, and those between several
slices. Batch norm adds one per layer and pass, forward and backward.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from gan_jax.distributed import chip_specs
from tests.helpers import commands, libtpu

pytestmark = pytest.mark.slow

TOPOLOGIES = {
  'v4': ('v4:2x2x2', 'v4:4x4x4', 'v4:4x8x8', 'v4:8x16x16'),
  'v5e': ('v5e:2x4', 'v5e:8x8', 'v5e:16x16', 'v5e:16x16*8'),
  'v5p': ('v5p:2x2x2', 'v5p:4x4x4', 'v5p:4x8x8', 'v5p:8x16x16'),
  'v6e': ('v6e:2x4', 'v6e:8x8', 'v6e:16x16', 'v6e:16x16*8'),
}
# Expected all-reduces per step on 8 chips.
ALL_REDUCES = {
  # One for the update of D, one for that of G. Without batch norm convolutions need no more than an MLP.
  **dict.fromkeys(('mnist', 'fashion_mnist', 'ring', 'grid', 'painter', 'painter_tutorial'), 2),
  **dict.fromkeys(('cifar10', 'images64'), 2),
  # Both updates at once: one for the gradients of both players, one for the metrics.
  'mnist_2014': 2,
  # The same, but the gradients are too large for one message: the compiler fills each up to 256 MB, which
  # is G's largest layer. 507 MB need four, 309 MB two.
  'cifar10_2014': 5,
  'cifar10_2014_conv': 3,
  # G has two layers of batch norm, and both updates draw samples of the same G: the compiler combines the sums
  # of the first layer, and one of the second with D's gradients. Two forward, two backward, two updates.
  **dict.fromkeys(('mnist_dcgan', 'fashion_dcgan', 'stacked_mnist', 'emoji'), 6),
  # G has seven layers of batch norm, and k = 5: seven forward and one for gradients in each update of D,
  # seven forward, seven backward and one for gradients in that of G, and one for the metrics.
  'images32': 5 * (7 + 1) + 7 + 7 + 1 + 1,
}


@pytest.fixture(scope='module')
def compiler(tmp_path_factory):
  """Returns the environment of a process that finds the TPU compiler, installed in a separate folder."""
  folder = tmp_path_factory.mktemp('libtpu')
  libtpu.install(folder)
  return os.environ | {'PYTHONPATH': f'{commands.ROOT}:{folder}', 'JAX_PLATFORMS': 'cpu'}


def compile_preset(compiler, preset, *slices, timeout=3600):
  ended = subprocess.run(
    [sys.executable, '-m', 'tests.helpers.compiled_steps', preset, *slices],
    cwd=commands.ROOT, env=compiler, capture_output=True, text=True, timeout=timeout,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stderr[-3000:]
  return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize('generation', TOPOLOGIES)
def test_mnist_on_8_to_2048_chips_has_one_all_reduce_per_update(generation, compiler):
  results = compile_preset(compiler, 'mnist', *TOPOLOGIES[generation])
  assert [each['chips'] for each in results] == [8, 64, 256, 2048]
  for each in results:
    several = '*' in each['slice']
    # Transfers between slices are no instructions of the program.
    assert each['all_reduces'] == 2, each
    assert not [kind for kind, *_ in each['others'] if not several], each
    assert each['host'] == []
    assert each['peak'] < chip_specs.CHIPS[generation].hbm


def test_every_preset_is_listed():
  assert set(ALL_REDUCES) == {
    path.stem for path in (commands.ROOT / 'experiments/presets').iterdir()
  }


@pytest.mark.parametrize('preset', ALL_REDUCES)
def test_a_preset_fits_a_chip_and_has_the_expected_collectives(preset, compiler):
  (result,) = compile_preset(compiler, preset, 'v5e:2x4')
  assert result['all_reduces'] == ALL_REDUCES[preset], result
  assert result['others'] == []
  assert result['host'] == []
  assert 0 < result['peak'] < chip_specs.CHIPS['v5e'].hbm


def test_a_model_that_does_not_fit_is_refused_with_the_missing_bytes(compiler):
  command = (
    *('pod', '--topology=v5e:2x2', '--dataset=mnist', '--g_width=40000', '--d_width=4000'),
    *('--batch_size=64', '--nolargest_batch'),
  )
  ended = commands.finish(commands.start(*command, env=compiler), 900)
  assert ended.code == 1, ended
  assert re.search(
    r'does not fit: \d+ bytes per chip are needed .* (\d+) bytes are missing', ended.err
  )
  assert '--shard_params' in ended.err
  fits = commands.finish(commands.start(*command, '--shard_params', '--json', env=compiler), 900)
  assert fits.code == 0, fits
