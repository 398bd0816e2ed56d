import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gan_jax.data.device_batches import Batch
from gan_jax.data.shuffle import shuffled_indices

KEY = jax.random.key(0)


def stream(n, start, stop, key=KEY):
  return np.asarray(shuffled_indices(key, jnp.arange(start, stop, dtype=jnp.uint32), n))


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 300), epoch=st.integers(0, 1000))
def test_every_epoch_visits_every_example_once(n, epoch):
  assert sorted(stream(n, epoch * n, (epoch + 1) * n)) == list(range(n))


def test_epochs_and_keys_have_independent_orders():
  orders = [
    stream(1000, 0, 1000),
    stream(1000, 1000, 2000),
    stream(1000, 0, 1000, jax.random.key(1)),
  ]
  for i in range(3):
    for j in range(i):
      assert abs(np.corrcoef(orders[i], orders[j])[0, 1]) < 0.1


def test_the_order_has_the_statistics_of_a_random_permutation():
  order = stream(50_000, 0, 50_000)
  assert sorted(order) == list(range(50_000))
  assert abs(np.corrcoef(order, np.arange(50_000))[0, 1]) < 0.02
  assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.02
  # Neighbours of a random order lie a third of its length apart.
  assert np.abs(np.diff(order)).mean() == pytest.approx(50_000 / 3, rel=0.02)


def test_an_index_depends_on_its_position_only():
  np.testing.assert_array_equal(stream(70, 0, 500)[123:], stream(70, 123, 500))


def test_orders_of_large_data_sets_are_bijections():
  n = 2**18 + 1  # most of the domain of the permutation lies outside
  assert len(set(stream(n, 0, n).tolist())) == n


def test_a_batch_without_labels_is_a_pytree_of_one_leaf():
  images, labels = jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32)
  assert len(jax.tree.leaves(Batch(images))) == 1
  assert len(jax.tree.leaves(Batch(images, labels))) == 2
