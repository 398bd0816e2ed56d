"""Trains the same run on resident and on streamed minibatches.

python -m tests.helpers.streaming_runs COORDINATOR N I

Runs process I of N, with two devices each, and prints the rows that it loaded and the results.
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
SEGMENT_ENDS = (1, 4, 12)  # steps
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
  """Trains to each of SEGMENT_ENDS; returns the state, the mean metrics per segment, the program calls."""
  update, k, options = CASES[case]
  gan, key, state = tiny_gan(dropout=case == 'plain', **options)
  devices, data = jax.devices()[:n_devices], random_host_data(gan.n_classes)
  image_batches = device_batches.image_batches()
  train_batches = device_batches.window_batches(BATCH_SIZE) if streamed else image_batches
  ratio = k and ratio_from_float(k)
  spec = train_step.TrainSpec(gan, update, ratio, BATCH_SIZE, train_batches, image_batches)
  if streamed:
    pipeline = input_pipeline.StreamingPipeline(
      data, key, BATCH_SIZE, gan.ratio_controller or ratio, devices, mapped
    )
  else:
    pipeline = input_pipeline.ResidentPipeline(data, devices, mapped)
  sharded = {2: input_pipeline.STREAMED_ARGUMENTS[3]} if streamed else {}
  run_steps = pmap.step_map_by_name(mapped)(
    functools.partial(train_step.run_steps, spec), devices, 4, 1, sharded
  )
  if mapped == sharding.SHARDED_PARAMS:
    state = jax.device_put(state, sharding.param_shardings(state, devices))
  else:
    state = sharding.replicate(state, devices)
  step, segment_metrics, n_calls = 0, [], 0
  for stop in SEGMENT_ENDS:
    calls = []
    while step < stop:
      batch_data, n = pipeline.next_data(state, step, stop - step)
      state, means = run_steps(key, state, batch_data, n)
      pipeline.dispatched(means)
      calls.append((int(n), means))
      step += int(n)
    segment_metrics.append(input_pipeline.mean_metrics(calls))
    n_calls += len(calls)
  pipeline.close()
  is_split = mapped == sharding.SHARDED_PARAMS and jax.process_count() > 1
  state = sharding.allgather_to_host(state) if is_split else jax.device_get(state)
  return state, segment_metrics, n_calls


MULTI_PROCESS_CASE = 'k 1/2, labels'
MAPS = (*pmap.STEP_MAPS, sharding.SHARDED_PARAMS)


def compare_in_process(place):
  """Prints, as one of several processes, the rows that it loaded and whether both runs are equal."""
  group = processes.join_group(place, print)
  input_pipeline._MAX_WINDOW = 4
  loaded, take_shuffled = set(), host_loader.take_shuffled

  def recording_take_shuffled(data, key, positions):
    loaded.update((positions % BATCH_SIZE).tolist())
    return take_shuffled(data, key, positions)

  train = functools.partial(train_in_segments, MULTI_PROCESS_CASE)
  for mapped in MAPS:
    loaded.clear()
    host_loader.take_shuffled = recording_take_shuffled
    state, _, n_calls = train(mapped, len(jax.devices()), streamed=True)
    host_loader.take_shuffled = take_shuffled
    expected, _, _ = train(mapped, len(jax.devices()), streamed=False)
    equal = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), state, expected)
    line = {'mapped': mapped, 'loaded': sorted(loaded), 'n_calls': n_calls}
    line |= {'equal': all(jax.tree.leaves(equal)), 'size': absolute_sum(state)}
    print(json.dumps(line), flush=True)
  processes.leave_group(group)


def absolute_sum(state):
  """Returns the sum of |x| over the averaged generator, to tell two states apart."""
  return float(sum(np.abs(np.float64(x)).sum() for x in jax.tree.leaves(state.g_ema)))


if __name__ == '__main__':
  coordinator, n_processes, process_id = sys.argv[1:]
  jax.config.update('jax_num_cpu_devices', 2)
  compare_in_process(processes.ProcessSpec(coordinator, int(n_processes), int(process_id)))
