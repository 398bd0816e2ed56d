import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.sweep import member_mapping

AS_USERS_DO = True  # equal bits of what the compiler makes for users


def test_every_member_has_one_seat_and_loads_are_even():
  costs = [1.5] * 8 + [2.0] * 8 + [3.0] * 8 + [6.0] * 8
  seats = member_mapping.place(costs, 2, 16)
  assert sorted(seats) == list(range(32))
  loads = np.asarray(costs)[seats].reshape(2, 16).sum(axis=1)
  assert loads[0] == loads[1]


def test_seats_without_a_member_are_empty():
  seats = member_mapping.place([1.0, 5.0, 1.0], 2, 2)
  assert sorted(seats) == [member_mapping.EMPTY, 0, 1, 2]


def test_too_many_members_are_refused():
  with pytest.raises(ValueError, match='do not fit'):
    member_mapping.place([1.0] * 5, 2, 2)


def test_a_member_takes_its_own_steps_and_no_more():
  ends = np.asarray([10, 4, 7])
  taken = sum(
    member_mapping.steps_due(ends, start, stop) for start, stop in ((0, 1), (1, 5), (5, 6), (6, 10))
  )
  np.testing.assert_array_equal(taken, ends)


@pytest.mark.parametrize('free', [0, 99, 100, 139, 140, 180, 1000])
def test_rows_that_fit_are_the_most_that_fit(free):
  fixed, per_member, rows = 100, 40, 8
  fit = member_mapping.rows_that_fit(fixed + rows * per_member, fixed, rows, free)
  assert fit == 0 or fixed + fit * per_member <= free
  assert fit == rows or fixed + (fit + 1) * per_member > free


def run(numbers, key, state, data, n):
  """A walk whose steps depend on everything that a member has."""
  step = lambda i, x: x + numbers['rate'] * jax.random.normal(jax.random.fold_in(key, i)) + data
  return jax.lax.fori_loop(0, n, step, state), numbers['rate'] * n


@pytest.mark.parametrize(
  ('how', 'n_devices'), [*itertools.product(('map', 'vmap'), (1, 2, 4)), ('turns', 1)]
)
def test_members_are_what_they_are_alone(how, n_devices):
  devices = jax.devices()[:n_devices]
  seeds, rates = np.arange(4, dtype=np.int32), np.float32([0.1, 0.2, 0.3, 0.4])
  n, data = np.int32([3, 0, 5, 7]), jnp.float32(0.01)
  call = (
    member_mapping.in_turn(jax.jit(run))
    if how == 'turns'
    else member_mapping.program(run, devices, how)
  )
  spread = lambda tree: member_mapping.spread(tree, devices)
  states, means = call(
    spread({'rate': rates}),
    spread(seeds),
    [jnp.ones(()) for _ in range(4)] if how == 'turns' else spread(np.ones(4, np.float32)),
    member_mapping.copied(data, devices),
    spread(n),
  )
  for i in range(4):
    alone = jax.jit(run)({'rate': rates[i]}, jax.random.key(i), jnp.ones(()), data, n[i])
    np.testing.assert_array_equal(states[i], alone[0])
    np.testing.assert_array_equal(means[i], alone[1])


def test_a_member_that_is_not_finite_is_known_and_no_other_is():
  tree = {'a': jnp.ones((3, 2)), 'b': jnp.asarray([0.0, jnp.nan, 1.0]), 'none': jnp.zeros((3, 0))}
  np.testing.assert_array_equal(member_mapping.finite(tree), [True, False, True])
