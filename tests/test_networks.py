import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.networks import NETWORKS, mlp
from gan_jax.networks.layers import Dropout

KEY = jax.random.key(0)
SHAPE = (28, 28, 1)


def released(**changes):
  options = {'g_width': 1200, 'd_width': 240, 'init': '2014', 'd_dropout': True, 'mean_image': None}
  return mlp.pair(SHAPE, **(options | changes))


def count(network, inputs):
  shapes = jax.eval_shape(lambda: network.init(KEY, inputs, train=False))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_parameter_counts_are_those_of_the_2014_mnist_run():
  generator, discriminator = released()
  assert count(generator, jnp.zeros((1, 100))) == 2_503_984
  assert count(discriminator, jnp.zeros((1, *SHAPE))) == 1_231_441


def test_initial_weights_are_those_of_2014():
  generator, discriminator = released()
  g = generator.init(KEY, jnp.zeros((1, 100)), train=False)['params']
  d = discriminator.init(KEY, jnp.zeros((1, *SHAPE)), train=False)['params']
  for params, bound in ((g, 0.05), (d, 0.005)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      if 'bias' in jax.tree_util.keystr(path):
        assert not leaf.any()
      else:
        assert abs(leaf).max() == pytest.approx(bound, rel=0.02)
        assert leaf.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_untrained_generator_with_marginals_paints_the_mean_image():
  mean = jnp.linspace(0, 1, 784).reshape(SHAPE)
  generator, _ = released(mean_image=mean)
  variables = generator.init(KEY, jnp.zeros((1, 100)), train=False)
  painted = generator.apply(variables, jnp.zeros((1, 100)), train=False)
  np.testing.assert_allclose((painted[0] + 1) / 2, mean, atol=1e-5)


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_keep_their_shapes_and_range(name):
  generator, discriminator = NETWORKS[name](
    (8, 8, 3), g_width=16, d_width=8, init='scaled', d_dropout=True, mean_image=None
  )
  latents = jax.random.normal(KEY, (5, 10))
  images = generator.apply(generator.init(KEY, latents, train=False), latents, train=False)
  assert images.shape == (5, 8, 8, 3)
  assert abs(images).max() <= 1
  logits = discriminator.apply(discriminator.init(KEY, images, train=False), images, train=False)
  assert logits.shape == (5,)


def test_maxout_is_the_largest_of_its_linear_maps():
  layer = mlp.Maxout(3, 5, jax.nn.initializers.normal(1.0))
  x = jax.random.normal(KEY, (4, 7))
  variables = layer.init(KEY, x)
  kernel = np.asarray(variables['params']['Dense_0']['kernel']).reshape(7, 5, 3)
  expected = np.einsum('ni,ipu->npu', x, kernel).max(axis=1)
  np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_the_mean_and_draws_a_mask_for_each_example():
  x = jnp.ones((400, 50))
  out = Dropout(0.2).apply({}, x, True, rngs={'dropout': KEY})
  assert set(np.unique(out).tolist()) == {0.0, 1.25}
  assert out.mean() == pytest.approx(1, abs=0.02)
  assert len(np.unique(np.asarray(out), axis=0)) == 400
  np.testing.assert_array_equal(Dropout(0.2).apply({}, x, False), x)
