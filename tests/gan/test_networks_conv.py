import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan.networks import NetworkSpec, conv_as_matmul, dcgan, r3gan
from gan_jax.gan.networks.resampling import (
  downsample_bilinear,
  downsample_mean,
  upsample_bilinear,
  upsample_nearest,
)
from tests.helpers.small_networks import KEY, examples, small, start

# height, width, size, stride, padding, inputs of a group, outputs, groups, transposed
CASES = [
  (8, 10, 4, 2, 1, 3, 5, 1, False),  # dcgan's, and its transpose
  (4, 5, 4, 2, 1, 5, 3, 1, True),
  (4, 5, 4, 2, 1, 2, 9, 1, True),
  (6, 5, 3, 1, 1, 4, 2, 1, False),
  (6, 5, 3, 1, 1, 2, 8, 1, False),
  (6, 5, 3, 1, 1, 4, 12, 3, False),  # in groups
  (6, 5, 1, 1, 0, 4, 6, 1, False),
  (9, 7, 5, 3, 2, 2, 3, 1, False),  # neither kernel nor image a multiple of the stride
  (7, 9, 3, 2, 1, 2, 3, 1, False),
  (5, 5, 1, 2, 0, 2, 3, 1, False),
  (3, 4, 5, 3, 0, 4, 2, 1, True),  # conv_2014's
]


@pytest.mark.parametrize(('h', 'w', 'size', 'stride', 'pad', 'i', 'o', 'groups', 'up'), CASES)
def test_products_equal_convolutions(h, w, size, stride, pad, i, o, groups, up):
  """Outputs, gradients of both factors, and gradients of the squared gradients."""
  keys = jax.random.split(KEY, 3)
  x = jax.random.normal(keys[0], (2, h, w, i * groups))
  kernel = jax.random.normal(keys[1], (size, size, i, o)) / (size * i**0.5)

  def outputs_and_derivatives(as_matmul):
    def fn(x, kernel):
      if up:
        return conv_as_matmul.convolve_transposed(x, kernel, stride, pad, as_matmul=as_matmul)
      return conv_as_matmul.convolve(x, kernel, stride, pad, groups, as_matmul=as_matmul)

    # The sine makes second derivatives depend on both factors.
    first = jax.grad(lambda x, kernel: jnp.sum(jnp.sin(fn(x, kernel))), (0, 1))
    second = jax.grad(lambda *both: sum(jnp.sum(g**2) for g in first(*both)), (0, 1))
    return fn(x, kernel), first(x, kernel), second(x, kernel)

  products, xla = (jax.jit(outputs_and_derivatives, static_argnums=0)(x) for x in (True, False))
  for a, b in zip(jax.tree.leaves(products), jax.tree.leaves(xla), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


@pytest.mark.parametrize('name', ['conv_2014', 'dcgan', 'sngan', 'r3gan'])
def test_networks_do_not_depend_on_how_convolutions_are_computed(name):
  images, latents = examples(name, 3), jnp.ones((3, 5))
  results = []
  for as_matmul in (True, False):
    generator, discriminator = small(name, as_matmul=as_matmul)
    g, g_stats = start(generator, latents, None)
    d, d_stats = start(discriminator, images, None)
    generate = jax.jit(lambda v, n=generator: n.apply(v, latents, None, train=False))
    discriminate = jax.jit(lambda v, n=discriminator: n.apply(v, images, None, train=False))
    fakes = generate({'params': g, **g_stats})
    results.append((g, d, fakes, discriminate({'params': d, **d_stats})))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *results)


def test_r3gan_blocks_start_as_the_identity_with_a_nonzero_gradient():
  block = r3gan.ResidualBlock(4, jnp.float32, None)
  x = jax.random.normal(KEY, (2, 4, 4, 16))
  params = jax.jit(block.init)(jax.random.key(1), x)['params']
  apply = jax.jit(block.apply)
  np.testing.assert_array_equal(apply({'params': params}, x), x)
  grads = jax.grad(lambda p: jnp.sum(apply({'params': p}, x) ** 2))(params)
  assert grads['Conv_2']['kernel'].any()
  assert params['Conv_1']['kernel'].shape == (3, 3, r3gan.GROUP_SIZE, 32)
  assert params['Conv_0']['kernel'].std() == pytest.approx(
    r3gan.GAIN * 16**-0.5 * 4**-0.25, rel=0.1
  )


def test_r3gan_at_768_and_2_is_of_the_published_size():
  """About 20 million parameters in each player."""
  generator, discriminator = r3gan.build_networks(NetworkSpec((32, 32, 3), 768, 768, 2, 2))
  for network, inputs in (
    (generator, jnp.zeros((1, 64))),
    (discriminator, jnp.zeros((1, 32, 32, 3))),
  ):
    shapes = jax.eval_shape(lambda n=network, x=inputs: n.init(KEY, x, None, train=False))
    block = 768 * 1536 * 2 + 1536 * 2 + 9 * 16 * 1536
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == pytest.approx(8 * block, rel=0.02)


def test_bilinear_resampling_equals_jax_image():
  x = jax.random.normal(KEY, (2, 6, 8, 3))
  np.testing.assert_allclose(
    upsample_bilinear(x), jax.image.resize(x, (2, 12, 16, 3), 'bilinear'), atol=1e-5
  )
  half = jax.image.resize(x, (2, 3, 4, 3), 'bilinear')  # antialiased: 1, 3, 3, 1
  np.testing.assert_allclose(downsample_bilinear(x)[:, 1:-1, 1:-1], half[:, 1:-1, 1:-1], atol=1e-5)
  flat = jnp.ones((1, 4, 4, 1))
  np.testing.assert_allclose(downsample_bilinear(flat), jnp.ones((1, 2, 2, 1)), atol=1e-6)


def test_mean_downsampling_inverts_nearest_upsampling():
  x = jax.random.normal(KEY, (2, 4, 6, 3))
  np.testing.assert_allclose(downsample_mean(upsample_nearest(x)), x, atol=1e-6)


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_dcgan_without_norm_starts_with_weights_by_fan_in(norm):
  """Batch norm makes up for the paper's small weights; without it they shrink a signal 80 times."""
  spec = NetworkSpec((28, 28, 1), 8, 8, d_depth=1, g_norm=norm, d_norm=norm)
  generator, discriminator = dcgan.build_networks(spec)
  for network, x, layers in (
    (generator, jnp.ones((2, 9)), 3),
    (discriminator, jnp.ones((2, 28, 28, 1)), 4),
  ):
    params = jax.jit(network.init, static_argnums=3)(KEY, x, None, True)['params']
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert len(kernels) == layers
    for kernel in kernels:
      fan_in = kernel.size // kernel.shape[-1]
      if network is generator and kernel.ndim == 4:
        fan_in //= 2**2  # an output receives one transposed kernel pixel in four
      assert kernel.std() == pytest.approx(fan_in**-0.5 if norm == 'none' else 0.02, rel=0.2)


@pytest.mark.parametrize('transposed', [False, True])
def test_weights_by_fan_in_keep_the_standard_deviation_of_a_signal(transposed):
  """Away from the edges, where padding lowers it."""
  x = jax.random.normal(KEY, (16, 12, 12, 32))
  layer = conv_as_matmul.Conv(64, kernel_size=4, stride=2, transposed=transposed)
  y = layer.apply(jax.jit(layer.init)(jax.random.key(1), x), x)
  assert y[:, 2:-2, 2:-2].std() == pytest.approx(1, rel=0.05)
