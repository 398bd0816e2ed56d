"""Tests that streamed minibatches equal resident ones, and that little memory is used."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config.run_config import Config
from gan_jax.data import Dataset, array_cache, dataset, device_batches
from gan_jax.data.host_loader import HostLoader, take_shuffled
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import training_monitors
from gan_jax.distributed import sharding
from gan_jax.evaluation import tasks
from gan_jax.evaluation.tasks import image_task
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.evaluation.tasks.synthetic_task import SyntheticTask
from gan_jax.gan import train_step, update_ratio
from gan_jax.gan.update_ratio import RatioController, ratio_from_float
from gan_jax.training import (
  data_placement,
  input_pipeline,
  load_run,
  loop_hooks,
  metric_writers,
  session,
  train,
)
from gan_jax.utils.errors import UserError
from tests.helpers import commands, device_layouts, process_groups, streaming_runs
from tests.helpers.streaming_runs import (
  BATCH_SIZE,
  CASES,
  SEGMENT_ENDS,
  random_host_data,
  train_in_segments,
)
from tests.helpers.tiny_gan import assert_trees_close, assert_trees_equal

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run

LAYOUTS = [
  ('k auto, labels', 'pmap', 4),
  ('k 1/2, labels', 'shard_map', 4),
  ('simultaneous, augmentation', sharding.SHARDED_PARAMS, 4),
  *(
    pytest.param(case, mapped, n_devices, marks=pytest.mark.slow)
    for case in CASES
    for mapped, n_devices in (
      ('pmap', 1),
      ('pmap', 4),
      ('shard_map', 4),
      (sharding.SHARDED_PARAMS, 4),
    )
  ),
]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
  """Limits windows to fewer minibatches than a segment of steps needs."""
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 4)


@pytest.fixture(autouse=True)
def no_thread_survives():
  """Asserts after each test that all loading threads have ended."""
  yield
  for thread in threading.enumerate():
    if thread.name.startswith('grain'):
      thread.join(5)
      assert not thread.is_alive()


@pytest.mark.parametrize(('case', 'mapped', 'n_devices'), LAYOUTS)
def test_a_streamed_run_equals_a_resident_one_bit_for_bit(case, mapped, n_devices):
  state, metrics, n_calls = train_in_segments(case, mapped, n_devices, streamed=True)
  expected, expected_metrics, _ = train_in_segments(case, mapped, n_devices, streamed=False)
  assert_trees_equal(state, expected)
  assert_trees_close(metrics, expected_metrics, rtol=1e-5, atol=1e-6)
  assert n_calls > len(SEGMENT_ENDS)


def make_loader(data, key=None, batch_size=BATCH_SIZE, ahead=3, rows=None):
  key = jax.random.key(0) if key is None else key
  rows = np.arange(batch_size) if rows is None else rows
  return HostLoader(data, key, batch_size, rows, ahead)


@pytest.mark.parametrize('first', [0, 3, 2**29 - 2, 2**31 - 8])
def test_a_window_holds_the_shuffled_minibatches_also_where_positions_wrap_around(first):
  """With 8 examples in each, positions wrap around to 0 at minibatch 2 ** 29."""
  data, key = random_host_data(True).train, jax.random.key(5)
  stream = make_loader(data, key)
  window = device_batches.BatchWindow(*stream.window(first, 5), np.int32(first))
  stream.close()
  spec = lambda batch_fn: train_step.TrainSpec(None, '', None, BATCH_SIZE, batch_fn, batch_fn)
  for i in range(first, first + 5):
    draw = functools.partial(train_step.get_train_batch, key=key, i=jnp.int32(i), axis_name=None)
    expected = draw(spec(device_batches.image_batches()), data=jax.tree.map(jnp.asarray, data))
    assert_trees_equal(draw(spec(device_batches.window_batches(BATCH_SIZE)), data=window), expected)


def test_positions_wrap_around_within_a_minibatch():
  data, key, n = random_host_data(False).train, jax.random.key(5), 12
  at = 2**32 // n  # the minibatch in which position 2 ** 32 lies
  stream = make_loader(data, key, n)
  window = device_batches.BatchWindow(*stream.window(at - 1, 3), np.int32(at - 1))
  stream.close()
  for i in range(at - 1, at + 2):
    positions = ((i * n + np.arange(n)) % 2**32).astype(np.uint32)
    expected = device_batches.image_batches()(key, positions, jax.tree.map(jnp.asarray, data))
    assert_trees_equal(
      device_batches.window_batches(n)(key, jnp.asarray(positions), window), expected
    )


def test_a_stream_continues_from_any_minibatch_and_loads_each_once(monkeypatch):
  loaded = []
  load = HostLoader.load
  monkeypatch.setattr(HostLoader, 'load', lambda self, i: loaded.append(i) or load(self, i))
  stream = make_loader(random_host_data(True).train)
  first = stream.window(7, 4)
  second = stream.window(10, 4)  # overlaps the first window by one
  assert_trees_equal(second.images[:, 0], first.images[:, 3])
  assert sorted(loaded[:7]) == list(range(7, 14))
  assert_trees_equal(
    stream.window(8, 2).images, first.images[:, 1:3]
  )  # backward, as after a replay
  stream.close()
  stream.close()


def test_no_more_minibatches_are_loaded_ahead_than_requested():
  loaded, waiting = [], threading.Event()
  stream = make_loader(random_host_data(True).train, ahead=3)
  stream.load = lambda i: (
    loaded.append(i) or take_shuffled(stream._data, stream._key, np.arange(8, dtype=np.uint32))
  )
  stream.window(0, 4)
  waiting.wait(0.2)
  assert max(loaded) < 4 + 3
  stream.close()


def test_an_error_of_a_loading_thread_reaches_the_loop():
  stream = make_loader(random_host_data(True).train)
  stream.load = lambda i: 1 / 0
  with pytest.raises(ZeroDivisionError):
    stream.window(0, 2)
  stream.close()


@pytest.mark.parametrize('k', [0.001, 0.4, 0.5, 1, 1.5, 3, 12.5])
def test_the_number_of_updates_of_d_is_known_in_advance(k):
  ratio = ratio_from_float(k)
  step = np.arange(2500)
  due = (
    np.asarray(jax.vmap(ratio.updates_at)(step)) if ratio.denominator > 1 else np.full(2500, int(k))
  )
  assert [ratio.updates_before(int(i)) for i in step] == [0, *np.cumsum(due)[:-1]]
  width = input_pipeline.minibatches_per_window(2 * 4, ratio)
  assert width > due.max()


def test_no_controller_needs_more_than_its_maximum_of_updates():
  """Starts with the largest credit and the highest k."""
  controller = RatioController()
  control = controller.init()._replace(
    k=jnp.float32(controller.high), credit=jnp.nextafter(jnp.float32(6), jnp.float32(0))
  )
  total = 0
  for steps in range(1, 20):
    n, control = controller.next_updates(control)
    total += int(n)
    assert total <= controller.max_updates(steps)


def test_a_window_stays_within_its_limit_of_bytes(monkeypatch):
  monkeypatch.setattr(input_pipeline, '_WINDOW_BYTES', 1000)
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 100)
  assert input_pipeline.minibatches_per_window(4 * 25, ratio_from_float(1)) == 10
  assert (
    input_pipeline.minibatches_per_window(4 * 25, ratio_from_float(20)) == 21
  )  # at least what a step needs
  assert input_pipeline.minibatches_per_window(25, ratio_from_float(1)) == 40
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 30)
  assert input_pipeline.minibatches_per_window(25, ratio_from_float(1)) == 30


def noise_dataset(n_train=60, shape=(8, 8, 1)):
  pixels = np.random.default_rng(0).integers(0, 256, (n_train + 60, *shape), np.uint8)
  labels = np.arange(n_train + 60) % 3
  parts = slice(n_train), slice(n_train, n_train + 30), slice(n_train + 30, None)
  return Dataset('noise', *(pixels[x] for x in parts), *(labels[x] for x in parts), 'f00d')


def test_auto_streams_what_exceeds_a_quarter_of_free_memory(monkeypatch):
  task, devices = ImageTask(noise_dataset()), jax.devices()[:2]
  nbytes = 60 * (64 + 4)
  for free, expected in ((5 * nbytes, False), (3 * nbytes, True)):
    monkeypatch.setattr(
      data_placement.device_memory, 'free_device_bytes', lambda devices, free=free: free
    )
    assert data_placement.should_stream('auto', task, devices) is expected
    assert data_placement.should_stream('no', task, devices) is False
    assert data_placement.should_stream('yes', task, devices) is True
    assert data_placement.should_stream('auto', SyntheticTask(SYNTHETIC['ring']), devices) is False


def test_data_generated_on_the_device_cannot_stream():
  stacked = ImageTask(noise_dataset()._replace(stack=3, name='stacked'))
  for task in (SyntheticTask(SYNTHETIC['ring']), stacked):
    with pytest.raises(UserError, match=f'--stream=yes: .* {task.name} .* give --stream=auto'):
      data_placement.should_stream('yes', task, jax.devices()[:1])
    with pytest.raises(ValueError, match=task.name):
      task.window_batch_fn(8)


# Whole runs

SMALL = Config(
  g_width=8, d_width=4, g_depth=1, d_depth=1, batch_size=8, latent_size=4, steps=25, log_every=10,
  eval_every=20, checkpoint_every=10, referee_every=10, k='1.5', conditional=True,
)  # fmt: skip


@pytest.fixture
def fast_evaluations(monkeypatch):
  monkeypatch.setattr(tasks, 'load_dataset', lambda *args, **options: noise_dataset())
  evaluation = tasks.CheckpointEvaluation({}, 0.0, 'line')
  monkeypatch.setattr(image_task.ImageTask, 'evaluate_checkpoint', lambda *args: evaluation)
  monkeypatch.setattr(image_task.ImageTask, 'save_sample_figures', lambda *args: None)
  monkeypatch.setattr(loop_hooks.plots, 'plot_training_curves', lambda *args: None)


def final_state_and_metrics(folder):
  """Returns the last state, and the logged metrics by step and name without steps_per_second."""
  records = metric_writers.read_metrics(folder / 'metrics.jsonl')
  metrics = {(r['step'], x): r[x] for r in records for x in r if isinstance(r[x], float)}
  metrics = {key: value for key, value in metrics.items() if key[1] != 'steps_per_second'}
  return load_run.load_run(folder, 'last').state, metrics


def test_a_run_may_resume_with_and_without_streaming(fast_evaluations, tmp_path):
  """The position in the data is the count of updates in the state; checkpoints are independent of streaming."""
  run = lambda name, steps, stream: train.train(
    dataclasses.replace(SMALL, steps=steps), tmp_path / name, jax.devices()[:1], stream=stream
  )
  run('resident', 25, 'no')
  state, metrics = final_state_and_metrics(tmp_path / 'resident')
  run('streamed', 20, 'yes')
  run('streamed', 25, 'yes')
  run('mixed', 13, 'no')  # between two checkpoints
  run('mixed', 25, 'yes')
  for name in ('streamed', 'mixed'):
    assert_trees_equal(final_state_and_metrics(tmp_path / name)[0], state)
  assert_trees_close(
    final_state_and_metrics(tmp_path / 'streamed')[1], metrics, rtol=1e-4, atol=1e-5
  )
  assert any(name == 'watch_gap' for _, name in metrics)


def test_the_monitor_uses_the_same_training_examples_with_and_without_streaming(
  fast_evaluations, tmp_path
):
  sessions = [
    session.open_session(SMALL, tmp_path, jax.devices()[:1], stream=x) for x in ('no', 'yes')
  ]
  key, _, _ = training_monitors.split_monitor_key(
    jax.random.fold_in(sessions[0].key, training_monitors.MONITOR_STREAM)
  )
  positions = jnp.arange(training_monitors.N_EXAMPLES, dtype=jnp.uint32)
  examples = [
    (
      x.task.window_batch_fn(8)
      if isinstance(x.pipeline, input_pipeline.StreamingPipeline)
      else x.task.train_batch_fn
    )(key, positions, x.pipeline.monitor_data.train)
    for x in sessions
  ]
  assert_trees_equal(*examples)
  assert update_ratio.ratio_from_float(1.5) == sessions[1].pipeline._ratio


@pytest.mark.slow
def test_processes_load_only_the_rows_of_their_devices(tmp_path, pytestconfig):
  """Two processes of two devices each give the result of one process with four."""
  coordinator = f'localhost:{process_groups.free_port()}'
  env = process_groups.environment(pytestconfig.cache.mkdir('scripts')) | {
    'XLA_FLAGS': device_layouts.FLAGS
  }
  pair = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.helpers.streaming_runs', coordinator, '2', str(i)],
      cwd=commands.ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    for i in range(2)
  ]  # fmt: skip
  ended = process_groups.finish(pair)
  assert [each.code for each in ended] == [0, 0], ended[0].err[-3000:]
  single = streaming_runs.absolute_sum(
    train_in_segments(streaming_runs.MULTI_PROCESS_CASE, 'shard_map', 4, streamed=True)[0]
  )
  for each, expected in zip(ended, ([0, 1, 2, 3], [4, 5, 6, 7]), strict=True):
    lines = [json.loads(line) for line in each.out.splitlines() if line.startswith('{')]
    assert [line['mapped'] for line in lines] == list(streaming_runs.MAPS)
    for line in lines:
      assert line['loaded'] == expected
      assert line['equal']
      assert line['n_calls'] > len(SEGMENT_ENDS)
      assert line['size'] == pytest.approx(single, rel=1e-5)


LARGE = """
import pathlib, resource, sys
import jax, numpy as np
from gan_jax.config.run_config import Config
from gan_jax.evaluation.tasks import image_scorer
from gan_jax.training import input_pipeline, session

