import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.sweep import member_mapping

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run


def test_every_member_has_one_slot_and_loads_are_even():
  costs = [1.5] * 8 + [2.0] * 8 + [3.0] * 8 + [6.0] * 8
  slots = member_mapping.assign_slots(costs, 2, 16)
  assert sorted(slots) == list(range(32))
  loads = np.asarray(costs)[slots].reshape(2, 16).sum(axis=1)
  assert loads[0] == loads[1]


def test_slots_without_a_member_are_empty():
  slots = member_mapping.assign_slots([1.0, 5.0, 1.0], 2, 2)
  assert sorted(slots) == [member_mapping.EMPTY, 0, 1, 2]


def test_too_many_members_raise():
  with pytest.raises(ValueError, match='do not fit'):
    member_mapping.assign_slots([1.0] * 5, 2, 2)


def test_a_member_takes_its_own_steps_and_no_more():
  ends = np.asarray([10, 4, 7])
  taken = sum(
    member_mapping.steps_due(ends, start, stop) for start, stop in ((0, 1), (1, 5), (5, 6), (6, 10))
  )
  np.testing.assert_array_equal(taken, ends)


@pytest.mark.parametrize('free', [0, 99, 100, 139, 140, 180, 1000])
def test_as_many_members_fit_as_memory_allows(free):
  shared, per_member, n = 100, 40, 8
  fit = member_mapping.members_that_fit(shared + n * per_member, shared, n, free)
  assert fit == 0 or shared + fit * per_member <= free
  assert fit == n or shared + (fit + 1) * per_member > free


def run(hyperparameters, key, state, data, n):
  """A random walk that depends on all arguments."""
  step = lambda i, x: (
    x + hyperparameters['rate'] * jax.random.normal(jax.random.fold_in(key, i)) + data
  )
  return jax.lax.fori_loop(0, n, step, state), hyperparameters['rate'] * n


@pytest.mark.parametrize(
  ('mapping', 'n_devices'), [*itertools.product(('map', 'vmap'), (1, 2, 4)), ('turns', 1)]
)
def test_members_equal_solo_calls(mapping, n_devices):
  devices = jax.devices()[:n_devices]
  seeds, rates = np.arange(4, dtype=np.int32), np.float32([0.1, 0.2, 0.3, 0.4])
  n, data = np.int32([3, 0, 5, 7]), jnp.float32(0.01)
  call = (
    member_mapping.call_in_turn(jax.jit(run))
    if mapping == 'turns'
    else member_mapping.map_members(run, devices, mapping)
  )
  shard = lambda tree: member_mapping.shard_members(tree, devices)
  states, means = call(
    shard({'rate': rates}),
    shard(seeds),
    [jnp.ones(()) for _ in range(4)] if mapping == 'turns' else shard(np.ones(4, np.float32)),
    member_mapping.replicate(data, devices),
    shard(n),
  )
  for i in range(4):
    solo = jax.jit(run)({'rate': rates[i]}, jax.random.key(i), jnp.ones(()), data, n[i])
    np.testing.assert_array_equal(states[i], solo[0])
    np.testing.assert_array_equal(means[i], solo[1])
