import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from gan_jax.evaluation import inception_network

NETWORK = inception_network.InceptionV3()


@functools.cache
def traced(*shape):
  """Returns the shapes of variables, outputs and each module's output, without computing them."""
  images = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(NETWORK.init, jax.random.key(0), images)
  capture = lambda v, x: NETWORK.apply(v, x, capture_intermediates=True, mutable='intermediates')
  return variables, *jax.eval_shape(capture, variables, images)


def test_the_number_of_parameters_is_torchvisions():
  """27,161,264, with an auxiliary classifier of 3,326,696 and 1000 classes instead of 1008."""
  variables, _, _ = traced(1, 299, 299, 3)
  n = sum(x.size for x in jax.tree.leaves(variables['params']))
  assert n == 27_161_264 - 3_326_696 + 8 * 2049


def test_grids_are_those_of_the_paper():
  """Table 1 of Szegedy et al. (2016)."""
  _, (features, logits), captured = traced(1, 299, 299, 3)
  assert (features.shape, logits.shape) == ((1, 2048), (1, 1008))
  shapes = {
    name: x['__call__'][0].shape[1:]
    for name, x in captured['intermediates'].items()
    if name[0] != '_'
  }
  for name, shape in {
    'Conv2d_1a_3x3': (149, 149, 32),
    'Conv2d_2a_3x3': (147, 147, 32),
    'Conv2d_2b_3x3': (147, 147, 64),
    'Conv2d_3b_1x1': (73, 73, 80),
    'Conv2d_4a_3x3': (71, 71, 192),
    'Mixed_5b': (35, 35, 256),
    'Mixed_5d': (35, 35, 288),
    'Mixed_6a': (17, 17, 768),
    'Mixed_6e': (17, 17, 768),
    'Mixed_7a': (8, 8, 1280),
    'Mixed_7c': (8, 8, 2048),
  }.items():
    assert shapes[name] == shape, name


def test_images_too_small_to_pool_are_refused():
  assert traced(1, 75, 75, 3)[1][0].shape == (1, 2048)
  with pytest.raises(ValueError, match='75 pixels'):
    traced(1, 299, 74, 3)


def test_mean_pools_leave_padding_out():
  ones = jnp.ones((1, 4, 5, 2))
  np.testing.assert_allclose(inception_network._mean_pool(ones), ones, rtol=1e-6)
  corner = inception_network._mean_pool(jnp.arange(9.0).reshape(1, 3, 3, 1))[0, 0, 0, 0]
  assert corner == pytest.approx((0 + 1 + 3 + 4) / 4)


@pytest.mark.parametrize('by_maxima', [False, True])
def test_a_last_block_pools_by_maximum_or_mean(by_maxima):
  class Last(nn.Module):
    @nn.compact
    def __call__(self, x):
      return inception_network.InceptionE(by_maxima, name='block')(x)

  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
  variables = Last().init(jax.random.key(1), x)
  pool = nn.max_pool(x, (3, 3), padding='SAME') if by_maxima else inception_network._mean_pool(x)
  kernel = variables['params']['block']['branch_pool']['conv']['kernel'][0, 0]
  expected = jax.nn.relu(pool @ kernel / np.sqrt(1 + 1e-3))
  np.testing.assert_allclose(Last().apply(variables, x)[..., -192:], expected, atol=1e-5)


def by_pillow(image):
  """Resizes each channel in floats, as clean-fid does (Parmar et al., 2022)."""
  bicubic = PIL.Image.Resampling.BICUBIC
  channels = (PIL.Image.fromarray(x.astype(np.float32)) for x in np.moveaxis(image, -1, 0))
  return np.stack([np.asarray(x.resize((299, 299), bicubic)) for x in channels], axis=-1)


@pytest.mark.parametrize(('h', 'w'), [(1, 1), (28, 28), (32, 48), (299, 299), (640, 400)])
def test_images_are_resized_as_pillow_does_it(h, w):
  """Within a hundredth of a grey level of 255; antialiased where the image is larger."""
  images = np.random.default_rng(0).integers(0, 256, (2, h, w, 3), np.uint8)
  expected = np.stack([by_pillow(x) for x in images])
  np.testing.assert_allclose(inception_network.resize_images(images), expected, atol=0.01)


def test_grey_images_equal_images_of_three_equal_channels():
  grey = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), np.uint8)
  coloured = inception_network.resize_images(np.repeat(grey, 3, axis=-1))
  np.testing.assert_allclose(inception_network.resize_images(grey), coloured, atol=1e-4)


def test_pixels_are_scaled_as_in_tensorflows_graph():
  np.testing.assert_allclose(
    inception_network.scale_pixels(jnp.array([0.0, 128.0, 255.0])), [-1, 0, 127 / 128]
  )
