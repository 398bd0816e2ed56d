import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import gan as gan_lib
from gan_jax import parallel, stretch
from gan_jax.config import Config
from gan_jax.penalties import weighted_sum
from tests.games import SHAPE, assert_close, assert_equal, tiny

CONFIG = Config(batch_size=8)


def data(n=40):
  return jax.random.bits(jax.random.key(9), (n, *SHAPE), jnp.uint8)


def trained(n_devices, config, steps=6, **game):
  gan, key, state = tiny(**game)
  devices = jax.devices()[:n_devices]
  run = parallel.pmap(
    functools.partial(stretch.run_steps, gan, config), devices, n_args=4, donate_argnum=1
  )
  state, images = parallel.replicate((state, data()), devices)
  return run(key, state, images, np.int32(steps))


@pytest.mark.parametrize('n_devices', [2, 4])
@pytest.mark.parametrize(
  'changes', [{'k': 1}, {'k': 3}, {'update': 'simultaneous'}], ids=['k1', 'k3', 'simultaneous']
)
def test_any_number_of_devices_gives_the_same_run(n_devices, changes):
  """Noise, dropout and batches belong to the example's place in the global batch; SGD hides no factor."""
  config = dataclasses.replace(CONFIG, **changes)
  penalty = weighted_sum({'r1': 0.5})
  one, one_metrics = trained(1, config, penalty=penalty)
  many, metrics = trained(n_devices, config, penalty=penalty)
  assert_close(many, one, rtol=1e-4, atol=1e-6)
  assert_close(metrics, one_metrics, rtol=1e-4, atol=1e-6)


def test_pmap_equals_simulated_devices():
  gan, key, state = tiny()
  run = functools.partial(stretch.run_steps, gan, CONFIG, axis_name='data')
  simulated, _ = jax.jit(
    jax.vmap(
      lambda _, state: run(key, state, data(), 5), (0, None), None, axis_name='data', axis_size=4
    )
  )(jnp.arange(4), state)
  mapped, _ = trained(4, CONFIG, steps=5)
  assert_close(mapped, simulated, rtol=1e-5, atol=1e-7)


def test_pmap_on_one_device_equals_jit_bit_for_bit():
  gan, key, state = tiny()
  plain, _ = jax.jit(functools.partial(stretch.run_steps, gan, CONFIG))(
    key, state, data(), np.int32(6)
  )
  mapped, _ = trained(1, CONFIG)
  assert_equal(mapped, plain)


@pytest.mark.parametrize('changes', [{}, {'k': 2}, {'update': 'simultaneous'}])
def test_two_stretches_equal_one_bit_for_bit(changes):
  config = dataclasses.replace(CONFIG, **changes)
  gan, key, state = tiny(d_tx=optax.adam(1e-3, 0.5))
  devices = jax.devices()[:1]
  run = parallel.pmap(
    functools.partial(stretch.run_steps, gan, config), devices, n_args=4, donate_argnum=1
  )
  images = data()
  whole, _ = run(key, jax.tree.map(jnp.copy, state), images, np.int32(7))
  part, _ = run(key, state, images, np.int32(3))
  part, _ = run(key, part, images, np.int32(4))
  assert_equal(part, whole)


def test_a_stretch_reports_the_mean_of_its_steps():
  gan, key, state = tiny()
  run = jax.jit(functools.partial(stretch.run_steps, gan, CONFIG))
  singles, after = [], state
  for _ in range(3):
    after, metrics = run(key, after, data(), np.int32(1))
    singles.append(metrics)
  _, means = run(key, state, data(), np.int32(3))
  expected = jax.tree.map(lambda *values: sum(values) / 3, *singles)
  assert_close(means, expected, rtol=1e-5)


def test_devices_share_a_batch_without_overlap():
  """In one epoch every example is drawn once, whoever draws it."""
  images = jnp.arange(40, dtype=jnp.uint8).reshape(40, 1, 1, 1)
  config = dataclasses.replace(CONFIG, k=2)
  key = jax.random.key(0)

  def drawn(step, n_devices):
    draw = functools.partial(stretch.draw, key, jnp.int32(step), images, config)
    if n_devices == 1:
      return draw(None)
    parts = jax.vmap(lambda _: draw('data'), axis_name='data')(jnp.arange(n_devices))
    return jnp.concatenate(list(parts), axis=1)

  for n_devices in (1, 4):
    seen = [np.asarray((drawn(step, n_devices) + 1) * 127.5).round() for step in range(3)]
    # 3 steps x 2 updates x 8 images are 48: one epoch of 40 and the start of the next.
    assert sorted(np.stack(seen).ravel()[:40].tolist()) == list(range(40))
    np.testing.assert_array_equal(drawn(1, n_devices), drawn(1, 1))


def test_states_hold_no_device_axis():
  _, _, state = tiny()
  after, _ = trained(4, CONFIG)
  assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
  assert isinstance(after, gan_lib.GanState)
