import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from gan_jax import data
from gan_jax.data import dataset as dataset_lib, image_arrays, resizing, stacked_mnist
from gan_jax.utils.errors import UserError
from tests.helpers import tiny_data
from tests.helpers.tiny_data import RecordedProgress

SPLITS = ('train', 'validation', 'test')
STACKED_MNIST = '6daab8e93bc932adb946676c6701967919b171c85f154a8f2ae2aa4235d4ec4a'


def digits(n=30):
  """Returns a data set of flat images with pixels 100 * split + label."""
  arrays = {}
  for i, split in enumerate(SPLITS):
    labels = np.arange(n, dtype=np.int64) % 10
    grey = (100 * i + labels).astype(np.uint8)
    arrays[split] = np.broadcast_to(grey[:, None, None, None], (n, 4, 4, 1)).copy()
    arrays[f'{split}_labels'] = labels
  return dataset_lib.from_arrays('digits', arrays)


# Stacks


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_held_out_stacks_use_images_and_labels_of_their_split(split):
  made = stacked_mnist.stack_dataset(digits(), 'stacked', n=500)
  values = getattr(made, split)[:, 0, 0].astype(int) - 100 * SPLITS.index(split)
  assert getattr(made, split).shape == (500, 4, 4, 3)
  assert set(values.ravel()) == set(range(10))
  np.testing.assert_array_equal(getattr(made, f'{split}_labels'), values @ [100, 10, 1])
  assert 300 < len(np.unique(getattr(made, f'{split}_labels'))) < 460  # 394 expected of 1000


def test_a_stacked_data_set_keeps_unstacked_training_images_and_reports_the_stacked_shape():
  made = stacked_mnist.stack_dataset(digits(), 'stacked', n=5)
  np.testing.assert_array_equal(made.train, digits().train)
  assert made.stack == 3
  assert made.shape == (4, 4, 3)
  assert made.n_classes == 1000
  again = dataset_lib.from_arrays('stacked', made.arrays())
  assert again.fingerprint != made.fingerprint  # the same arrays, and another data set


def test_stacked_mnist_has_its_known_fingerprint(mnist):
  del mnist  # prepared
  made = data.load_dataset('stacked_mnist', data.default_data_dir())
  assert made.fingerprint == STACKED_MNIST
  assert made.test.shape == made.validation.shape == (10_000, 28, 28, 3)
  assert made.n_classes == 1000


def test_stack_channels_concatenates_channels():
  base = jax.random.randint(jax.random.key(0), (6, 2, 2, 2), 0, 256).astype(jnp.uint8)
  indices = jnp.array([[0, 1, 5, 5], [2, 2, 3, 5]])
  made = image_arrays.stack_channels(base, indices)
  assert made.shape == (4, 2, 2, 4)
  assert made.dtype == jnp.uint8
  for i, (a, b) in enumerate(indices.T):
    np.testing.assert_array_equal(made[i, ..., :2], base[a])
    np.testing.assert_array_equal(made[i, ..., 2:], base[b])


def test_a_stack_of_one_image_changes_nothing():
  base = jnp.arange(24).reshape(6, 2, 2, 1)
  indices = jnp.array([[3, 1]])
  np.testing.assert_array_equal(image_arrays.stack_channels(base, indices), base[indices[0]])
  labels = jnp.array([4, 5, 6, 7, 8, 9])
  np.testing.assert_array_equal(image_arrays.stack_labels(labels, indices, 10), [7, 5])


def test_stacked_labels_are_numbers_whose_digits_are_the_labels():
  labels = jnp.array([1, 2, 3])
  indices = jnp.array([[0, 2], [1, 2], [2, 0]])
  np.testing.assert_array_equal(image_arrays.stack_labels(labels, indices, 10), [123, 331])


def test_a_set_without_labels_has_no_classes():
  arrays = {split: np.zeros((5, 2, 2, 1), np.uint8) for split in SPLITS}
  bare = dataset_lib.from_arrays('bare', arrays)
  assert bare.n_classes == 0
  made = stacked_mnist.stack_dataset(bare, 'stacked', n=3)
  assert made.n_classes == 0
  assert made.test_labels is None


