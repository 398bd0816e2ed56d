import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gan_jax.distributed.randomness import example_keys
from gan_jax.gan.augment import (
  AUGMENTATIONS,
  ada_controller,
  ada_transforms as ada,
  augment_images,
  check_augmentation,
  diffaugment,
  instance_noise,
)
from gan_jax.utils.errors import UserError

CHANGING = [name for name in AUGMENTATIONS if name != 'none']
KEYS = example_keys(jax.random.key(0), 2000, None)
RGB = jax.random.uniform(jax.random.key(1), (8, 8, 3), minval=-1.0)
GREY = RGB[..., :1]


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(augment_images, name))


def repeat(image, n):
  return jnp.broadcast_to(image, (n, *image.shape))


def share_unchanged(results, image):
  """Share of the results [n, h, w, c] that equal the image."""
  return float((jnp.abs(results - image[None]) < 1e-5).all(axis=(1, 2, 3)).mean())


@pytest.mark.parametrize('image', [GREY, RGB], ids=['grey', 'rgb'])
@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_at_p_0_nothing_changes(name, image):
  images = repeat(image, 4)
  np.testing.assert_array_equal(compiled(name)(KEYS[:4], images, 0.0), images)


@pytest.mark.parametrize('name', ['color', 'translation', 'cutout', 'diffaugment'])
def test_diffaugment_is_applied_to_a_share_p_of_the_images(name):
  images = repeat(RGB, 2000)
  # Below 1: a translation may be by 0 pixels.
  always = 1 - share_unchanged(compiled(name)(KEYS, images, 1.0), RGB)
  assert always > 0.85
  assert 1 - share_unchanged(compiled(name)(KEYS, images, 0.3), RGB) == pytest.approx(
    0.3 * always, abs=0.04
  )


def test_flip_has_probability_p_over_2():
  results = compiled('flip')(KEYS, repeat(RGB, 2000), 0.6)
  assert share_unchanged(results, RGB) == pytest.approx(0.7, abs=0.04)
  assert share_unchanged(results, RGB[:, ::-1]) == pytest.approx(0.3, abs=0.04)


def test_each_transform_of_ada_is_applied_with_probability_p():
  """The identity has probability 1/2 among flips and luma flips, 1/4 among quarter turns and shifts."""
  for p in (0.05, 0.2):
    expected = (1 - p / 2) ** 2 * (1 - 3 * p / 4) ** 2 * (1 - p) ** 8
    results = compiled('ada')(KEYS, repeat(RGB, 2000), p)
    assert share_unchanged(results, RGB) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize(
  ('name', 'image'), [*((name, RGB) for name in CHANGING), ('color', GREY), ('ada', GREY)]
)
def test_gradients_equal_finite_differences(name, image):
  images = repeat(image, 4)
  weights, direction = jax.random.normal(jax.random.key(4), (2, *images.shape))
  weighted_sum = jax.jit(
    jax.value_and_grad(
      lambda x: jnp.vdot(weights, augment_images(name, KEYS[:4], x, jnp.float32(0.9)))
    )
  )
  _, gradient = weighted_sum(images)
  # Affine in the image, so finite differences are exact for the large step, which limits rounding errors.
  difference = (weighted_sum(images + direction)[0] - weighted_sum(images - direction)[0]) / 2
  np.testing.assert_allclose(jnp.vdot(gradient, direction), difference, rtol=1e-3, atol=1e-3)
  assert difference != 0


@pytest.mark.parametrize('name', CHANGING)
def test_a_gradient_penalty_through_an_augmentation_has_a_finite_gradient(name):
  images = jax.random.uniform(jax.random.key(6), (4, *RGB.shape), minval=-1.0)

  @jax.jit
  @jax.value_and_grad
  def penalty(weight):
    critic = lambda x: jnp.tanh(weight * augment_images(name, KEYS[:4], x, jnp.float32(0.8))).sum()
    return (jax.grad(critic)(images) ** 2).sum()

  value, slope = penalty(jnp.float32(0.7))
  assert value > 0
  assert np.isfinite(slope)
  assert slope != 0


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_augmentation_does_not_depend_on_the_sharding(name):
  images = jax.random.uniform(jax.random.key(7), (2000, *RGB.shape), minval=-1.0)
  whole = compiled(name)(KEYS, images, 0.7)
  shards = [compiled(name)(KEYS[i : i + 4], images[i : i + 4], 0.7) for i in (0, 4, 8)]
  np.testing.assert_allclose(whole[:12], jnp.concatenate(shards), atol=1e-5)
  np.testing.assert_array_equal(shards[0], compiled(name)(KEYS[:4], images[:4], 0.7))


