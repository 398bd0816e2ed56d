import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import device_batches
from gan_jax.data.device_batches import DeviceData, Images

KEY = jax.random.key(0)
N = 30
# All pixels of image i are i, so that a batch identifies its images; its label is i mod 10.
PIXELS = jnp.broadcast_to(jnp.arange(N, dtype=jnp.uint8)[:, None, None, None], (N, 2, 2, 1))
LABELS = jnp.arange(N) % 10


def positions(start, stop):
  return jnp.arange(start, stop, dtype=jnp.uint32)


def indices(images):
  """Returns the indices [n, c] of the images in each channel."""
  return np.asarray(jnp.round((images[:, 0, 0] + 1) * 127.5), int)


def test_an_epoch_holds_each_image_once_scaled_to_minus_one_to_one():
  batch = device_batches.image_batches()(KEY, positions(N, 2 * N), Images(PIXELS))
  assert sorted(indices(batch.images)[:, 0]) == list(range(N))
  assert batch.labels is None
  assert batch.images.dtype == jnp.float32
  whole = device_batches.image_batches()(
    KEY, positions(0, 2), Images(jnp.array([[[[0]]], [[[255]]]], jnp.uint8))
  )
  assert sorted(whole.images.ravel().tolist()) == [-1, 1]


def test_labels_are_shuffled_with_their_images():
  batch = device_batches.image_batches()(KEY, positions(0, 50), Images(PIXELS, LABELS))
  np.testing.assert_array_equal(batch.labels, indices(batch.images)[:, 0] % 10)


def test_each_channel_of_a_stack_is_an_independently_shuffled_image():
  batch = device_batches.image_batches(3, 10)(KEY, positions(0, N), Images(PIXELS, LABELS))
  assert batch.images.shape == (N, 2, 2, 3)
  drawn = indices(batch.images)
  for channel in drawn.T:
    assert sorted(channel) == list(range(N))
  assert len({tuple(channel) for channel in drawn.T}) == 3
  digits = drawn % 10
  np.testing.assert_array_equal(batch.labels, digits @ [100, 10, 1])


def test_contrast_normalizes_each_image_separately():
  pixels = jax.random.randint(KEY, (N, 4, 4, 1), 0, 256).astype(jnp.uint8)
  batch = device_batches.image_batches(contrast=5.0)(KEY, positions(0, 7), Images(pixels, LABELS))
  flat = np.asarray(batch.images).reshape(7, -1)
  np.testing.assert_allclose(flat.mean(axis=1), 0, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 5, rtol=1e-5)
  assert batch.labels.shape == (7,)


BATCH_FNS = {
  'images': (device_batches.image_batches(), Images(PIXELS, LABELS)),
  'stack': (device_batches.image_batches(3, 10), Images(PIXELS, LABELS)),
  'synthetic': (device_batches.synthetic_batches(lambda key: jax.random.normal(key, (2,))), ()),
}


@pytest.mark.parametrize(('batch_fn', 'data'), BATCH_FNS.values(), ids=BATCH_FNS)
def test_an_example_depends_on_its_position_and_not_on_the_rest_of_the_batch(batch_fn, data):
  whole = batch_fn(KEY, positions(0, 40), data)
  for start, stop in ((0, 10), (33, 40)):
    part = batch_fn(KEY, positions(start, stop), data)
    jax.tree.map(
      lambda x, y, start=start, stop=stop: np.testing.assert_array_equal(x, y[start:stop]),
      part,
      whole,
    )


@pytest.mark.parametrize(('batch_fn', 'data'), BATCH_FNS.values(), ids=BATCH_FNS)
def test_another_key_gives_other_batches(batch_fn, data):
  one, other = (batch_fn(jax.random.key(i), positions(0, 40), data).images for i in (0, 1))
  assert np.any(np.asarray(one) != np.asarray(other))


def test_synthetic_examples_never_repeat():
  batch_fn, data = BATCH_FNS['synthetic']
  drawn = np.asarray(batch_fn(KEY, positions(0, 2000), data).images)
  assert len(np.unique(drawn, axis=0)) == 2000
  np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.1)
  np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.1)
  assert batch_fn(KEY, positions(0, 3), data).labels is None


def test_removing_labels_keeps_the_images():
  data = DeviceData(Images(PIXELS, LABELS), Images(PIXELS[:5], LABELS[:5])).without_labels()
  assert data.train.labels is None
  assert data.held_out.labels is None
  assert data.train.images is PIXELS
  assert DeviceData(()).without_labels() == DeviceData(())
