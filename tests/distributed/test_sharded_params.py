"""A state sharded over devices trains as a replicated one, in less memory per device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import run_config
from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.distributed import pmap, sharding
from gan_jax.gan import train_step
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_ratio import ratio_from_float
from gan_jax.training import ahead_of_time_compile, session
from tests.helpers import commands, process_groups
from tests.helpers.tiny_gan import IMAGE_SHAPE, assert_trees_close, tiny_gan

STEPS, N_DEVICES = 5, 4
CASES = {
  'dropout, penalties, augmentation': (
    'alternating', 2, {'penalties': make_penalties({'r1': 0.5, 'dragan': 0.3}, {}), 'augment': 'diffaugment'},
  ),
  'batch norm': ('simultaneous', 1, {'dropout': False, 'spec': {'g_norm': 'batch'}}),
}  # fmt: skip


def run_steps(case, name):
  """Returns the state and metrics after `STEPS` steps."""
  update, k, options = CASES[case]
  gan, key, state = tiny_gan(**options)
  batches = device_batches.image_batches()
  train_spec = train_step.TrainSpec(gan, update, ratio_from_float(k), 16, batches, batches)
  images = np.random.default_rng(0).integers(0, 256, (80, *IMAGE_SHAPE), np.uint8)
  devices = jax.devices()[:N_DEVICES]
  call = (pmap.STEP_MAPS | {sharding.SHARDED_PARAMS: pmap.jit_sharded})[name](
    functools.partial(train_step.run_steps, train_spec), devices, 4, 1
  )
  if name == sharding.SHARDED_PARAMS:
    state = jax.device_put(state, sharding.param_shardings(state, devices))
  else:
    state = sharding.replicate(state, devices)
  return call(key, state, sharding.replicate(DeviceData(Images(images)), devices), np.int32(STEPS))


@pytest.mark.parametrize('case', CASES)
def test_a_sharded_state_equals_a_replicated_one_and_stays_sharded(case):
  state, metrics = run_steps(case, sharding.SHARDED_PARAMS)
  whole, of_whole = run_steps(case, 'pmap')
  assert_trees_close(state, whole, rtol=2e-5, atol=2e-6)
  assert_trees_close(metrics, of_whole, rtol=2e-5, atol=2e-6)
  wanted = sharding.param_shardings(state, jax.devices()[:N_DEVICES])
  jax.tree.map(
    lambda x, sharding: x.sharding.is_equivalent_to(sharding, x.ndim) or 1 / 0, state, wanted
  )
  there = sum(x.addressable_data(0).size for x in jax.tree.leaves(state.g.opt_state))
  assert there <= sum(x.size for x in jax.tree.leaves(state.g.opt_state))


def test_arrays_are_sharded_along_their_longest_side():
  shapes = {'kernel': (8, 12), 'odd': (3, 5), 'bias': (12,), 'step': ()}
  tree = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  cut = sharding.param_shardings(tree, jax.devices()[:N_DEVICES])
  parts = {name: cut[name].shard_shape(shape) for name, shape in shapes.items()}
  assert parts == {'kernel': (8, 3), 'odd': (3, 5), 'bias': (3,), 'step': ()}


def test_a_sharded_state_is_evaluated_as_a_replicated_one(tmp_path):
  settings = run_config.Config(
    dataset='ring',
    network='relu',
    g_width=16,
    d_width=16,
    latent='normal',
    latent_size=4,
    batch_size=16,
  )
  devices = jax.devices()[:N_DEVICES]
  parts = session.open_session(settings, tmp_path, devices, mapped=sharding.SHARDED_PARAMS)
  whole = session.open_session(settings, tmp_path, devices)
  state = parts.eval_state(parts.initial_state())
  kernel = max(jax.tree.leaves(state.g_ema), key=lambda x: x.size)
  assert kernel.addressable_data(0).size * N_DEVICES == kernel.size
  there = whole.eval_state(whole.initial_state())
  assert_trees_close(parts.monitor(state), whole.monitor(there), rtol=1e-5, atol=1e-6)
  found, expected = (
    each.task.evaluate_checkpoint(each.gan, at, 0) for each, at in ((parts, state), (whole, there))
  )
  assert found.metrics == pytest.approx(expected.metrics, rel=1e-3)


@pytest.mark.slow
def test_each_device_holds_a_share_of_the_arguments():
  settings = run_config.Config(
    dataset='painter', network='relu', g_width=512, d_width=512, batch_size=16
  )

  def arguments(mapped):
    examples = ahead_of_time_compile.data_spec_of('painter')
    program = ahead_of_time_compile.trace_training_step(
      settings, examples, jax.devices()[:N_DEVICES], mapped
    )
    return ahead_of_time_compile.compile_step(program).memory_analysis().argument_size_in_bytes

  assert arguments(sharding.SHARDED_PARAMS) < 1.1 * arguments('pmap') / N_DEVICES


@pytest.mark.slow
def test_a_sharded_run_of_processes_resumes_replicated(tmp_path, pytestconfig):
  env = process_groups.environment(pytestconfig.cache.mkdir('scripts'))
  run, whole = tmp_path / 'run', tmp_path / 'whole'
  process_groups.train(run, env, '--shard_params', '--steps=40', '--eval_every=40', devices=2)
  process_groups.train(run, env, '--steps=80', '--eval_every=40')
  process_groups.train(whole, env, '--steps=80', '--eval_every=40')
  assert_trees_close(commands.load_state(run), commands.load_state(whole), rtol=1e-5, atol=1e-6)
