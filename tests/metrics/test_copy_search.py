import functools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, spatial, stats

from gan_jax.metrics import copy_distances
from gan_jax.metrics.copy_alignment import describe_pair
from gan_jax.metrics.copy_search import search_copies
from gan_jax.metrics.equal_examples import name_overlaps

SIDE, N_TRAIN, N = 20, 1500, 150


@functools.cache
def pictures():
  """Returns smooth random colour images: training, held-out and other held-out ones."""
  noise = np.random.default_rng(0).standard_normal((N_TRAIN + 2 * N, SIDE, SIDE, 3))
  smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 0)) * 300 + 128
  images = smooth.clip(0, 255).astype(np.uint8)
  return np.split(images, [N_TRAIN, N_TRAIN + N])


def shift(images, y, x):
  padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode='edge')
  return padded[:, 3 - y : 3 - y + SIDE, 3 - x : 3 - x + SIDE]


def crop(images, margin):
  part = images[:, margin : SIDE - margin, margin : SIDE - margin]
  return np.stack([np.asarray(Image.fromarray(x).resize((SIDE, SIDE))) for x in part])


CHANGES = {
  'equal': lambda x: x,
  'shifted': lambda x: shift(x, 1, -1),
  'mirrored': lambda x: x[:, :, ::-1],
  'cropped': lambda x: crop(x, 1),
  'brighter': lambda x: (x * 0.7 + 70).clip(0, 255).astype(np.uint8),
  'small differences': lambda x: (
    (x + np.random.default_rng(1).normal(0, 8, x.shape)).clip(0, 255).astype(np.uint8)
  ),
}


