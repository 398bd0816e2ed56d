"""The same run on minibatches that lie on the device, and on those that stream from the host.

python -m tests.helpers.streaming_runs COORDINATOR N I

Runs process I of N, with two devices each, and prints what it loaded and what came of it.
"""

import functools
import json
import sys

import jax
import numpy as np

from gan_jax.data import device_batches, host_loader
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.distributed import pmap, processes, sharding
from gan_jax.gan import train_step
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_ratio import RatioController, ratio_from_float
from gan_jax.training import input_pipeline
from tests.helpers.tiny_gan import IMAGE_SHAPE, tiny_gan

N, N_CLASSES, BATCH_SIZE = 40, 3, 8
SEGMENT_ENDS = (1, 4, 12)  # steps between which nothing but training happens
# (update, k, fields of the Gan)
CASES = {
  'plain': ('alternating', 1, {}),
  'k 1/2, labels': ('alternating', 0.5, {'n_classes': N_CLASSES}),
  'k 5, relativistic, R1': (
    'alternating',
    5,
    {'loss': 'relativistic', 'penalties': make_penalties({'r1': 0.5}, {})},
  ),
  'k auto, labels': (
    'alternating',
    None,
    {
      'n_classes': N_CLASSES,
      'ratio_controller': RatioController(every=2, n_examples=8, n_lookahead=2, target=1e-4),
    },
  ),
  'simultaneous, augmentation': ('simultaneous', 1, {'augment': 'diffaugment'}),
}


def random_host_data(labelled):
  rng = np.random.default_rng(0)
  made = [
    Images(
      rng.integers(0, 256, (N, *IMAGE_SHAPE), np.uint8), np.arange(N, dtype=np.int32) % N_CLASSES
    )
    for _ in range(2)
  ]
  return DeviceData(*made) if labelled else DeviceData(*made).without_labels()


def train_in_segments(case, mapped, n_devices, streamed):
  """The state after so many steps, and what was reported of each stretch."""
  update, k, options = CASES[case]
  gan, key, state = tiny_gan(dropout=case == 'plain', **options)
  devices, data = jax.devices()[:n_devices], random_host_data(gan.n_classes)
  images_feed = device_batches.image_batches()
  feed = device_batches.window_batches(BATCH_SIZE) if streamed else images_feed
  recipe = train_step.TrainSpec(
    gan, update, k and ratio_from_float(k), BATCH_SIZE, feed, images_feed
  )
  if streamed:
    pace = gan.ratio_controller or ratio_from_float(k)
    source = input_pipeline.StreamingPipeline(data, key, BATCH_SIZE, pace, devices, mapped)
  else:
    source = input_pipeline.ResidentPipeline(data, devices, mapped)
  call = pmap.step_map_by_name(mapped)(
    functools.partial(train_step.run_steps, recipe),
    devices,
    4,
    1,
    {2: input_pipeline.STREAMED_ARGUMENTS[3]} if streamed else {},
  )
  if mapped == sharding.SHARDED_PARAMS:
    state = jax.device_put(state, sharding.param_shardings(state, devices))
  else:
    state = sharding.replicate(state, devices)
  step, told, n_calls = 0, [], 0
  for stop in SEGMENT_ENDS:
    state, calls = source.advance(functools.partial(call, key), state, step, stop - step)
    told.append(input_pipeline.mean_metrics(calls))
    step, n_calls = stop, n_calls + len(calls)
  source.close()
  in_parts = mapped == sharding.SHARDED_PARAMS and jax.process_count() > 1
  return sharding.allgather_to_host(state) if in_parts else jax.device_get(state), told, n_calls


MULTI_PROCESS_CASE = 'k 1/2, labels'
MAPS = (*pmap.STEP_MAPS, sharding.SHARDED_PARAMS)


def compare_in_process(place):
  """One of several processes, which says what rows it has loaded and whether both runs are the same."""
  group = processes.join_group(place, print)
  input_pipeline._MAX_WINDOW = 4
  loaded, take_shuffled = set(), host_loader.take_shuffled

  def recorded(data, key, positions):
    loaded.update((positions % BATCH_SIZE).tolist())
    return take_shuffled(data, key, positions)

  for mapped in MAPS:
    loaded.clear()
    host_loader.take_shuffled = recorded
    end, _, n_calls = train_in_segments(
      MULTI_PROCESS_CASE, mapped, len(jax.devices()), streamed=True
    )
    host_loader.take_shuffled = take_shuffled
    expected, _, _ = train_in_segments(
      MULTI_PROCESS_CASE, mapped, len(jax.devices()), streamed=False
    )
    equal = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), end, expected)
    found = {'mapped': mapped, 'loaded': sorted(loaded), 'n_calls': n_calls}
    found |= {'equal': all(jax.tree.leaves(equal)), 'size': absolute_sum(end)}
    print(json.dumps(found), flush=True)
  processes.leave_group(group)


def absolute_sum(state):
  """A number that tells two states apart."""
  return float(sum(np.abs(np.float64(x)).sum() for x in jax.tree.leaves(state.g_ema)))


if __name__ == '__main__':
  coordinator, n_processes, process_id = sys.argv[1:]
  jax.config.update('jax_num_cpu_devices', 2)
  compare_in_process(processes.ProcessSpec(coordinator, int(n_processes), int(process_id)))
