"""Minibatches that stream from the host are those that lie on the device, and little more is ever held."""

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

AS_USERS_DO = True  # equal bits of what the compiler makes for users

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
def narrow(monkeypatch):
  """Windows of fewer minibatches than a stretch of steps needs."""
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 4)


@pytest.fixture(autouse=True)
def nothing_is_left_running():
  """Threads that load have ended when a test has."""
  yield
  for thread in threading.enumerate():
    if thread.name.startswith('grain'):
      thread.join(5)
      assert not thread.is_alive()


@pytest.mark.parametrize(('case', 'mapped', 'n_devices'), LAYOUTS)
def test_a_streamed_run_equals_a_resident_one_bit_for_bit(case, mapped, n_devices):
  state, told, n_calls = train_in_segments(case, mapped, n_devices, streamed=True)
  expected, expected_told, _ = train_in_segments(case, mapped, n_devices, streamed=False)
  assert_trees_equal(state, expected)
  assert_trees_close(told, expected_told, rtol=1e-5, atol=1e-6)
  assert n_calls > len(SEGMENT_ENDS)


def streamed(data, key=None, batch_size=BATCH_SIZE, ahead=3, places=None):
  key = jax.random.key(0) if key is None else key
  places = np.arange(batch_size) if places is None else places
  return HostLoader(data, key, batch_size, places, ahead)


@pytest.mark.parametrize('at', [0, 3, 2**29 - 2, 2**31 - 8])
def test_a_window_holds_the_minibatches_of_the_shuffle_where_positions_begin_again_too(at):
  """With 8 examples in each, minibatch 2 ** 29 begins at position 0 again."""
  data, key = random_host_data(True).train, jax.random.key(5)
  stream = streamed(data, key)
  window = device_batches.BatchWindow(*stream.window(at, 5), np.int32(at))
  stream.close()
  recipe = lambda feed: train_step.TrainSpec(None, '', None, BATCH_SIZE, feed, feed)
  for i in range(at, at + 5):
    draw = functools.partial(train_step.get_train_batch, key=key, i=jnp.int32(i), axis_name=None)
    expected = draw(recipe(device_batches.image_batches()), data=jax.tree.map(jnp.asarray, data))
    assert_trees_equal(
      draw(recipe(device_batches.window_batches(BATCH_SIZE)), data=window), expected
    )


def test_minibatches_that_do_not_divide_the_positions_begin_again_in_their_middle():
  data, key, n = random_host_data(False).train, jax.random.key(5), 12
  at = 2**32 // n  # the minibatch in which position 2 ** 32 lies
  stream = streamed(data, key, n)
  window = device_batches.BatchWindow(*stream.window(at - 1, 3), np.int32(at - 1))
  stream.close()
  for i in range(at - 1, at + 2):
    positions = ((i * n + np.arange(n)) % 2**32).astype(np.uint32)
    expected = device_batches.image_batches()(key, positions, jax.tree.map(jnp.asarray, data))
    assert_trees_equal(
      device_batches.window_batches(n)(key, jnp.asarray(positions), window), expected
    )


def test_a_stream_goes_on_from_any_minibatch_and_loads_each_once(monkeypatch):
  loaded = []
  load = HostLoader.load
  monkeypatch.setattr(HostLoader, 'load', lambda self, i: loaded.append(i) or load(self, i))
  stream = streamed(random_host_data(True).train)
  first = stream.window(7, 4)
  second = stream.window(10, 4)  # the last of the first comes again
  assert_trees_equal(second.images[:, 0], first.images[:, 3])
  assert sorted(loaded[:7]) == list(range(7, 14))
  assert_trees_equal(
    stream.window(8, 2).images, first.images[:, 1:3]
  )  # back, as after a run that broke
  stream.close()
  stream.close()


def test_no_more_is_loaded_ahead_than_was_asked_for():
  loaded, hold = [], threading.Event()
  stream = streamed(random_host_data(True).train, ahead=3)
  stream.load = lambda i: (
    loaded.append(i) or take_shuffled(stream._data, stream._key, np.arange(8, dtype=np.uint32))
  )
  stream.window(0, 4)
  hold.wait(0.2)
  assert max(loaded) < 4 + 3
  stream.close()


