"""The step on many devices in bfloat16, and with blocks computed again."""

import functools

import jax
import numpy as np
import pytest

from gan_jax import feeds, parallel, placement, stretch
from gan_jax.balance import ratio
from gan_jax.feeds import Data, Images
from tests.games import SHAPE, assert_close, tiny

STEPS = 3


def ran(n_devices, shape=SHAPE, **options):
  """The state after some steps; float32 whatever is computed in."""
  gan, key, state = tiny(shape=shape, dropout=False, lr=0.05, **options)
  feed = feeds.from_images()
  recipe = stretch.Recipe(gan, 'alternating', ratio(2), 16, feed, feed)
  images = np.random.default_rng(0).integers(0, 256, (80, *shape), np.uint8)
  devices = jax.devices()[:n_devices]
  call = parallel.pmap(functools.partial(stretch.run_steps, recipe), devices, 4, 1)
  data = placement.replicate(Data(Images(images)), devices)
  return call(key, placement.replicate(state, devices), data, np.int32(STEPS))[0]


@pytest.mark.slow
def test_bfloat16_on_four_devices_is_bfloat16_on_one():
  one, four = (ran(n, spec={'dtype': 'bfloat16'}) for n in (1, 4))
  exact = ran(1)
  assert {x.dtype for x in jax.tree.leaves(four.g.params)} == {np.dtype('float32')}
  assert_close(four.g.params, one.g.params, atol=2e-3)  # sums of 8 bits of mantissa
  assert_close(four.g.params, exact.g.params, atol=5e-3)


@pytest.mark.slow
def test_blocks_computed_again_change_nothing_on_four_devices():
  shape = (8, 8, 1)
  specs = ({'g_width': 16, 'd_width': 16, 'remat': remat} for remat in (False, True))
  kept, again = (ran(4, shape, network='r3gan', spec=spec) for spec in specs)
  assert_close(again, kept, rtol=1e-5, atol=1e-6)
