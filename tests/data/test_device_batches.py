import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images

KEY = jax.random.key(0)
N = 30
# Image i is all i, so that a batch says which images it holds; its label is i mod 10.
PIXELS = jnp.broadcast_to(jnp.arange(N, dtype=jnp.uint8)[:, None, None, None], (N, 2, 2, 1))
LABELS = jnp.arange(N) % 10


def positions(start, stop):
  return jnp.arange(start, stop, dtype=jnp.uint32)


def indices(images):
  """Which images these are: [n, c], for their channels come from one each."""
  return np.asarray(jnp.round((images[:, 0, 0] + 1) * 127.5), int)


def test_an_epoch_of_images_holds_each_of_them_once_in_the_range_of_networks():
  batch = device_batches.image_batches()(KEY, positions(N, 2 * N), Images(PIXELS))
  assert sorted(indices(batch.images)[:, 0]) == list(range(N))
  assert batch.labels is None
  assert batch.images.dtype == jnp.float32
  whole = device_batches.image_batches()(
    KEY, positions(0, 2), Images(jnp.array([[[[0]]], [[[255]]]], jnp.uint8))
  )
  assert sorted(whole.images.ravel().tolist()) == [-1, 1]


def test_labels_come_with_their_images():
  batch = device_batches.image_batches()(KEY, positions(0, 50), Images(PIXELS, LABELS))
  np.testing.assert_array_equal(batch.labels, indices(batch.images)[:, 0] % 10)


def test_a_stack_takes_each_channel_from_an_image_of_its_own():
  """Three independent orders, each a whole epoch, and a label that spells the three."""
  batch = device_batches.image_batches(3, 10)(KEY, positions(0, N), Images(PIXELS, LABELS))
  assert batch.images.shape == (N, 2, 2, 3)
  drawn = indices(batch.images)
  for channel in drawn.T:
    assert sorted(channel) == list(range(N))
  assert len({tuple(channel) for channel in drawn.T}) == 3
  digits = drawn % 10
  np.testing.assert_array_equal(batch.labels, digits @ [100, 10, 1])


def test_contrast_normalises_each_image_by_itself():
  pixels = jax.random.randint(KEY, (N, 4, 4, 1), 0, 256).astype(jnp.uint8)
  batch = device_batches.image_batches(contrast=5.0)(KEY, positions(0, 7), Images(pixels, LABELS))
  flat = np.asarray(batch.images).reshape(7, -1)
  np.testing.assert_allclose(flat.mean(axis=1), 0, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 5, rtol=1e-5)
  assert batch.labels.shape == (7,)


FEEDS = {
  'images': (device_batches.image_batches(), Images(PIXELS, LABELS)),
  'stack': (device_batches.image_batches(3, 10), Images(PIXELS, LABELS)),
  'game': (device_batches.synthetic_batches(lambda key: jax.random.normal(key, (2,))), ()),
}


@pytest.mark.parametrize(('feed', 'data'), FEEDS.values(), ids=FEEDS)
def test_an_example_depends_on_its_position_and_on_nobody_beside_it(feed, data):
  """So devices may share a batch in any way, and a stream can be entered anywhere."""
  whole = feed(KEY, positions(0, 40), data)
  for start, stop in ((0, 10), (33, 40)):
    part = feed(KEY, positions(start, stop), data)
    jax.tree.map(
      lambda x, y, start=start, stop=stop: np.testing.assert_array_equal(x, y[start:stop]),
      part,
      whole,
    )


@pytest.mark.parametrize(('feed', 'data'), FEEDS.values(), ids=FEEDS)
def test_another_key_is_another_stream(feed, data):
  one, other = (feed(jax.random.key(i), positions(0, 40), data).images for i in (0, 1))
  assert np.any(np.asarray(one) != np.asarray(other))


def test_a_game_never_repeats_itself():
  feed, data = FEEDS['game']
  drawn = np.asarray(feed(KEY, positions(0, 2000), data).images)
  assert len(np.unique(drawn, axis=0)) == 2000
  np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.1)
  np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.1)
  assert feed(KEY, positions(0, 3), data).labels is None


def test_data_without_labels_keep_their_images():
  data = DeviceData(Images(PIXELS, LABELS), Images(PIXELS[:5], LABELS[:5])).without_labels()
  assert data.train.labels is None
  assert data.held_out.labels is None
  assert data.train.images is PIXELS
  assert DeviceData(()).without_labels() == DeviceData(())