def test_an_error_of_a_loading_thread_reaches_the_loop():
  stream = streamed(random_host_data(True).train)
  stream.load = lambda i: 1 / 0
  with pytest.raises(ZeroDivisionError):
    stream.window(0, 2)
  stream.close()


@pytest.mark.parametrize('k', [0.001, 0.4, 0.5, 1, 1.5, 3, 12.5])
def test_updates_of_d_are_known_before_they_are_made(k):
  pace = ratio_from_float(k)
  step = np.arange(2500)
  due = (
    np.asarray(jax.vmap(pace.updates_at)(step)) if pace.denominator > 1 else np.full(2500, int(k))
  )
  assert [pace.updates_before(int(i)) for i in step] == [0, *np.cumsum(due)[:-1]]
  width = input_pipeline.minibatches_per_window(2 * 4, pace)
  assert width > due.max()


def test_no_controller_asks_for_more_than_the_window_allows():
  """Credit is full and k the highest all the time, with the largest fraction left over."""
  controller = RatioController()
  control = controller.init()._replace(
    k=jnp.float32(controller.high), credit=jnp.nextafter(jnp.float32(6), jnp.float32(0))
  )
  total = 0
  for steps in range(1, 20):
    n, control = controller.next_updates(control)
    total += int(n)
    assert total <= controller.max_updates(steps)


def test_a_window_has_no_more_bytes_than_it_may(monkeypatch):
  monkeypatch.setattr(input_pipeline, '_WINDOW_BYTES', 1000)
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 100)
  assert input_pipeline.minibatches_per_window(4 * 25, ratio_from_float(1)) == 10
  assert (
    input_pipeline.minibatches_per_window(4 * 25, ratio_from_float(20)) == 21
  )  # what a step needs comes first
  assert input_pipeline.minibatches_per_window(25, ratio_from_float(1)) == 40
  monkeypatch.setattr(input_pipeline, '_MAX_WINDOW', 30)
  assert input_pipeline.minibatches_per_window(25, ratio_from_float(1)) == 30


def noise(n_train=60, shape=(8, 8, 1)):
  pixels = np.random.default_rng(0).integers(0, 256, (n_train + 60, *shape), np.uint8)
  labels = np.arange(n_train + 60) % 3
  parts = slice(n_train), slice(n_train, n_train + 30), slice(n_train + 30, None)
  return Dataset('noise', *(pixels[x] for x in parts), *(labels[x] for x in parts), 'f00d')


def test_auto_streams_what_does_not_fit_beside_everything_else(monkeypatch):
  task, devices = ImageTask(noise()), jax.devices()[:2]
  nbytes = 60 * (64 + 4)
  for free, expected in ((5 * nbytes, False), (3 * nbytes, True)):
    monkeypatch.setattr(
      data_placement.device_memory, 'free_device_bytes', lambda devices, free=free: free
    )
    assert data_placement.should_stream('auto', task, devices) is expected
    assert data_placement.should_stream('no', task, devices) is False
    assert data_placement.should_stream('yes', task, devices) is True
    assert data_placement.should_stream('auto', SyntheticTask(SYNTHETIC['ring']), devices) is False


def test_what_is_made_on_the_device_cannot_stream():
  stacked = ImageTask(noise()._replace(stack=3, name='stacked'))
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
def little_data(monkeypatch):
  monkeypatch.setattr(tasks, 'load_dataset', lambda *args, **options: noise())
  measured = tasks.CheckpointEvaluation({}, 0.0, 'line')
  monkeypatch.setattr(image_task.ImageTask, 'evaluate_checkpoint', lambda *args: measured)
  monkeypatch.setattr(image_task.ImageTask, 'save_sample_figures', lambda *args: None)
  monkeypatch.setattr(loop_hooks.plots, 'plot_training_curves', lambda *args: None)


def final(folder):
  """The last state, and the numbers in the log but for the clock's."""
  records = metric_writers.read_metrics(folder / 'metrics.jsonl')
  told = {(r['step'], x): r[x] for r in records for x in r if isinstance(r[x], float)}
  told = {key: value for key, value in told.items() if key[1] != 'steps_per_second'}
  return load_run.load_run(folder, 'last').state, told


