import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan.networks import NETWORKS, NetworkSpec
from tests.helpers.small_networks import KEY, SMALL, evaluate, examples, labels_of, small, start

ALL_NETWORKS = pytest.mark.parametrize('name', NETWORKS)
UNCONDITIONAL_AND_CONDITIONAL = pytest.mark.parametrize('n_classes', [0, 3])
SIZES = {
  'mlp': [(28, 28, 1), (15,), (2,)],
  'mlp_cifar_2014': [(32, 32, 3)],
  'conv_2014': [(32, 32, 3), (8, 11, 1)],
  'dcgan': [(28, 28, 1), (32, 32, 3), (64, 64, 3), (48, 32, 3), (12, 12, 1)],
  'sngan': [(28, 28, 1), (32, 32, 3), (64, 64, 3)],
  'r3gan': [(28, 28, 1), (32, 32, 3), (64, 64, 3)],
  'relu': [(2,), (15,), (28, 28, 1)],
  'dirac': [(1,)],
}


def test_every_network_is_tested():
  assert set(SIZES) == set(NETWORKS) == set(SMALL)


@UNCONDITIONAL_AND_CONDITIONAL
@pytest.mark.parametrize(
  ('name', 'shape'), [(name, shape) for name in SIZES for shape in SIZES[name]]
)
def test_default_networks_keep_their_shapes(name, shape, n_classes):
  generator, discriminator = NETWORKS[name](NetworkSpec(shape, n_classes=n_classes))
  labels = labels_of(5, n_classes)

  def both(key):
    latents = jax.random.normal(key, (5, 10))
    images = generator.apply(
      generator.init(key, latents, labels, train=False), latents, labels, train=False
    )
    d = discriminator.init(key, images, labels, train=False)
    return images, discriminator.apply(d, images, labels, train=False)

  images, logits = jax.eval_shape(both, KEY)
  assert images.shape == (5, *shape)
  assert logits.shape == (5,)


@ALL_NETWORKS
@UNCONDITIONAL_AND_CONDITIONAL
def test_bfloat16_is_the_type_of_the_computation_only(name, n_classes):
  generator, discriminator = small(name, n_classes=n_classes, dtype='bfloat16')
  labels = labels_of(4, n_classes)

  def both(key):
    latents = jax.random.normal(key, (4, 5))
    g = generator.init(key, latents, labels, train=False)
    images, g_stats = generator.apply(g, latents, labels, train=True, mutable=['batch_stats'])
    d = discriminator.init(key, images, labels, train=False)
    logits, d_stats = discriminator.apply(
      d, images, labels, train=True, mutable=['batch_stats'], rngs={'dropout': key}
    )
    return g, d, images, logits, g_stats, d_stats

  results = jax.eval_shape(both, KEY)
  assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype('float32')}
  if name != 'dirac':
    assert 'bf16' in str(jax.make_jaxpr(both)(KEY))


@ALL_NETWORKS
def test_r1_and_its_gradient_are_finite(name):
  _, discriminator = small(name, n_classes=3)
  images, labels = examples(name, 4), labels_of(4, 3)
  params, stats = start(discriminator, images, labels)

  def r1(params):
    def critic(images):
      variables = {'params': params, **stats}
      logits, _ = discriminator.apply(
        variables, images, labels, train=True, mutable=['batch_stats'], rngs={'dropout': KEY}
      )
      return logits.sum()

    return jnp.sum(jax.grad(critic)(images) ** 2)

  value, grads = jax.jit(jax.value_and_grad(r1))(params)
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  assert any(leaf.any() for leaf in jax.tree.leaves(grads))


@ALL_NETWORKS
def test_examples_and_logits_depend_on_the_label(name):
  generator, discriminator = small(name, n_classes=3)
  latents = jnp.tile(jax.random.normal(KEY, (1, 5)), (2, 1))
  labels = jnp.array([0, 2])
  params, stats = start(generator, latents, labels)
  # Random offsets: the Dirac networks start with equal parameters for all classes.
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(KEY, p.shape), params)
  images = evaluate(generator, params, stats, latents, labels)
  assert abs(images[0] - images[1]).max() > 1e-4
  same = jnp.tile(images[:1], (2,) + (1,) * (images.ndim - 1))
  params, stats = start(discriminator, same, labels)
  params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(KEY, p.shape), params)
  logits = evaluate(discriminator, params, stats, same, labels)
  assert abs(logits[0] - logits[1]) > 1e-5


@ALL_NETWORKS
def test_labels_are_required_with_classes_and_refused_without(name):
  for n_classes, labels, message in ((0, jnp.zeros(2, int), '^labels'), (3, None, '^no labels')):
    for network, inputs in zip(
      small(name, n_classes=n_classes), (jnp.zeros((2, 5)), examples(name, 2)), strict=True
    ):
      with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda n=network, x=inputs, y=labels: n.init(KEY, x, y, train=False))


@pytest.mark.parametrize('name', [n for n in NETWORKS if n not in ('dirac', 'mlp_cifar_2014')])
def test_generators_of_zero_weights_make_the_mean_image(name):
  """The mean image is constant over pixels, since convolutions have one bias per channel."""
  mean = jnp.broadcast_to(jnp.array([0.3, 0.5, 0.8])[None, None], (8, 8, 3))
  plain, _ = small(name)
  with_mean, _ = small(name, mean_image=mean)
  latents = jax.random.normal(KEY, (3, 5))
  params, stats = start(with_mean, latents, None)
  plain_params = start(plain, latents, None)[0]
  assert jax.tree.structure(params) == jax.tree.structure(plain_params)
  zeroed = jax.tree.map(lambda p: p if p.shape in ((3,), (192,)) else 0 * p, params)
  images = evaluate(with_mean, zeroed, stats, latents, None)
  np.testing.assert_allclose((images + 1) / 2, jnp.broadcast_to(mean, images.shape), atol=1e-4)


@pytest.mark.parametrize('name', ['sngan', 'r3gan'])
def test_remat_changes_no_output_or_gradient(name):
  gradients = []

  def generator_shapes(remat):
    generator, _ = small(name, remat=remat)
    images, variables = jax.eval_shape(
      lambda: generator.init_with_output(KEY, jnp.ones((2, 5)), None, train=True)
    )
    return images.shape, jax.tree.structure(variables)

  for remat in (False, True):
    _, discriminator = small(name, remat=remat)
    images = examples(name, 2)
    params, stats = start(discriminator, images, None)

    def loss(params, discriminator=discriminator, stats=stats, images=images):
      logits, stats = discriminator.apply(
        {'params': params, **stats}, images, None, train=True, mutable=['batch_stats']
      )
      return logits.sum(), stats

    gradients.append(jax.jit(jax.grad(loss, has_aux=True))(params))
    assert generator_shapes(remat) == generator_shapes(False)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *gradients)