@pytest.mark.parametrize('how', CHANGES)
@pytest.mark.parametrize('n_new', [0, N // 2])
def test_copies_of_training_images_are_found_whatever_was_done_to_them(how, n_new):
  train, held_out, fresh = pictures()
  copied = CHANGES[how](train[: N - n_new])
  report = search_copies(train, held_out, np.concatenate([copied, fresh[:n_new]]))
  assert report.p < 1e-6
  assert report.near > 0.8 * (N - n_new) / N
  assert report.exact == ((N - n_new) / N if how == 'equal' else 0)
  for sample, example, _, words in report.pairs:
    assert sample == example
    assert how in words


def test_other_images_of_the_same_kind_are_no_copies():
  train, held_out, fresh = pictures()
  report = search_copies(train, held_out, fresh)
  assert report.p > 0.05
  assert (report.exact, report.exact_held_out, report.n_train) == (0, 0, N_TRAIN)
  assert report.near < 0.07
  assert all(words == 'alike' for *_, words in report.pairs)


@pytest.mark.parametrize(
  'change', [lambda x: ndimage.gaussian_filter(x, (0, 2, 2, 0)), lambda x: x[:3]]
)
def test_blurred_or_collapsed_samples_are_no_copies(change):
  train, held_out, fresh = pictures()
  assert search_copies(train, held_out, np.resize(change(fresh), fresh.shape)).p > 0.05


def test_order_has_no_effect_and_parts_equal_an_array():
  train, held_out, fresh = pictures()
  fake = np.concatenate([fresh[:100], shift(train[:20], 0, 1)])
  expected = search_copies(train, held_out, fake)
  rng = np.random.default_rng(2)
  train_order, fake_order = rng.permutation(len(train)), rng.permutation(len(fake))
  shuffled = search_copies(train[train_order], rng.permutation(held_out), fake[fake_order])
  assert shuffled[:6] == expected[:6]
  pairs = [(fake_order[i], train_order[j], *rest) for i, j, *rest in shuffled.pairs]
  assert pairs == expected.pairs
  assert search_copies([train[:7], train[7:900], train[900:]], held_out, fake) == expected
  with pytest.raises(ValueError, match='iterator'):
    search_copies(iter([train]), held_out, fake)


@pytest.mark.parametrize('n_leaked', [N // 2, N])
def test_held_out_examples_from_the_training_set_do_not_switch_the_test_off(n_leaked):
  train, held_out, fresh = pictures()
  held_out = np.concatenate([train[:n_leaked], held_out[n_leaked:]])
  copied = shift(train[-N:], 1, 0)
  assert search_copies(train, held_out, copied).p < 1e-6
  assert search_copies(train, held_out, train[-N:]).p < 1e-6
  perfect = search_copies(train, held_out, fresh)
  assert perfect.p > 0.01
  assert perfect.exact_held_out == n_leaked / N


def draw_ring(rng, n):
  angle = 2 * np.pi * rng.integers(8, size=n) / 8
  return np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.01, (n, 2))


def draw_integers(rng, n):
  return rng.poisson(3, (n, 2)).astype(np.float32)


def draw_small_images(rng, n):
  return (rng.random((n, 3, 3, 1)) < 0.3).astype(np.uint8)


SAMPLERS = {
  'ring': draw_ring,
  'integers': draw_integers,
  'normal': lambda rng, n: rng.standard_normal((n, 40)).astype(np.float32),
  'one coordinate': lambda rng, n: rng.standard_normal((n, 1)).astype(np.float32),
  'few values': draw_small_images,
  'repeated rows': lambda rng, n: np.repeat(draw_ring(rng, n // 2), 2, axis=0),
}


@pytest.mark.parametrize('name', SAMPLERS)
def test_perfect_samplers_seldom_pass_for_copiers(name):
  draw, p_values = SAMPLERS[name], []
  for seed in range(12):
    rng = np.random.default_rng(seed)
    p_values.append(search_copies(draw(rng, 1000), draw(rng, 300), draw(rng, 400), seed).p)
  assert stats.binomtest(sum(p < 0.05 for p in p_values), 12, 0.05, 'greater').pvalue > 0.01
  assert min(p_values) > 1e-3


@pytest.mark.parametrize('name', ['ring', 'normal', 'one coordinate', 'repeated rows'])
@pytest.mark.parametrize('noise', [0, 1e-5])
def test_replayed_points_are_found(name, noise):
  rng = np.random.default_rng(0)
  train, held_out = SAMPLERS[name](rng, 1000), SAMPLERS[name](rng, 300)
  fake = train[rng.permutation(1000)[:300]] + rng.normal(0, 1, (300, train.shape[1])) * noise
  report = search_copies(train, held_out, fake.astype(train.dtype))
  assert report.p < 1e-6
  assert report.near > (0.1 if noise else 0.9)


def test_samples_that_are_not_finite_are_ignored():
  rng = np.random.default_rng(0)
  train, held_out = draw_ring(rng, 1000), draw_ring(rng, 300)
  report = search_copies(train, held_out, np.concatenate([np.full((50, 2), np.nan), train[:50]]))
  assert report.exact == 1
  assert {pair[0] for pair in report.pairs} <= set(range(50, 100))


def test_sets_too_small_to_compare_still_have_their_equal_examples():
  train = np.eye(8, dtype=np.float32)
  report = search_copies(train, train[:2] + 2, train[:4])
  assert report.exact == 1
  assert np.isnan(report.near)
  assert [pair[:2] for pair in sorted(report.pairs)] == [(i, i) for i in range(4)]


@pytest.mark.parametrize('d', [2, 30])
def test_group_minima_are_those_of_all_distances(d):
  rng = np.random.default_rng(0)
  queries, examples = rng.standard_normal((3, 11, d)), rng.standard_normal((999, d))
  found = copy_distances.nearest_in_groups(queries.astype(np.float32), examples.astype(np.float32))
  distances = np.min([spatial.distance.cdist(x, examples) for x in queries], axis=0)
  n_groups = copy_distances.n_groups(999)
  for group in range(n_groups):
    nearest = group + n_groups * distances[:, group::n_groups].argmin(axis=1)
    np.testing.assert_array_equal(found[:, group], nearest)


def test_nearness_is_the_same_at_any_density_and_noise():
  """Distances of points in 5 dimensions: ten times as large, or all with the same square added."""
  rng = np.random.default_rng(0)
  distances = rng.exponential(size=(4000, 64)) ** (1 / 5)
  nearness = copy_distances.nearness(distances, 1e-9)
  np.testing.assert_allclose(copy_distances.nearness(10 * distances, 1e-9), nearness)
  noisy = copy_distances.nearness(np.sqrt(distances**2 + 9), 1e-9)
  assert np.quantile(noisy, 0.99) < 1.2 * np.quantile(nearness, 0.99)


def test_alignment_names_what_was_done_to_an_image():
  image = pictures()[0][0]
  assert describe_pair(image, image) == (0, 'equal')
  assert describe_pair(image[:, ::-1], image)[1] == 'mirrored'
  assert describe_pair(shift(image[None], 2, -1)[0], image)[1] == 'shifted 2 down and 1 left'
  assert describe_pair(np.zeros_like(image), image)[1] == 'alike'
  lighter = (image * 0.6 + 90).astype(np.uint8)
  assert describe_pair(lighter, image)[1] == 'brighter, less contrast'


def test_overlaps_are_named_with_their_counts():
  train, held_out, fresh = pictures()
  mixed = np.concatenate([held_out[:100], train[:50]])
  sets = {'train': train, 'held_out': mixed, 'fake': np.concatenate([fresh, mixed[:3]])}
  first, second = name_overlaps(sets)
  assert first.startswith('50 of 150 held-out examples (33.33%) equal training examples: ')
  assert second.startswith('3 of 153 samples (1.96%) equal held-out examples: ')
  assert name_overlaps({'held_out': held_out, 'fake': fresh}) == []
  discrete = draw_small_images(np.random.default_rng(0), 900).reshape(3, 300, 3, 3, 1)
  lines = name_overlaps(dict(zip(('train', 'held_out', 'fake'), discrete, strict=True)))
  assert len(lines) == 3
  assert all('equal values are common' in line for line in lines)
