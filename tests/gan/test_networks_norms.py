import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan.networks import NETWORKS
from gan_jax.gan.networks.dcgan import HIDDEN
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
def test_batch_norm_over_shards_is_that_of_the_whole_batch(name, player):
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


def test_dense_layers_of_dcgan_are_normalised_like_its_convolutions():
  generator, discriminator = small('dcgan', g_depth=2, d_depth=2, d_norm='spectral')
  _, stats = start(generator, jax.random.normal(KEY, (4, 5)), None)
  assert [x['mean'].shape for x in stats['batch_stats'].values()] == [(HIDDEN,), (HIDDEN,), (8,)]
  _, stats = start(discriminator, examples('dcgan', 4), None)
  vectors = [x for x in jax.tree.leaves(stats) if x.ndim == 2]
  assert sorted(x.shape for x in vectors) == [(1, 1), (1, 8), (1, HIDDEN), (1, HIDDEN)]


def test_batch_norm_in_evaluation_sees_no_other_example():
  generator, _ = small('dcgan')
  latents = jax.random.normal(KEY, (4, 5))
  params, stats = start(generator, latents, None)
  whole = evaluate(generator, params, stats, latents, None)
  alone = evaluate(generator, params, stats, latents[:1], None)
  np.testing.assert_allclose(whole[:1], alone, atol=1e-5)


@pytest.mark.parametrize('name', ['mlp', 'relu', 'dcgan'])
def test_spectral_norm_makes_every_largest_singular_value_one(name):
  """D is then the same function of weights ten times as large."""
  _, discriminator = small(name, d_norm='spectral', n_classes=3)
  images, labels = examples(name, 4), labels_of(4, 3)
  params, stats = start(discriminator, images, labels)

  @jax.jit
  def settle(params, stats):
    def body(_, stats):
      return discriminator.apply(
        {'params': params, **stats}, images, labels, train=True, mutable=['batch_stats'],
        rngs={'dropout': KEY},
      )[1]  # fmt: skip

    stats = jax.lax.fori_loop(0, 1000, body, stats)
    return stats, discriminator.apply({'params': params, **stats}, images, labels, train=False)

  settled, logits = settle(params, stats)
  kernels = {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if leaf.ndim > 1
  }
  sigmas = {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(settled['batch_stats'])
    if 'sigma' in jax.tree_util.keystr(path)
  }
  assert len(sigmas) == len(kernels)
  largest = sorted(
    np.linalg.svd(np.reshape(k, (-1, k.shape[-1])), compute_uv=False)[0] for k in kernels.values()
  )
  np.testing.assert_allclose(sorted(sigmas.values()), largest, rtol=2e-3)
  larger = jax.tree.map(lambda p: 10 * p if p.ndim > 1 else p, params)
  _, same = settle(larger, settled)
  np.testing.assert_allclose(same, logits, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize('name', [n for n in NETWORKS if n != 'dirac'])
def test_projection_is_an_inner_product_with_the_features(name):
  """D(x, y) - D(x, y') = <v_y - v_y', phi(x)>, Miyato & Koyama (2018), eq. 3."""
  _, discriminator = small(name, n_classes=3, d_norm='none')
  images = examples(name, 3)
  params, stats = start(discriminator, images, jnp.zeros(3, int))
  logit = params['Logit_0']

  def judge(labels):
    return evaluate(discriminator, params, stats, images, labels)

  difference = judge(jnp.full(3, 2)) - judge(jnp.zeros(3, int))
  # The features, read through a D whose last linear layer is one of their coordinates after another.
  vectors = logit['Embed_0']['embedding']
  swapped = params | {
    'Logit_0': logit
    | {'Dense_0': {'kernel': (vectors[2] - vectors[0])[:, None], 'bias': jnp.zeros(1)}}
    | {'Embed_0': {'embedding': jnp.zeros_like(vectors)}}
  }
  expected = evaluate(discriminator, swapped, stats, images, jnp.zeros(3, int))
  np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4)
  assert abs(difference).max() > 1e-5
