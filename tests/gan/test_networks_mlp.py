import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan.networks import NETWORKS, NetworkSpec, initializers, mlp_2014
from gan_jax.gan.networks.layers import Dropout
from tests.helpers.small_networks import KEY, labels_of, start

SHAPE = (28, 28, 1)


def networks_of_2014(**changes):
  return mlp_2014.build_networks(NetworkSpec(SHAPE, init='2014', d_dropout=True, **changes))


def count(network, inputs):
  shapes = jax.eval_shape(lambda: network.init(KEY, inputs, None, train=False))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def counts(name, spec, latent_size=100):
  generator, discriminator = NETWORKS[name](spec)
  return (
    count(generator, jnp.zeros((1, latent_size))),
    count(discriminator, jnp.zeros((1, *spec.shape))),
  )


def test_parameter_counts_are_those_of_the_2014_runs():
  assert counts('mlp', NetworkSpec(SHAPE, init='2014')) == (2_503_984, 1_231_441)
  hidden = 100 * 8000 + 8000 + 8000 * 8000 + 8000
  cifar = NetworkSpec((32, 32, 3), init='2014')
  assert counts('mlp_cifar_2014', cifar) == (
    hidden + 8000 * 3072 + 3072,
    (3072 + 1) * 8000 + (1600 + 1) * 8000 + 1601,
  )
  # D: 32x32, padded by 4, pooled to 16; padded by 3, pooled to 7; padded by 3, pooled to 5.
  assert counts('conv_2014', cifar) == (
    hidden + 5 * 5 * 80 * 3 + 3,
    (8 * 8 * 3 + 1) * 64
    + (8 * 8 * 32 + 1) * 64
    + (5 * 5 * 32 + 1) * 384
    + (5 * 5 * 192 + 1) * 2500
    + 501,
  )


def test_relu_networks_are_those_of_the_pytorch_tutorial():
  spec = NetworkSpec((15,), g_depth=1, d_depth=1, init='torch')
  generator, discriminator = NETWORKS['relu'](spec)
  g, _ = start(generator, jnp.zeros((1, 5)), None)
  d, _ = start(discriminator, jnp.zeros((1, 15)), None)
  sizes = {leaf.shape for leaf in jax.tree.leaves((g, d))}
  assert sizes == {(5, 128), (128,), (128, 15), (15,), (15, 128), (128, 1), (1,)}
  z = jax.random.normal(KEY, (4, 5))
  hidden, output = g['Dense_0'], g['Dense_1']
  painted = np.maximum(z @ hidden['kernel'] + hidden['bias'][None], 0) @ output['kernel']
  np.testing.assert_allclose(
    generator.apply({'params': g}, z, None, train=True), painted + output['bias'][None], atol=1e-5
  )
  for layer, fan_in in ((hidden, 5), (output, 128), (d['Dense_0'], 15)):
    for leaf in (layer['kernel'], layer['bias']):
      assert 0.5 * fan_in**-0.5 < abs(leaf).max() <= fan_in**-0.5


def test_initial_weights_are_those_of_2014():
  generator, discriminator = networks_of_2014()
  g, _ = start(generator, jnp.zeros((1, 100)), None)
  d, _ = start(discriminator, jnp.zeros((1, *SHAPE)), None)
  for params, bound in ((g, 0.05), (d, 0.005)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      if 'bias' in jax.tree_util.keystr(path):
        assert not leaf.any()
      else:
        assert abs(leaf).max() == pytest.approx(bound, rel=0.02)
        assert leaf.std() == pytest.approx(bound / 3**0.5, rel=0.15 if leaf.size < 1000 else 0.05)


def test_scaled_weights_have_the_variance_of_one_over_fan_in():
  kernel, bias = initializers.lecun_uniform(50)
  assert kernel(KEY, (50, 400)).var() == pytest.approx(1 / 50, rel=0.03)
  assert not bias(KEY, (400,)).any()


def test_the_output_bias_makes_the_untrained_generator_paint_the_mean_image():
  mean = jnp.linspace(0, 1, 784).reshape(SHAPE)
  generator, _ = networks_of_2014(mean_image=mean)
  latents = jnp.zeros((1, 100))
  variables = generator.init(KEY, latents, None, train=False)
  painted = generator.apply(variables, latents, None, train=False)
  np.testing.assert_allclose((painted[0] + 1) / 2, mean, atol=1e-5)


def test_g_depth_and_d_depth_set_the_numbers_of_layers():
  generator, discriminator = mlp_2014.build_networks(NetworkSpec((4,), 8, 8, g_depth=3, d_depth=1))
  g, _ = start(generator, jnp.zeros((1, 2)), None)
  d, _ = start(discriminator, jnp.zeros((1, 4)), None)
  assert set(g) == {'Dense_0', 'Dense_1', 'Dense_2', 'Dense_3'}
  assert set(d) == {'Maxout_0', 'Logit_0'}


def test_maxout_is_the_largest_of_its_linear_maps():
  layer = mlp_2014.Maxout(3, 5, initializers.normal_weights(1.0))
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


@pytest.mark.parametrize('name', ['mlp', 'conv_2014'])
def test_dropout_of_2014_is_drawn_in_training_only(name):
  _, discriminator = NETWORKS[name](NetworkSpec((8, 8, 1), 16, 4, d_dropout=True))
  images = jnp.ones((2, 8, 8, 1))
  params, _ = start(discriminator, images, None)

  apply = jax.jit(discriminator.apply, static_argnames='train')

  def logits(train, seed):
    rngs = {'dropout': jax.random.key(seed)}
    return apply({'params': params}, images, None, train=train, rngs=rngs)

  assert logits(True, 0)[0] != logits(True, 1)[0]
  np.testing.assert_array_equal(logits(False, 0), logits(False, 1))


@pytest.mark.parametrize('n_classes', [0, 3])
def test_dirac_starts_at_one_and_is_a_product(n_classes):
  generator, discriminator = NETWORKS['dirac'](NetworkSpec((1,), n_classes=n_classes))
  labels = labels_of(4, n_classes)
  latents = jax.random.normal(KEY, (4, 2))
  g, _ = start(generator, latents, labels)
  x = jax.random.normal(KEY, (4, 1))
  d, _ = start(discriminator, x, labels)
  np.testing.assert_array_equal(generator.apply({'params': g}, latents, labels, train=True), 1)
  np.testing.assert_array_equal(discriminator.apply({'params': d}, x, labels, train=True), x[:, 0])
