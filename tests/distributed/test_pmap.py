"""Several steps in one program, on one and on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images
from gan_jax.distributed import pmap, sharding
from gan_jax.gan import gan as gan_lib, train_step
from gan_jax.gan.augment import ada_controller
from gan_jax.gan.penalties import make_penalties
from gan_jax.gan.update_ratio import RatioController, ratio_from_float
from tests.helpers.tiny_gan import IMAGE_SHAPE, assert_trees_close, assert_trees_equal, tiny_gan

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run

N, N_CLASSES, BATCH_SIZE, STEPS = 40, 3, 8, 6
# Features of a run: (update, k, fields of the Gan).
CASES = {
  'plain': ('alternating', 1, {}),
  'k 1/2, labels, batch norm': (
    'alternating',
    0.5,
    {'n_classes': N_CLASSES, 'spec': {'g_norm': 'batch'}},
  ),
  'k 3/2, lazy penalties, instance noise': (
    'alternating',
    1.5,
    {
      'penalties': make_penalties({'r1': 0.5, 'dragan': 0.3}, {'r1': 3, 'dragan': 2}),
      'noise': optax.linear_schedule(0.5, 0.0, STEPS),
    },
  ),
  'k 3, augmentation': (
    'alternating',
    3,
    {
      'augment': 'diffaugment',
      'ada': functools.partial(
        ada_controller.update_ada, batch_size=8, target=0.0, images_to_one=100
      ),
    },
  ),
  'k auto, labels': (
    'alternating',
    None,
    {
      'n_classes': N_CLASSES,
      'ratio_controller': RatioController(every=2, n_examples=8, n_lookahead=2, target=1e-4),
    },
  ),
  'simultaneous': (
    'simultaneous',
    1,
    {'penalties': make_penalties({'r1': 0.5, 'gradient_penalty': 0.2})},
  ),
}
EVERY = pytest.mark.parametrize('case', CASES)


@functools.cache
def build_case(case):
  """Returns the train spec, key and initial state of a case."""
  update, k, options = CASES[case]
  gan, key, state = tiny_gan(dropout=case in ('plain', 'simultaneous'), **options)
  batches = device_batches.image_batches()
  return (
    train_step.TrainSpec(gan, update, k and ratio_from_float(k), BATCH_SIZE, batches, batches),
    key,
    state,
  )


def data(train_spec):
  keys = jax.random.split(jax.random.key(9), 2)
  whole = DeviceData(
    *(
      Images(jax.random.bits(k, (N, *IMAGE_SHAPE), jnp.uint8), jnp.arange(N) % N_CLASSES)
      for k in keys
    )
  )
  return whole if train_spec.gan.n_classes else whole.without_labels()


@functools.cache
def runner(case, n_devices):
  """Returns run(steps, state) of a case on `n_devices`, compiled once."""
  train_spec, key, first = build_case(case)
  devices = jax.devices()[:n_devices]
  run = pmap.pmap(
    functools.partial(train_step.run_steps, train_spec), devices, n_args=4, donate_argnum=1
  )
  replicated = sharding.replicate(data(train_spec), devices)

  def call(steps, state=None):
    state = first if state is None else state
    state = sharding.replicate(jax.tree.map(jnp.copy, state), devices)
    return run(key, state, replicated, np.int32(steps))

  return call


@EVERY
def test_two_calls_equal_one_bit_for_bit(case):
  run = runner(case, 1)
  whole, _ = run(STEPS + 1)
  part, _ = run(3)
  part, _ = run(STEPS - 2, part)
  assert_trees_equal(part, whole)


@EVERY
def test_any_number_of_devices_gives_the_same_run(case):
  """Noise, dropout and batches depend on the position in the global batch; with SGD no factor is hidden."""
  one, one_metrics = runner(case, 1)(STEPS)
  for n_devices in (2, 4) if case == 'plain' else (4,):
    many, metrics = runner(case, n_devices)(STEPS)
    assert_trees_close(many, one, rtol=1e-4, atol=2e-6)
    assert_trees_close(metrics, one_metrics, rtol=1e-4, atol=2e-6)


@EVERY
def test_k_is_the_ratio_of_updates_in_counters_and_metrics(case):
  _, k, _ = CASES[case]
  state, metrics = runner(case, 1)(STEPS)
  assert (state.step, state.g.count) == (STEPS, STEPS)
  assert metrics['k'] == pytest.approx(float(state.d.count) / STEPS)
  if k is not None:
    assert state.d.count == STEPS * k


def test_state_of_controllers_is_in_the_state_and_in_the_metrics():
  state, metrics = runner('k auto, labels', 1)(STEPS)
  assert state.controls['k'].k != 1
  assert np.isfinite(metrics['gain'])
  state, metrics = runner('k 3, augmentation', 1)(STEPS)
  assert 0 < state.controls['augment'].p <= ada_controller.MAX_P
  assert 0 < metrics['augment_p'] < state.controls['augment'].p  # the mean of what rose


def test_pmap_equals_simulated_devices():
  train_spec, key, state = build_case('plain')
  run = functools.partial(train_step.run_steps, train_spec, axis_name='data')
  simulated, _ = jax.jit(
    jax.vmap(
      lambda _, state: run(key, state, data(train_spec), STEPS),
      (0, None),
      None,
      axis_name='data',
      axis_size=4,
    )
  )(jnp.arange(4), state)
  mapped, _ = runner('plain', 4)(STEPS)
  assert_trees_close(mapped, simulated, rtol=1e-5, atol=1e-7)


def test_pmap_on_one_device_equals_jit_bit_for_bit():
  train_spec, key, state = build_case('plain')
  plain, _ = jax.jit(functools.partial(train_step.run_steps, train_spec))(
    key, state, data(train_spec), np.int32(STEPS)
  )
  mapped, _ = runner('plain', 1)(STEPS)
  assert_trees_equal(mapped, plain)


@pytest.mark.parametrize('case', [case for case in CASES if case.startswith('k')])
def test_metrics_are_means_of_d_over_its_updates_and_of_others_over_steps(case):
  run = runner(case, 1)
  singles, after = [], None
  for _ in range(4):
    after, metrics = run(1, after)
    singles.append(jax.tree.map(float, metrics))
  _, means = run(4)
  updates = np.array([single['k'] for single in singles])
  for name, mean in means.items():
    values = np.array([single[name] for single in singles])
    if name.startswith('d_'):
      expected = (values * updates).sum() / updates.sum()
      assert np.all(values[updates == 0] == 0)
    else:
      expected = values.mean()
    assert mean == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_steps_without_update_of_d_consume_no_examples():
  train_spec, key, _ = build_case('k 1/2, labels, batch norm')
  run = runner('k 1/2, labels, batch norm', 1)
  counts, state = [], None
  for _ in range(4):
    state, _ = run(1, state)
    counts.append(int(state.d.count))
  assert counts == [1, 1, 2, 2]
  batches = [
    train_step.get_train_batch(train_spec, key, data(train_spec).train, jnp.int32(i), None)
    for i in range(5)
  ]
  drawn = np.concatenate([batch.images for batch in batches])
  assert len(np.unique(drawn.reshape(N, -1), axis=0)) == N  # five batches of eight: an epoch of 40


@pytest.mark.parametrize('n_devices', [1, 4])
def test_devices_share_a_batch_without_overlap(n_devices):
  """In one epoch every example is drawn once, with its label, on some device."""
  pixels = jnp.arange(N, dtype=jnp.uint8).reshape(N, 1, 1, 1)
  train_spec, key, _ = build_case('plain')
  source = Images(pixels, jnp.arange(N))

  def drawn(i, n_devices):
    draw = functools.partial(train_step.get_train_batch, train_spec, key, source, jnp.int32(i))
    if n_devices == 1:
      return draw(None)
    parts = jax.vmap(lambda _: draw('data'), axis_name='data')(jnp.arange(n_devices))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)

  batches = [drawn(i, n_devices) for i in range(6)]
  drawn_pixels = np.concatenate(
    [np.asarray((batch.images + 1) * 127.5).round().ravel() for batch in batches]
  )
  # 6 updates x 8 images are 48: one epoch of 40 and the start of the next.
  assert sorted(drawn_pixels[:N].tolist()) == list(range(N))
  np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), drawn_pixels)
  assert_trees_equal(batches[1], drawn(1, 1))


@EVERY
def test_a_state_keeps_its_types_and_has_no_device_axis(case):
  """Otherwise the second call would recompile, and a checkpoint would not fit."""
  _, _, state = build_case(case)
  after, _ = runner(case, 1)(STEPS)
  kind = lambda x: (x.shape, x.dtype, x.aval.weak_type)
  assert jax.tree.map(kind, after) == jax.tree.map(kind, state)
  assert isinstance(after, gan_lib.GanState)
