import numpy as np
import pytest

from gan_jax.metrics.content_order import shuffle_by_content

RNG = np.random.default_rng(0)
SETS = {
  'points': RNG.normal(size=(500, 3)).astype(np.float32),
  'images': RNG.integers(0, 256, (300, 4, 4, 3), np.uint8),
  'few values': RNG.integers(0, 3, (400, 2)).astype(np.float32),
}


@pytest.mark.parametrize('name', SETS)
def test_any_order_of_rows_gives_the_same_result(name):
  examples = SETS[name]
  expected = shuffle_by_content(examples)
  for seed in range(5):
    permuted = np.random.default_rng(seed).permutation(examples)
    np.testing.assert_array_equal(shuffle_by_content(permuted), expected)
    np.testing.assert_array_equal(shuffle_by_content(permuted, 100), expected[:100])


@pytest.mark.parametrize('name', SETS)
def test_the_result_is_a_permutation(name):
  rows = lambda x: sorted(map(bytes, np.ascontiguousarray(x)))
  assert rows(shuffle_by_content(SETS[name])) == rows(SETS[name])


def test_sorted_rows_come_out_shuffled():
  shuffled = shuffle_by_content(np.arange(20_000, dtype=np.float32)[:, None])[:, 0]
  assert abs(np.corrcoef(shuffled[:-1], shuffled[1:])[0, 1]) < 0.03
  for part in np.split(shuffled, 10):
    assert abs(part.mean() - 10_000) < 500  # 4 standard errors


def test_copies_of_an_example_are_spread_as_by_chance():
  """Of 5 copies each of 4,096 points, 5,000 random draws hold 3,110 different ones."""
  copies = np.repeat(np.arange(4096, dtype=np.float32), 5)[:, None]
  assert abs(len(np.unique(shuffle_by_content(copies, 5000))) - 3110) < 100


def test_copies_of_another_set_stand_at_the_same_relative_position():
  data = RNG.normal(size=(10_000, 2)).astype(np.float32)
  replayed = RNG.permutation(data)[:1000]
  first = {row.tobytes() for row in shuffle_by_content(data, 5000)}
  assert sum(row.tobytes() in first for row in shuffle_by_content(replayed, 400)) > 380


def test_an_empty_set_stays_empty():
  assert shuffle_by_content(np.zeros((0, 3), np.float32)).shape == (0, 3)
