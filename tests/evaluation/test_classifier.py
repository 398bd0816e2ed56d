import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax import data
from gan_jax.data import dataset as dataset_lib, stacked_mnist
from gan_jax.evaluation import classifier, classifier_network
from gan_jax.utils.errors import UserError
from tests.helpers.tiny_data import RecordedProgress, flip_middle_bit


def bars(name='bars', seed=0, n=200):
  """Noisy images with one of four bars bright: easy to learn."""
  rng = np.random.default_rng(seed)
  arrays = {}
  for split in ('train', 'validation', 'test'):
    labels = rng.integers(0, 4, n)
    images = rng.integers(0, 60, (n, 12, 12, 1))
    for image, label in zip(images, labels, strict=True):
      image[3 * label : 3 * label + 3] += 150
    arrays |= {split: images.astype(np.uint8), f'{split}_labels': labels}
  return dataset_lib.from_arrays(name, arrays)


@pytest.fixture(scope='module')
def trained():
  return classifier.load_or_train(bars(), None, RecordedProgress())


# The network


@pytest.mark.parametrize(('h', 'w'), [(8, 6), (7, 6), (5, 7)])
def test_patches_times_weights_are_a_convolution(h, w):
  x = jax.random.normal(jax.random.key(0), (2, h, w, 3))
  kernel = jax.random.normal(jax.random.key(1), (4, 4, 3, 5))
  # A patch is 2 x 2 cells of 2 x 2 pixels.
  cells = kernel.reshape(2, 2, 2, 2, 3, 5)  # cell row, pixel row, cell column, pixel column
  weights = cells.transpose(2, 0, 1, 3, 4, 5).reshape(48, 5)
  padding = ((1, 1 + h % 2), (1, 1 + w % 2))
  dimensions = ('NHWC', 'HWIO', 'NHWC')
  expected = lax.conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=dimensions)
  product = classifier_network.extract_patches(x) @ weights
  np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [32, 64, 70])