def test_brightness_saturation_and_contrast_are_the_published_formulas():
  key, image = KEYS[0], np.asarray(RGB)
  u = float(jax.random.uniform(key))
  grey = image.mean(axis=2, keepdims=True)
  np.testing.assert_allclose(diffaugment.brightness(key, RGB), image + (u - 0.5), atol=1e-6)
  np.testing.assert_allclose(
    diffaugment.saturation(key, RGB), grey + 2 * u * (image - grey), atol=1e-6
  )
  expected = image.mean() + (u + 0.5) * (image - image.mean())
  np.testing.assert_allclose(diffaugment.contrast(key, RGB), expected, atol=1e-6)
  np.testing.assert_array_equal(diffaugment.saturation(key, GREY), GREY)


def test_translations_move_pixels_exactly_and_reach_an_eighth():
  image = jnp.arange(1.0, 16 * 24 + 1).reshape(16, 24, 1)
  results = np.asarray(jax.jit(jax.vmap(diffaugment.translation, (0, None)))(KEYS[:400], image))
  candidates = {}
  for down in range(-2, 3):
    for right in range(-3, 4):
      candidates[down, right] = ndimage.shift(np.asarray(image), (down, right, 0), order=0)
  drawn = {
    shift for result in results for shift, c in candidates.items() if np.array_equal(c, result)
  }
  assert all(any(np.array_equal(c, r) for c in candidates.values()) for r in results)
  assert drawn == set(candidates)


