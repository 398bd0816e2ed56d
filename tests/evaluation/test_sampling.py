import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import Dataset
from gan_jax.data.image_arrays import global_contrast_normalize
from gan_jax.evaluation import sampling
from gan_jax.gan import gan as gan_lib
from tests.helpers.tiny_gan import IMAGE_SHAPE, replace_params, tiny_gan


def gan_with_other_raw_weights(**options):
  """Returns a tiny GAN and a state whose last weights differ from the averaged ones."""
  gan, _, state = tiny_gan(**options)
  params = jax.tree.map(lambda x: 3 * x, state.g.params)
  return gan, replace_params(state, 'g', params)


def test_rows_and_images_are_the_same_samples():
  gan, state = gan_with_other_raw_weights()
  drawn = sampling.draw_samples(gan, state, seed=0, n=30)
  for samples in drawn.values():
    assert samples.images.shape == (30, *IMAGE_SHAPE)
    np.testing.assert_allclose(
      samples.unit_rows, sampling.to_unit_rows(samples.images), atol=0.5 / 255 + 1e-6
    )
  assert np.any(drawn['raw'].images != drawn['ema'].images)
  again = sampling.draw_samples(gan, state, seed=0, n=10)
  np.testing.assert_array_equal(again['ema'].images, drawn['ema'].images[:10])


def test_rows_of_samples_without_contrast_are_their_images():
  gan, state = gan_with_other_raw_weights()
  drawn = sampling.draw_samples(gan._replace(contrast=55.0), state, seed=0, n=10)['raw']
  np.testing.assert_array_equal(drawn.unit_rows, sampling.to_unit_rows(drawn.images))
  darker = sampling.draw_samples(gan, state, seed=0, n=10)['raw'].images
  assert drawn.images.std() < darker.std()


def test_real_images_are_renormalized_as_a_perfect_generator_draws_them():
  """A generator that has learned a training image perfectly paints what that image became."""
  pixels = np.random.default_rng(0).integers(30, 90, (1010, 4, 4, 3), np.uint8)
  dataset = Dataset('dim', pixels, pixels[:20], pixels[20:40], None, None, None, 'f00d')
  renormalized = sampling.renormalize_dataset(dataset, 7.0)
  learned = global_contrast_normalize(jnp.asarray(pixels), 7.0)
  expected = np.asarray(sampling.to_uint8_images(learned, 7.0))
  np.testing.assert_array_equal(renormalized.train, expected)
  np.testing.assert_array_equal(renormalized.validation, expected[:20])
  np.testing.assert_array_equal(renormalized.test, expected[20:40])
  assert (
    renormalized.fingerprint != dataset.fingerprint
  )  # or its references would be taken for others


def test_only_the_requested_rows_are_kept_in_float32():
  gan, state = gan_with_other_raw_weights()
  whole = sampling.draw_samples(gan, state, seed=0, n=1010)['ema']  # more than one call draws
  for n_rows in (0, 30, 1005, 2000):
    drawn = sampling.draw_samples(gan, state, 0, 1010, n_rows)['ema']
    np.testing.assert_array_equal(drawn.images, whole.images)
    assert len(drawn.unit_rows) == min(n_rows, 1010)
    if n_rows:
      np.testing.assert_array_equal(drawn.unit_rows, whole.unit_rows[:n_rows])


def test_sampled_labels_have_the_class_frequencies_of_the_training_set():
  labels = np.repeat([0, 1, 2], [700, 0, 300])
  drawn = np.asarray(sampling.sample_labels_like(labels, 5000))
  np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 5000, [0.7, 0, 0.3], atol=0.03)
  np.testing.assert_array_equal(drawn, sampling.sample_labels_like(labels, 5000))
  pairs = np.asarray(sampling.sample_labels_like(labels, 5000, stack=2, n_labels=3))
  shares = np.bincount(pairs, minlength=9) / 5000
  np.testing.assert_allclose(shares, np.outer([0.7, 0, 0.3], [0.7, 0, 0.3]).ravel(), atol=0.03)


def test_samples_are_of_the_given_labels():
  gan, state = gan_with_other_raw_weights(n_classes=3)
  twos = jnp.full(20, 2)
  drawn = sampling.draw_samples(gan, state, 0, 20, labels=twos)['raw']
  latents = sampling.fixed_latents(gan.latent, 0, 20)
  expected = sampling.generate_images(gan, state.g.weights, latents, twos)
  np.testing.assert_array_equal(drawn.images, expected)
  assert np.any(drawn.images != sampling.draw_samples(gan, state, 0, 20)['raw'].images)


def test_without_labels_samples_are_of_all_classes_in_turn():
  gan, state = gan_with_other_raw_weights(n_classes=3)
  latents = sampling.fixed_latents(gan.latent, 0, 1010)  # more than one call draws
  drawn = sampling.generate_samples(gan, state.g.weights, latents)
  labels = jnp.arange(1010) % 3
  whole = gan_lib.sample(gan, state.g.weights, latents, labels)
  np.testing.assert_allclose(drawn, whole, atol=1e-5)
  ones = sampling.generate_images(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  expected = gan_lib.sample(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  np.testing.assert_allclose(ones, (expected + 1) * 127.5, atol=0.51)