# Contrast


def test_contrast_normalization_equals_numpy():
  x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
  expected = []
  for image in x:
    centred = image.astype(np.float64) - image.mean()
    expected.append(55 * centred / np.linalg.norm(centred))
  actual = image_arrays.global_contrast_normalize(jnp.asarray(x))
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
  assert actual.dtype == jnp.float32


def test_contrast_normalization_of_a_flat_image_is_zero():
  flat = jnp.full((2, 3, 3, 1), 7, jnp.uint8)
  np.testing.assert_array_equal(
    image_arrays.global_contrast_normalize(flat), jnp.zeros((2, 3, 3, 1))
  )


def test_contrast_normalization_is_invariant_to_brightness_and_gain():
  x = jax.random.uniform(jax.random.key(0), (3, 5, 5, 2))
  np.testing.assert_allclose(
    image_arrays.global_contrast_normalize(x, 2.0),
    image_arrays.global_contrast_normalize(3 * x + 5, 2.0),
    atol=1e-5,
  )


# Sizes


def test_crop_takes_the_central_square():
  wide = np.zeros((4, 10), np.uint8)
  wide[:, 3:7] = 200
  np.testing.assert_array_equal(
    np.asarray(resizing.crop_and_resize(PIL.Image.fromarray(wide), 4)), 200
  )


def test_downsampling_is_antialiased():
  board = np.indices((64, 64)).sum(axis=0) % 2 * 255
  small = resizing.crop_and_resize_array(board.astype(np.uint8)[..., None], 8)
  assert small.shape == (8, 8, 1)
  assert abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 2  # nearest neighbours would be 0 or 255


@pytest.mark.parametrize('channels', [1, 3])
def test_resizing_to_the_same_size_changes_nothing(channels):
  x = np.random.default_rng(0).integers(0, 256, (9, 9, channels), np.uint8)
  np.testing.assert_array_equal(resizing.crop_and_resize_array(x, 9), x)


@pytest.mark.parametrize('size', [14, 32])
def test_each_image_size_has_its_own_cache(tmp_path, monkeypatch, size):
  folder = tiny_data.folder_with_originals(tmp_path, monkeypatch)
  native = tiny_data.prepare_tiny_mnist(folder).dataset
  made = tiny_data.prepare_tiny_mnist(folder, image_size=size).dataset
  assert made.shape == (size, size, 1)
  np.testing.assert_array_equal(
    made.train[7], resizing.crop_and_resize_array(native.train[7], size)
  )
  np.testing.assert_array_equal(made.test_labels, native.test_labels)
  progress = RecordedProgress()
  assert (
    data.load_dataset('mnist', folder, progress, image_size=size).fingerprint == made.fingerprint
  )
  assert data.load_dataset('mnist', folder, progress).fingerprint == native.fingerprint
  assert progress.lines == []


def test_a_cache_of_another_image_size_is_ignored(tmp_path, monkeypatch):
  folder = tiny_data.folder_with_originals(tmp_path, monkeypatch)
  tiny_data.prepare_tiny_mnist(folder, image_size=14)
  (folder / 'mnist' / 'decoded-14.npz').rename(folder / 'mnist' / 'decoded-16.npz')
  progress = RecordedProgress()
  assert data.load_dataset('mnist', folder, progress, image_size=16).shape == (16, 16, 1)
  assert 'decoding again' in progress.lines[0]


def test_images_of_unequal_sizes_need_image_size(tmp_path, monkeypatch):
  folder = tiny_data.folder_with_originals(tmp_path, monkeypatch)
  tiny_data.prepare_tiny_mnist(folder)
  (folder / 'mnist' / 'decoded.npz').unlink()
  features = folder / 'mnist' / '3.0.1' / 'features.json'
  text = features.read_text()
  assert text.count('"28"') == 2
  features.write_text(text.replace('"28"', '"-1"'))
  with pytest.raises(UserError, match='unequal sizes: give --image_size'):
    tiny_data.prepare_tiny_mnist(folder)
  assert tiny_data.prepare_tiny_mnist(folder, image_size=16).dataset.shape == (16, 16, 1)
