"""The step on several devices in bfloat16, and with rematerialised blocks."""

import functools

import jax
import numpy as np
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.distributed import pmap, sharding
from gan_jax.gan import train_step
from gan_jax.gan.update_ratio import ratio_from_float
from tests.helpers.tiny_gan import IMAGE_SHAPE, assert_trees_close, tiny_gan

STEPS = 3


def final_state(n_devices, shape=IMAGE_SHAPE, **options):
  """Returns the state after `STEPS` steps."""
  gan, key, state = tiny_gan(shape=shape, dropout=False, lr=0.05, **options)
  batches = device_batches.image_batches()
  train_spec = train_step.TrainSpec(gan, 'alternating', ratio_from_float(2), 16, batches, batches)
  images = np.random.default_rng(0).integers(0, 256, (80, *shape), np.uint8)
  devices = jax.devices()[:n_devices]
  call = pmap.pmap(functools.partial(train_step.run_steps, train_spec), devices, 4, 1)
  data = sharding.replicate(DeviceData(Images(images)), devices)
  return call(key, sharding.replicate(state, devices), data, np.int32(STEPS))[0]


@pytest.mark.slow
def test_bfloat16_on_four_devices_is_bfloat16_on_one():
  one, four = (final_state(n, spec={'dtype': 'bfloat16'}) for n in (1, 4))
  exact = final_state(1)
  assert {x.dtype for x in jax.tree.leaves(four.g.params)} == {np.dtype('float32')}
  assert_trees_close(four.g.params, one.g.params, atol=2e-3)  # sums of 8 bits of mantissa
  assert_trees_close(four.g.params, exact.g.params, atol=5e-3)


@pytest.mark.slow
def test_rematerialised_blocks_change_nothing_on_four_devices():
  shape = (8, 8, 1)
  specs = ({'g_width': 16, 'd_width': 16, 'remat': remat} for remat in (False, True))
  kept, remat = (final_state(4, shape, network='r3gan', spec=spec) for spec in specs)
  assert_trees_close(remat, kept, rtol=1e-5, atol=1e-6)