def test_large_images_are_averaged_down(size):
  image = np.random.default_rng(0).integers(0, 256, (1, size, size, 1), np.uint8)
  averaged = classifier_network.average_down(jnp.asarray(image))
  factor = -(-size // 32)
  assert max(averaged.shape) <= 32
  expected = image[0, :factor, :factor].mean() / 127.5 - 1
  np.testing.assert_allclose(averaged[0, 0, 0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize('shape', [(4, 4, 1), (28, 28, 1), (33, 20, 3), (128, 96, 4)])
def test_every_shape_of_images_has_features(shape):
  params = classifier_network.init_params(jax.random.key(0), shape, 7)
  images = jax.random.randint(jax.random.key(1), (3, *shape), 0, 256).astype(jnp.uint8)
  features, probabilities = classifier_network.features_and_probabilities(params, images)
  assert features.shape == (3, 64)
  assert float(features.std()) > 0.01
  np.testing.assert_allclose(probabilities, 1 / 7, rtol=1e-5)  # the last layer begins at zero


def test_shifted_images_are_moved_by_a_pixel_at_most():
  x = jnp.zeros((200, 5, 5, 1)).at[:, 2, 2].set(1.0)
  moved = classifier_network.random_shift(jax.random.key(0), x)
  np.testing.assert_allclose(moved.sum(axis=(1, 2, 3)), 1)
  assert bool((moved.sum(axis=0)[1:4, 1:4, 0] > 5).all())
  assert float(moved[:, 1:4, 1:4].sum()) == 200


# Training


def test_accuracy_is_high_and_measured_on_test_images(trained):
  test = bars()
  answers = trained.probabilities(test.test).argmax(axis=1)
  assert trained.accuracy == (answers == test.test_labels).mean()
  assert trained.accuracy > 0.99


def test_a_classifier_depends_on_its_training_images_alone(trained):
  assert classifier.load_or_train(bars(), None, RecordedProgress()).hash == trained.hash
  assert classifier.load_or_train(bars(seed=1), None, RecordedProgress()).hash != trained.hash


def test_features_do_not_depend_on_the_batch(trained):
  images = bars(n=classifier._CHUNK + 3).test
  features = trained.features(images)
  assert features.shape == (classifier._CHUNK + 3, 64)
  assert features.dtype == np.float32
  np.testing.assert_array_equal(trained.features(images[-5:]), features[-5:])
  np.testing.assert_allclose(trained.probabilities(images).sum(axis=1), 1, rtol=1e-5)
  assert trained.features(images[:0]).shape == (0, 64)


def test_a_set_without_labels_raises_a_user_error():
  arrays = {k: v for k, v in bars().arrays().items() if 'labels' not in k}
  with pytest.raises(UserError, match='--dataset=bare has no labels'):
    classifier.load_or_train(dataset_lib.from_arrays('bare', arrays))


@pytest.mark.parametrize('shape', [(2, 12, 10, 1), (2, 12, 12), (12, 12, 1)])
def test_images_of_another_shape_are_refused(trained, shape):
  with pytest.raises(ValueError, match='for a classifier of'):
    trained.features(np.zeros(shape, np.uint8))


# Stacks


def test_modes_of_stacked_images_are_the_labels_of_their_channels(trained):
  made = stacked_mnist.stack_dataset(bars(), 'stacked', n=400)
  modes = classifier.stacked_modes(trained, made.test)
  assert (modes == made.test_labels).mean() > 0.98
  answers = [trained.probabilities(made.test[..., i : i + 1]).argmax(axis=1) for i in range(3)]
  np.testing.assert_array_equal(modes, 16 * answers[0] + 4 * answers[1] + answers[2])


def test_features_of_stacked_images_are_those_of_their_parts(trained):
  made = stacked_mnist.stack_dataset(bars(), 'stacked', n=5)
  features = trained.features(made.test)
  assert features.shape == (5, 192)
  np.testing.assert_array_equal(features[:, 64:128], trained.features(made.test[..., 1:2]))
  with pytest.raises(ValueError, match='unpack'):
    trained.probabilities(made.test)


def test_a_set_and_its_stack_share_a_classifier(trained, tmp_path, monkeypatch):
  monkeypatch.setattr(classifier_network, 'train_classifier', lambda *args: trained.params)
  base = classifier.load_or_train(bars(), tmp_path, RecordedProgress())
  monkeypatch.setattr(classifier_network, 'train_classifier', None)
  stacked = classifier.load_or_train(
    stacked_mnist.stack_dataset(bars(), 'stacked', n=500), tmp_path, RecordedProgress()
  )
  assert stacked.hash == base.hash
  assert stacked.shape == (12, 12, 1)
  assert stacked.n_classes == 4
  assert stacked.accuracy > 0.99  # of parts


# The cache


def test_a_cached_classifier_equals_the_trained_one(trained, tmp_path, monkeypatch):
  progress = RecordedProgress()
  first = classifier.load_or_train(bars(), tmp_path, progress)
  assert len(progress.lines) == 1
  monkeypatch.setattr(classifier_network, 'train_classifier', None)
  second = classifier.load_or_train(bars(), tmp_path, progress)
  assert len(progress.lines) == 1
  assert first.hash == second.hash == trained.hash
  assert first.accuracy == second.accuracy
  np.testing.assert_array_equal(first.features(bars().test), second.features(bars().test))


def pickled(content):
  del content
  file = io.BytesIO()
  np.savez(file, w0=np.array([print], dtype=object), sha256=np.array('0'))
  return file.getvalue()


@pytest.mark.parametrize(
  'damage', [flip_middle_bit, lambda content: content[:-500], lambda _: b'', pickled]
)
def test_a_damaged_file_is_reported_and_replaced(trained, tmp_path, monkeypatch, damage):
  monkeypatch.setattr(classifier_network, 'train_classifier', lambda *args: trained.params)
  classifier.load_or_train(bars(), tmp_path, RecordedProgress())
  (file,) = (tmp_path / 'classifiers').iterdir()
  content = file.read_bytes()
  file.write_bytes(damage(content))
  progress = RecordedProgress()
  assert classifier.load_or_train(bars(), tmp_path, progress).hash == trained.hash
  assert file.read_bytes() == content
  assert 'is damaged' in progress.lines[0]


def test_a_cache_that_cannot_be_written_costs_only_time(trained, tmp_path, monkeypatch):
  monkeypatch.setattr(classifier_network, 'train_classifier', lambda *args: trained.params)
  (tmp_path / 'file').touch()
  stacked = classifier.load_or_train(bars(), tmp_path / 'file', RecordedProgress())
  assert stacked.hash == trained.hash


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'least'), [('mnist', 0.985), ('fashion_mnist', 0.89)])
def test_real_images_are_classified(name, least):
  dataset = data.load_dataset(name, data.default_data_dir())
  assert classifier.load_or_train(dataset).accuracy >= least
