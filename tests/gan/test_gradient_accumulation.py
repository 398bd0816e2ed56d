"""A batch in parts, one after another, is the batch: noise, dropout and penalties belong to the example."""

import functools

import jax
import numpy as np
import pytest

from gan_jax.config import gan_factory, run_config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.distributed import pmap, sharding
from gan_jax.gan import train_step
from gan_jax.gan.networks.network_spec import NetworkSpec
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_ratio import ratio_from_float
from gan_jax.utils.errors import UserError
from tests.helpers.tiny_gan import IMAGE_SHAPE, assert_trees_close, tiny_gan

STEPS = 5
PENALTIES = {'penalties': make_penalties({'r1': 0.5, 'gradient_penalty': 0.3}, {'r1': 2})}
FAST = ('alternating', 'pairs')  # the others take a minute each
CASES = {
  'alternating': ('alternating', 2, {**PENALTIES, 'augment': 'diffaugment'}),
  'pairs': ('alternating', 1, {'loss': 'relativistic', 'n_classes': 3}),
  'simultaneous': ('simultaneous', 1, PENALTIES),
  'spectral': ('extragradient', 1, {'spec': {'d_norm': 'spectral'}}),
}


@functools.cache
def ran(case, accumulate, n_devices, name='pmap'):
  """The state and the metrics after some steps."""
  update, k, options = CASES[case]
  gan, key, state = tiny_gan(**options)
  feed = device_batches.image_batches()
  gan = gan._replace(accumulate=accumulate)
  spec = train_step.TrainSpec(gan, update, ratio_from_float(k), 16, feed, feed)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (80, *IMAGE_SHAPE), np.uint8)
  data = DeviceData(Images(images, np.arange(80) % 3 if gan.n_classes else None))
  devices = jax.devices()[:n_devices]
  maps = pmap.STEP_MAPS | {sharding.SHARDED_PARAMS: pmap.jit_sharded}
  call = maps[name](functools.partial(train_step.run_steps, spec), devices, 4, 1)
  return jax.tree.map(
    np.asarray, call(key, sharding.replicate(state, devices), data, np.int32(STEPS))
  )


@pytest.mark.parametrize(
  'case', [x if x in FAST else pytest.param(x, marks=pytest.mark.slow) for x in CASES]
)
@pytest.mark.parametrize(
  ('accumulate', 'n_devices'), [pytest.param(4, 1, marks=pytest.mark.slow), (2, 4)]
)
def test_parts_equal_the_whole(case, accumulate, n_devices):
  whole, metrics = ran(case, 1, 1)
  parts, of_parts = ran(case, accumulate, n_devices)
  assert_trees_close(parts, whole, rtol=2e-5, atol=2e-6)
  assert_trees_close(of_parts, metrics, rtol=2e-5, atol=2e-6)


def test_parts_under_a_spread_program_equal_the_whole():
  whole, _ = ran('alternating', 1, 1)
  parts, _ = ran('alternating', 2, 4, sharding.SHARDED_PARAMS)
  assert_trees_close(parts, whole, rtol=2e-5, atol=2e-6)


def test_parts_need_less_memory():
  def used(accumulate):
    settings = run_config.Config(
      dataset='painter', network='relu', g_depth=6, d_depth=6, batch_size=4096, g_width=64,
      d_width=64, g_norm='none', accumulate=accumulate,
    )  # fmt: skip
    from gan_jax.training import ahead_of_time_compile

    program = ahead_of_time_compile.trace_training_step(
      settings, ahead_of_time_compile.data_spec_of('painter'), jax.devices()[:1]
    )
    return ahead_of_time_compile.compile_step(program).memory_analysis().temp_size_in_bytes

  assert used(8) < 0.4 * used(1)


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({'g_norm': 'batch'}, 'batch norm needs the whole batch'),
    ({'update': 'unrolled'}, '--update=unrolled needs the whole batch'),
    ({'dragan': 1.0, 'r1': 0.0}, '--dragan=1.0 needs the whole batch'),
    ({'update': 'simultaneous', 'consensus': 1.0}, '--consensus=1.0 needs the whole batch'),
  ],
)
def test_what_needs_the_whole_batch_is_refused(settings, words):
  with pytest.raises(UserError, match=f'--accumulate=2: {words}'):
    gan_factory.build_gan(
      run_config.Config(accumulate=2, **settings), NetworkSpec((28, 28, 1)).shape, 100
    )