@pytest.mark.parametrize(('h', 'w'), [(8, 8), (10, 7)])
def test_cutout_zeroes_a_window_of_half_the_size_where_it_lies_inside(h, w):
  image = jnp.ones((h, w, 2))
  zero = np.asarray(jax.jit(jax.vmap(diffaugment.cutout, (0, None)))(KEYS[:300], image)) == 0
  assert (zero[..., 0] == zero[..., 1]).all()
  rows, columns = zero[..., 0].any(axis=2), zero[..., 0].any(axis=1)
  np.testing.assert_array_equal(zero[..., 0], rows[:, :, None] & columns[:, None, :])
  for inside, size in ((rows, h), (columns, w)):
    half = int(size / 2 + 0.5)
    assert set(inside.sum(axis=1)) == set(range(half // 2 + half % 2, half + 1))
    cut = inside.sum(axis=1) < half
    assert (inside[cut][:, 0] | inside[cut][:, -1]).all()  # smaller only where the border cuts it


@jax.jit
def _transformed(image, transform):
  return ada.warp(image, *ada.source_coordinates(transform, *image.shape[:2]))


def transformed(image, **transform):
  return _transformed(image, ada.GeometricTransform(**transform))


@pytest.mark.parametrize('size', [7, 8])
def test_flips_and_quarter_turns_permute_pixels_exactly(size):
  image = jax.random.normal(KEYS[1], (size, size, 2))
  np.testing.assert_array_equal(transformed(image), image)
  np.testing.assert_array_equal(transformed(image, flip=True), image[:, ::-1])
  for turns in range(4):
    results = [np.rot90(image, k) for k in (turns, -turns)]
    result = transformed(image, quarter_turns=turns)
    assert any(np.array_equal(result, r) for r in results)
    np.testing.assert_array_equal(transformed(result, quarter_turns=4 - turns), image)


def test_shifts_move_pixels_exactly_and_mirror_at_the_border():
  image = jax.random.normal(KEYS[2], (6, 9, 1))
  padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode='reflect')
  for down, right in [(0, 1), (-3, 2), (3, -3)]:
    expected = padded[3 + down : 9 + down, 3 + right : 12 + right]
    np.testing.assert_array_equal(transformed(image, shift=(float(down), float(right))), expected)


@pytest.mark.parametrize('warp', [ada.warp_by_gather, ada.warp_by_matmul, ada.warp])
def test_every_warp_equals_bilinear_interpolation_by_scipy(warp):
  image = jax.random.normal(KEYS[3], (9, 7, 3))
  transform = ada.GeometricTransform((1.3, -0.4), 0.5, 1.2, -0.3, 0.9, (1.0, 2.0), 1, True)
  rows, columns = jax.jit(lambda: ada.source_coordinates(transform, 9, 7))()
  expected = np.stack(
    [
      ndimage.map_coordinates(np.asarray(image[..., i]), (rows, columns), order=1, mode='mirror')
      for i in range(3)
    ],
    axis=-1,
  )
  inside = [ada._mirror(rows, 9), ada._mirror(columns, 7)]
  np.testing.assert_allclose(warp(image, *inside), expected, atol=1e-5)


def test_both_warps_have_the_same_gradient():
  image, weights = jax.random.normal(jax.random.key(8), (2, 8, 8, 3))
  places = jax.random.uniform(jax.random.key(9), (2, 8, 8), maxval=7.0)
  gradients = [
    jax.jit(jax.grad(lambda x, warp=warp: jnp.vdot(weights, warp(x, *places))))(image)
    for warp in (ada.warp_by_gather, ada.warp_by_matmul)
  ]
  np.testing.assert_allclose(*gradients, atol=1e-5)


def test_recolor_equals_the_product_of_the_published_matrices():
  brightness, contrast, hue, saturation = 0.1, 1.3, 0.8, 0.6
  v = np.ones(3) / 3**0.5
  cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
  vv = np.outer(v, v)
  turn = vv + np.cos(hue) * (np.eye(3) - vv) + np.sin(hue) * cross
  saturate = vv + saturation * (np.eye(3) - vv)
  for luma_flip in (False, True):
    luma = np.eye(3) - 2 * vv * luma_flip
    expected = (np.asarray(RGB) + brightness) * contrast @ (saturate @ turn @ luma).T
    result = ada.recolor(RGB, brightness, contrast, luma_flip, hue, saturation)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    grey = ada.recolor(GREY, brightness, contrast, luma_flip, hue, saturation)
    sign = -1 if luma_flip else 1
    np.testing.assert_allclose(grey, sign * contrast * (np.asarray(GREY) + brightness), atol=1e-6)


@pytest.mark.parametrize('shape', [(2,), (6, 5, 1)])
def test_instance_noise_has_the_given_deviation(shape):
  examples = jax.random.normal(KEYS[4], (2000, *shape))
  noisy = jax.jit(instance_noise)
  noise = np.asarray(noisy(KEYS, examples, 0.3) - examples)
  assert noise.std() == pytest.approx(0.3, rel=0.05)
  assert noise.mean() == pytest.approx(0.0, abs=0.02)
  assert abs(np.corrcoef(noise.reshape(2000, -1)[:, :2].T)[0, 1]) < 0.08
  np.testing.assert_array_equal(noisy(KEYS, examples, 0.0), examples)


def run_controller(mean_sign, n, state=None, **options):
  update = jax.jit(functools.partial(ada_controller.update_ada, batch_size=100, **options))
  state = state or ada_controller.init_ada()
  for _ in range(n):
    state = update(state, mean_sign)
  return state


def test_overfitting_raises_p_and_its_absence_lowers_p():
  high = run_controller(1.0, 60, images_to_one=10_000)
  assert high.p > 0.4
  assert high.r_t == pytest.approx(1.0, abs=1e-3)
  low = run_controller(0.0, 20, high, images_to_one=10_000)
  assert 0 < low.p < high.p


def test_p_stays_within_its_bounds():
  assert run_controller(1.0, 200, images_to_one=10_000).p == pytest.approx(ada_controller.MAX_P)
  assert run_controller(1.0, 200, images_to_one=10_000, max_p=0.3).p == pytest.approx(0.3)
  assert run_controller(-1.0, 5).p == 0


def test_p_moves_by_batch_size_over_images_to_one():
  update = jax.jit(ada_controller.update_probability, static_argnums=(2, 3))
  assert update(0.5, 0.61, 0.6, 64) == pytest.approx(0.5 + 64 / 500_000, abs=1e-7)
  assert update(0.5, 0.59, 0.6, 64) == pytest.approx(0.5 - 64 / 500_000, abs=1e-7)
  assert update(0.5, jnp.float32(0.6), 0.6, 64) == 0.5
  # From 0, the mean of the signs passes .6 at the fourth minibatch: 1 - .75^4 = .68.
  assert run_controller(1.0, 3).p == 0
  assert run_controller(1.0, 53).p == pytest.approx(50 * 100 / 500_000, rel=1e-4)


def test_a_resumed_controller_equals_an_unbroken_one():
  halfway = jax.tree.map(np.asarray, run_controller(0.9, 40))
  resumed = run_controller(0.9, 40, ada_controller.AdaState(*map(jnp.asarray, halfway)))
  assert jax.tree.map(float, resumed) == jax.tree.map(float, run_controller(0.9, 80))


def test_augmentation_of_points_is_refused_in_one_line():
  with pytest.raises(UserError) as refusal:
    check_augmentation('cutout', (2,))
  assert str(refusal.value) == (
    '--augment=cutout: works on images, and the data has points of shape (2,); use --augment=none'
  )
  check_augmentation('none', (2,))
  for name in AUGMENTATIONS:
    check_augmentation(name, (28, 28, 1))
