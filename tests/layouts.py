"""The same run on every layout of devices, and how far apart they end.

python -m tests.layouts CASE...     a line of JSON for each: the distance of each layout to one device
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import feeds, parallel, stretch
from gan_jax.balance import ratio
from gan_jax.feeds import Data, Images
from gan_jax.penalties import weighted_sum
from tests.games import SHAPE, tiny

BATCH_SIZE, N = 16, 80
UPDATES = {
  'k1': ('alternating', 1),
  'k2': ('alternating', 2),
  'k5': ('alternating', 5),
  'simultaneous': ('simultaneous', 1),
}
BATCH_NORM = {'spec': {'g_norm': 'batch'}}
R1 = {'penalties': weighted_sum({'r1': 0.5}, {})}
AUGMENT = {'augment': 'diffaugment'}
EVERYTHING = {'dropout': True, 'ema_decay': 0.99, **BATCH_NORM, **R1, **AUGMENT}
FEATURES = {
  'plain': {'ema_decay': 0.0},
  'batch_norm': BATCH_NORM,
  'dropout': {'dropout': True},
  'r1': R1,
  'ema': {'ema_decay': 0.99},
  'augmentation': AUGMENT,
  'everything': EVERYTHING,
  'everything_but_batch_norm': {k: v for k, v in EVERYTHING.items() if k != 'spec'},
}
CASES = [f'{update}-{feature}' for update in UPDATES for feature in FEATURES]

# Programs this small are sooner compiled badly than well.
FLAGS = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'


def made(case):
  """The recipe of a case, its key, its first state and its data."""
  update, k = UPDATES[case.split('-')[0]]
  gan, key, state = tiny(**{'dropout': False, 'lr': 0.02} | FEATURES[case.split('-')[1]])
  feed = feeds.from_images()
  recipe = stretch.Recipe(gan, update, ratio(k), BATCH_SIZE, feed, feed)
  images = jax.random.bits(jax.random.key(9), (N, *SHAPE), jnp.uint8)
  return recipe, key, state, Data(Images(images))


def ran(case, name, n_devices, steps):
  """The parameters after so many steps on so many devices, mapped as `name` says."""
  recipe, key, state, data = made(case)
  run = functools.partial(stretch.run_steps, recipe)
  if name == 'simulated':
    mapped = jax.vmap(
      lambda _, state: run(key, state, data, np.int32(steps), axis_name='data'),
      (0, None), None, axis_name='data', axis_size=n_devices,
    )  # fmt: skip
    end, _ = jax.jit(mapped)(jnp.arange(n_devices), state)
  else:
    devices = jax.devices()[:n_devices]
    call = parallel.MAPS[name](run, devices, 4, 1)
    state, data = (parallel.replicate(x, devices) for x in (state, data))
    end, _ = call(key, state, data, np.int32(steps))
  return jax.tree.map(np.asarray, (end.g.params, end.d.params, end.g_ema))


def distance(left, right):
  """The largest difference of any two parameters, relative to the largest of their array.

  Or to .01: biases before batch norm, which it takes away again, are nothing but rounding.
  """
  apart = lambda a, b: float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 0.01))
  return max(jax.tree.leaves(jax.tree.map(apart, left, right)))


def distances(case, numbers, steps=200):
  """By layout the distance to one device; 0 of shard_map to pmap on as many is asked for besides."""
  one = ran(case, 'pmap', 1, steps)
  found = {}
  for n in numbers:
    pmapped, sharded = (ran(case, name, n, steps) for name in ('pmap', 'shard_map'))
    found[f'pmap {n}'], found[f'shard_map {n}'] = distance(pmapped, one), distance(sharded, one)
    found[f'twins {n}'] = distance(sharded, pmapped)
  found[f'simulated {numbers[-1]}'] = distance(ran(case, 'simulated', numbers[-1], steps), one)
  return found


if __name__ == '__main__':
  jax.config.update('jax_num_cpu_devices', 8)
  for case in sys.argv[1:]:
    print(json.dumps({'case': case} | distances(case, (1, 2, 4, 8))), flush=True)
