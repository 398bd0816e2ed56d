"""Tests that gradient descent on the latent finds an image that the generator can draw."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax.config import gan_factory
from gan_jax.config.run_config import Config
from gan_jax.evaluation import inversion, sampling
from gan_jax.gan import gan as gan_lib
from gan_jax.utils.errors import UserError

CONFIG = Config(g_width=32, d_width=4, latent='normal', latent_size=4, conditional=True)


def make(**changes):
  config = dataclasses.replace(CONFIG, **changes)
  gan = gan_factory.build_gan(config, (8, 8, 1), 100, 3)
  state = gan_lib.init(gan, jax.random.key(1), jnp.zeros((1, 8, 8, 1)))
  # Initial weights give nearly the same grey for all latents: larger ones make the samples differ.
  weights = jax.tree.map(lambda x: 3 * x, sampling.generator_weights(state, 'raw'))
  return gan, weights


@pytest.mark.parametrize('latent', ['normal', 'uniform', 'sphere'])
def test_a_sample_is_found_again(latent):
  gan, weights = make(latent=latent)
  latents = sampling.fixed_latents(gan.latent, 7, 3)
  images = sampling.generate_images(gan, weights, latents, jnp.asarray([0, 1, 2]))
  target = images[1]
  found = inversion.invert_image(gan, weights, target, [0, 1, 2], steps=400)
  assert found.distance < 3
  assert found.distance < found.start_distance / 3
  assert found.label in (0, 1, 2)
  drawn = sampling.generate_images(
    gan, weights, jnp.asarray(found.latent)[None], jnp.asarray([found.label])
  )[0]
  np.testing.assert_array_equal(drawn, found.image)
  assert found.distance == pytest.approx(
    np.sqrt(np.mean((found.image.astype(float) - target) ** 2))
  )
  bound = {'uniform': 3**0.5 + 1e-6, 'normal': 10, 'sphere': 2 + 1e-5}[latent]
  assert np.abs(found.latent).max() <= bound


def test_only_the_given_classes_are_searched():
  gan, weights = make()
  target = np.full((8, 8, 1), 99, np.uint8)
  assert inversion.invert_image(gan, weights, target, [2], steps=3).label == 2


def test_signs_have_no_gradient():
  gan, weights = make(latent='binary')
  with pytest.raises(UserError, match='--latent=binary'):
    inversion.invert_image(gan, weights, np.zeros((8, 8, 1), np.uint8), [0])


def test_an_image_is_read_as_in_training_and_fitted(tmp_path):
  path = tmp_path / 'wide.png'
  pixels = np.zeros((10, 20, 4), np.uint8)
  pixels[:, 5:15] = (255, 0, 0, 255)  # the middle is red, the rest transparent
  Image.fromarray(pixels).save(path)
  target = inversion.read_target(path, (5, 5, 3))
  assert (target.shape, target.dtype) == ((5, 5, 3), np.uint8)
  np.testing.assert_allclose(target[2, 2], (255, 0, 0), atol=3)  # Lanczos rings at the edges
  assert inversion.read_target(path, (4, 8, 1)).shape == (4, 8, 1)
  assert inversion.read_target(path, (10, 20, 3))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize('content', [None, b'', b'no image', b'\x89PNG\r\n\x1a\n'])
def test_a_file_without_an_image_is_named(content, tmp_path):
  path = tmp_path / 'x.png'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=rf'^--image={path}: .*; name '):
    inversion.read_target(path, (8, 8, 1))