input_pipeline._WINDOW_BYTES, image_scorer._MAX_BYTES = 2**23, 0
config = Config(
  dataset='large', data_dir=sys.argv[1], network='mlp', g_width=8, d_width=4, g_depth=1, d_depth=1,
  batch_size=64, latent_size=4, steps=40,
)
jax.block_until_ready(jax.jit(lambda x: x @ x)(np.ones((300, 300), np.float32)))
status = pathlib.Path('/proc/self/status').read_text()
allocated = next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmData'))
resource.setrlimit(resource.RLIMIT_DATA, (allocated * 1024 + int(sys.argv[2]),) * 2)
opened = session.open_session(config, pathlib.Path(), jax.devices()[:1], stream='yes')
state = opened.initial_state()
state, _ = opened.advance(state, 0, 20)
state, _ = opened.advance(state, 20, 20)
jax.block_until_ready(state)
opened.pipeline.close()
try:
  np.array(opened.task.dataset.train)
except MemoryError:
  print('trained on more than fits', int(state.step))
"""


@pytest.mark.slow
def test_a_set_larger_than_memory_is_trained_on(tmp_path):
  """Trains on 1.1 GB of images with 800 MB of additional memory."""
  shape = (90_000, 64, 64, 3)
  train_images = np.lib.format.open_memmap(tmp_path / 'train.npy', 'w+', np.uint8, shape)
  arrays = {'train': train_images}
  arrays |= {split: np.zeros((100, *shape[1:]), np.uint8) for split in ('validation', 'test')}
  (tmp_path / 'large').mkdir()
  cached = array_cache.CachedDataset(dataset.from_arrays('large', arrays), 'large/1.0.0')
  array_cache.write_cache(tmp_path / 'large' / 'decoded.npz', cached)
  ended = subprocess.run(
    [sys.executable, '-c', LARGE, str(tmp_path), str(8 * 10**8)],
    cwd=commands.ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True, timeout=300,
  )  # fmt: skip
  assert ended.stdout == 'trained on more than fits 40\n', ended.stderr[-3000:]
