import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.dcgan import DENSE_UNITS
from tests.helpers.small_networks import KEY, evaluate, examples, labels_of, small, start

BATCH_NORMS = [
  ('dcgan', 'g'),
  ('sngan', 'g'),
  ('relu', 'g'),
  ('mlp', 'g'),
  ('dcgan', 'd'),
  ('relu', 'd'),
]


@pytest.mark.parametrize(('name', 'player'), BATCH_NORMS)
def test_batch_norm_over_shards_equals_that_of_the_whole_batch(name, player):
  pair = small(name, shape=(16, 16, 3), **{f'{player}_norm': 'batch'})
  network = pair[player == 'd']
  inputs = (
    jax.random.normal(KEY, (8, 5)) if player == 'g' else jax.random.normal(KEY, (8, 16, 16, 3))
  )
  params, stats = start(network, inputs, None)
  assert 'batch_stats' in stats

  def forward(inputs, axis_name):
    return network.apply(
      {'params': params, **stats},
      inputs,
      None,
      train=True,
      axis_name=axis_name,
      mutable=list(stats),
    )

  whole, whole_stats = jax.jit(forward, static_argnums=1)(inputs, None)
  shards = inputs.reshape(4, 2, *inputs.shape[1:])
  mapped = jax.jit(jax.vmap(lambda shard: forward(shard, 'data'), axis_name='data'))
  out, out_stats = mapped(shards)
  np.testing.assert_allclose(out.reshape(whole.shape), whole, rtol=1e-3, atol=1e-4)
  for i in range(4):
    jax.tree.map(
      lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5),
      out_stats,
      whole_stats,
    )
  moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), stats, whole_stats)
  assert all(jax.tree.leaves(moved))


def test_dense_layers_of_dcgan_have_the_norms_of_its_convolutions():
  generator, discriminator = small('dcgan', g_depth=2, d_depth=2, d_norm='spectral')
  _, stats = start(generator, jax.random.normal(KEY, (4, 5)), None)
  sizes = [x['mean'].shape for x in stats['batch_stats'].values()]
  assert sizes == [(DENSE_UNITS,), (DENSE_UNITS,), (8,)]
  _, stats = start(discriminator, examples('dcgan', 4), None)
  vectors = [x for x in jax.tree.leaves(stats) if x.ndim == 2]
  assert sorted(x.shape for x in vectors) == [(1, 1), (1, 8), (1, DENSE_UNITS), (1, DENSE_UNITS)]


def test_batch_norm_in_evaluation_does_not_depend_on_the_batch():
  generator, _ = small('dcgan')
  latents = jax.random.normal(KEY, (4, 5))
  params, stats = start(generator, latents, None)
  whole = evaluate(generator, params, stats, latents, None)
  single = evaluate(generator, params, stats, latents[:1], None)
  np.testing.assert_allclose(whole[:1], single, atol=1e-5)


@pytest.mark.parametrize('name', ['mlp', 'relu', 'dcgan'])
def test_spectral_norm_makes_every_largest_singular_value_one(name):
  """Weights ten times as large then give the same logits."""
  _, discriminator = small(name, d_norm='spectral', n_classes=3)
  images, labels = examples(name, 4), labels_of(4, 3)
  params, stats = start(discriminator, images, labels)

  @jax.jit
  def converge(params, stats):
    def body(_, stats):
      return discriminator.apply(
        {'params': params, **stats}, images, labels, train=True, mutable=['batch_stats'],
        rngs={'dropout': KEY},
      )[1]  # fmt: skip

    stats = jax.lax.fori_loop(0, 1000, body, stats)
    return stats, discriminator.apply({'params': params, **stats}, images, labels, train=False)

  converged, logits = converge(params, stats)
  kernels = {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if leaf.ndim > 1
  }
  sigmas = {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(converged['batch_stats'])
    if 'sigma' in jax.tree_util.keystr(path)
  }
  assert len(sigmas) == len(kernels)
  largest = sorted(
    np.linalg.svd(np.reshape(k, (-1, k.shape[-1])), compute_uv=False)[0] for k in kernels.values()
  )
  np.testing.assert_allclose(sorted(sigmas.values()), largest, rtol=2e-3)
  larger = jax.tree.map(lambda p: 10 * p if p.ndim > 1 else p, params)
  _, same = converge(larger, converged)
  np.testing.assert_allclose(same, logits, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize('name', [n for n in NETWORKS if n != 'dirac'])
def test_projection_is_an_inner_product_with_the_features(name):
  """D(x, y) - D(x, y') = <v_y - v_y', phi(x)>, Miyato & Koyama (2018), eq. 3."""
  _, discriminator = small(name, n_classes=3, d_norm='none')
  images = examples(name, 3)
  params, stats = start(discriminator, images, jnp.zeros(3, int))
  logit = params['Logit_0']

  def logits(labels):
    return evaluate(discriminator, params, stats, images, labels)

  difference = logits(jnp.full(3, 2)) - logits(jnp.zeros(3, int))
  # The inner product, computed by a D whose last linear layer has v_2 - v_0 as its weights.
  vectors = logit['Embed_0']['embedding']
  swapped = params | {
    'Logit_0': logit
    | {'Dense_0': {'kernel': (vectors[2] - vectors[0])[:, None], 'bias': jnp.zeros(1)}}
    | {'Embed_0': {'embedding': jnp.zeros_like(vectors)}}
  }
  expected = evaluate(discriminator, swapped, stats, images, jnp.zeros(3, int))
  np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4)
  assert abs(difference).max() > 1e-5