def test_a_run_may_stream_or_not_and_stop_and_go_on(little_data, tmp_path):
  """Its checkpoints know nothing of it: the position is the count of updates in the state."""
  run = lambda name, steps, stream: train.train(
    dataclasses.replace(SMALL, steps=steps), tmp_path / name, jax.devices()[:1], stream=stream
  )
  run('resident', 25, 'no')
  state, told = final(tmp_path / 'resident')
  run('streamed', 20, 'yes')
  run('streamed', 25, 'yes')
  run('mixed', 13, 'no')  # in the middle of everything
  run('mixed', 25, 'yes')
  for name in ('streamed', 'mixed'):
    assert_trees_equal(final(tmp_path / name)[0], state)
  assert_trees_close(final(tmp_path / 'streamed')[1], told, rtol=1e-4, atol=1e-5)
  assert any(name == 'watch_gap' for _, name in told)


def test_a_look_sees_the_training_examples_that_it_would_see_among_all(little_data, tmp_path):
  opened = [
    session.open_session(SMALL, tmp_path, jax.devices()[:1], stream=x) for x in ('no', 'yes')
  ]
  key, _, _ = training_monitors.split_monitor_key(
    jax.random.fold_in(opened[0].key, training_monitors.MONITOR_STREAM)
  )
  positions = jnp.arange(training_monitors.N_EXAMPLES, dtype=jnp.uint32)
  seen = [
    (
      x.task.window_batch_fn(8)
      if isinstance(x.pipeline, input_pipeline.StreamingPipeline)
      else x.task.train_batch_fn
    )(key, positions, x.pipeline.monitor_data.train)
    for x in opened
  ]
  assert_trees_equal(*seen)
  assert update_ratio.ratio_from_float(1.5) == opened[1].pipeline._ratio


@pytest.mark.slow
def test_processes_load_the_rows_of_their_own_devices_only(tmp_path, pytestconfig):
  """Two of two devices each, which end where one with all four does."""
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
  alone = streaming_runs.absolute_sum(
    train_in_segments(streaming_runs.MULTI_PROCESS_CASE, 'shard_map', 4, streamed=True)[0]
  )
  for each, expected in zip(ended, ([0, 1, 2, 3], [4, 5, 6, 7]), strict=True):
    lines = [json.loads(line) for line in each.out.splitlines() if line.startswith('{')]
    assert [line['mapped'] for line in lines] == list(streaming_runs.MAPS)
    for line in lines:
      assert line['loaded'] == expected
      assert line['equal']
      assert line['n_calls'] > len(SEGMENT_ENDS)
      assert line['size'] == pytest.approx(alone, rel=1e-5)


LARGE = """
import pathlib, resource, sys
import jax, numpy as np
from gan_jax import session, supply
from gan_jax.config import Config
from gan_jax.tasks import image_judge

supply._BYTES, image_judge._JUDGED_BYTES = 2**23, 0
config = Config(
  dataset='large', data_dir=sys.argv[1], network='mlp', g_width=8, d_width=4, g_depth=1, d_depth=1,
  batch_size=64, latent_size=4, steps=40,
)
jax.block_until_ready(jax.jit(lambda x: x @ x)(np.ones((300, 300), np.float32)))
status = pathlib.Path('/proc/self/status').read_text()
held = next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmData'))
resource.setrlimit(resource.RLIMIT_DATA, (held * 1024 + int(sys.argv[2]),) * 2)
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
  """One of 1.1 GB where 800 MB more can be had."""
  shape = (90_000, 64, 64, 3)
  train_images = np.lib.format.open_memmap(tmp_path / 'train.npy', 'w+', np.uint8, shape)
  arrays = {'train': train_images}
  arrays |= {split: np.zeros((100, *shape[1:]), np.uint8) for split in ('validation', 'test')}
  (tmp_path / 'large').mkdir()
  made = array_cache.CachedDataset(dataset.from_arrays('large', arrays), 'large/1.0.0')
  array_cache.write_cache(tmp_path / 'large' / 'decoded.npz', made)
  ended = subprocess.run(
    [sys.executable, '-c', LARGE, str(tmp_path), str(8 * 10**8)],
    cwd=commands.ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True, timeout=300,
  )  # fmt: skip
  assert ended.stdout == 'trained on more than fits 40\n', ended.stderr[-3000:]
