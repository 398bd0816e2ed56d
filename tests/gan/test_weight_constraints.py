import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.gan import weight_constraints
from gan_jax.gan.update_rules import UPDATE_RULES
from tests.helpers.tiny_gan import (
  assert_trees_close,
  assert_trees_equal,
  draw_in_turn,
  jit_unoptimized,
  random_images,
  tiny_gan,
  trees_differ,
)

PARAMS = {
  'dense': {
    'kernel': jax.random.normal(jax.random.key(0), (7, 5)),
    'bias': jnp.array([3.0, -3.0, 0.1, 0.0, 9.0]),
  },
  'conv': {'kernel': 4 * jax.random.normal(jax.random.key(1), (3, 3, 2, 6))},
}


def largest(params):
  return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(params))


def column_norms(params):
  """Norms of the incoming weights of every unit of every kernel."""
  kernels = [np.asarray(x) for x in jax.tree.leaves(params) if x.ndim > 1]
  return np.concatenate([np.linalg.norm(x.reshape(-1, x.shape[-1]), axis=0) for x in kernels])


def test_clipping_bounds_every_weight_and_leaves_small_ones_alone():
  clipped = weight_constraints.clip(0.5)(PARAMS)
  assert largest(clipped) == 0.5
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(y, np.clip(x, -0.5, 0.5)), PARAMS, clipped
  )
  assert_trees_equal(weight_constraints.clip(100.0)(PARAMS), PARAMS)


def test_long_columns_are_shortened_to_the_bound_and_short_ones_left_alone():
  before = column_norms(PARAMS)
  bound = float(np.median(column_norms(PARAMS['dense'])))
  after = weight_constraints.max_column_norm(bound)(PARAMS)
  np.testing.assert_allclose(column_norms(after), np.minimum(before, bound), rtol=1e-5)
  assert_trees_equal(after['dense']['bias'], PARAMS['dense']['bias'])
  kernel = PARAMS['dense']['kernel']
  short = np.linalg.norm(kernel, axis=0) <= bound
  np.testing.assert_array_equal(after['dense']['kernel'][:, short], kernel[:, short])
  assert 0 < short.sum() < 5


def test_a_shortened_column_keeps_its_direction():
  after = weight_constraints.max_column_norm(0.1)(PARAMS)['dense']['kernel']
  before = PARAMS['dense']['kernel']
  cosine = (
    (after * before).sum(0) / jnp.linalg.norm(after, axis=0) / jnp.linalg.norm(before, axis=0)
  )
  np.testing.assert_allclose(cosine, 1, rtol=1e-5)


@pytest.mark.parametrize(
  'project',
  [weight_constraints.clip(0.3), weight_constraints.max_column_norm(0.3)],
  ids=['clip', 'norm'],
)
def test_a_projection_twice_is_a_projection_once(project):
  assert_trees_close(project(project(PARAMS)), project(PARAMS), rtol=1e-6)


def test_columns_of_zeros_stay_zero():
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  assert_trees_equal(weight_constraints.max_column_norm(0.3)(zeros), zeros)


def test_a_sequence_is_one_after_another_and_none_of_none():
  clip, norm = weight_constraints.clip(0.3), weight_constraints.max_column_norm(0.5)
  assert_trees_equal(weight_constraints.chain(norm, clip)(PARAMS), clip(norm(PARAMS)))
  assert weight_constraints.chain() is None


@pytest.mark.parametrize('update', ['alternating', 'simultaneous', 'extragradient'])
def test_after_every_update_the_weights_are_within_their_bounds(update):
  """D's clipped, G's columns shortened; each player's own bound and no other's."""
  clip, norm = 0.0625, 0.375  # which float32 holds exactly
  options = {
    'd_project': weight_constraints.clip(clip),
    'g_project': weight_constraints.max_column_norm(norm),
  }
  gan, key, state = tiny_gan(lr=1.0, **options)
  assert largest(state.d.params) > clip
  assert column_norms(state.g.params).max() > norm
  step = jit_unoptimized(
    lambda key, state: UPDATE_RULES[update](gan, key, state, draw_in_turn(random_images(2, 8)), 2)[
      0
    ]
  )
  for i in range(3):
    state = step(jax.random.fold_in(key, i), state)
    assert largest(state.d.params) <= clip
    assert column_norms(state.g.params).max() <= norm * (1 + 1e-6)
    assert largest(state.g.params) > clip


def test_without_a_projection_the_other_player_is_untouched():
  _, key, state = tiny_gan()
  after = {}
  for name, options in {
    'free': {},
    'clipped': {'d_project': weight_constraints.clip(0.05)},
  }.items():
    gan, _, _ = tiny_gan(**options)
    step = jit_unoptimized(
      lambda state, gan=gan: UPDATE_RULES['simultaneous'](
        gan, key, state, draw_in_turn(random_images(1, 8)), 1
      )[0]
    )
    after[name] = step(state)
  assert_trees_equal(after['clipped'].g, after['free'].g)
  assert trees_differ(after['clipped'].d.params, after['free'].d.params)
