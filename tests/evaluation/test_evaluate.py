import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.data import Dataset
from gan_jax.data.image_arrays import global_contrast_normalize
from gan_jax.evaluation import parzen_evaluation, sampling
from gan_jax.gan import gan as gan_lib
from gan_jax.utils.files import json_safe
from tests.helpers.tiny_gan import IMAGE_SHAPE, replace_params, tiny_gan


@pytest.mark.parametrize(
  ('name', 'published'), [('real', 242.8), ('mean', -59.1), ('noise', -628.7)]
)
def test_known_samplers_score_what_the_2014_procedure_gives_them(mnist, name, published):
  """Figures measured by an independent NumPy implementation on MNIST's test set."""
  score = parzen_evaluation.reference_scores(mnist, 'test', seed=0, names=[name])[name]
  assert score.mean == pytest.approx(published, abs=2.5)


def test_references_are_computed_once(mnist, tmp_path):
  first = parzen_evaluation.reference_scores(mnist, 'validation', 0, ['mean'], cache=tmp_path)
  (file,) = tmp_path.glob('references/*.json')
  file.write_text(file.read_text().replace(str(first['mean'].sigma), '0.5'))
  assert (
    parzen_evaluation.reference_scores(mnist, 'validation', 0, ['mean'], cache=tmp_path)[
      'mean'
    ].sigma
    == 0.5
  )


def test_validation_scores_leave_out_the_images_that_chose_sigma(mnist):
  selection, queries = parzen_evaluation.selection_and_query_rows(mnist, 'validation')
  np.testing.assert_array_equal(selection, sampling.to_unit_rows(mnist.validation[:1000]))
  np.testing.assert_array_equal(queries, sampling.to_unit_rows(mnist.validation[1000:]))
  assert parzen_evaluation.selection_and_query_rows(mnist, 'test')[1].shape == (10_000, 784)


def test_marginals_keep_each_pixel_and_forget_the_rest(mnist):
  train = sampling.to_unit_rows(mnist.train[:5000])
  drawn = parzen_evaluation.REFERENCES['marginals'](jax.random.key(0), train)
  np.testing.assert_allclose(drawn.mean(axis=0), train.mean(axis=0), atol=0.03)
  np.testing.assert_allclose(drawn.std(axis=0), train.std(axis=0), atol=0.03)
  i, j = 14 * 28 + 14, 15 * 28 + 14  # neighbours in the middle of the image
  correlation = lambda x: jnp.corrcoef(x[:, i], x[:, j])[0, 1]
  assert correlation(train) > 0.5
  assert abs(correlation(drawn)) < 0.05


def made(**options):
  """A game whose last weights are not its average."""
  gan, _, state = tiny_gan(**options)
  params = jax.tree.map(lambda x: 3 * x, state.g.params)
  return gan, replace_params(state, 'g', params)


def test_samples_are_the_same_as_rows_and_as_pictures():
  gan, state = made()
  drawn = sampling.draw_samples(gan, state, seed=0, n=30)
  for samples in drawn.values():
    assert samples.images.shape == (30, *IMAGE_SHAPE)
    np.testing.assert_allclose(
      samples.unit_rows, sampling.to_unit_rows(samples.images), atol=0.5 / 255 + 1e-6
    )
  assert np.any(drawn['raw'].images != drawn['ema'].images)
  again = sampling.draw_samples(gan, state, seed=0, n=10)
  np.testing.assert_array_equal(again['ema'].images, drawn['ema'].images[:10])


def test_samples_without_their_contrast_are_judged_as_they_are_painted():
  gan, state = made()
  drawn = sampling.draw_samples(gan._replace(contrast=55.0), state, seed=0, n=10)['raw']
  np.testing.assert_array_equal(drawn.unit_rows, sampling.to_unit_rows(drawn.images))
  darker = sampling.draw_samples(gan, state, seed=0, n=10)['raw'].images
  assert drawn.images.std() < darker.std()


def test_real_images_without_their_contrast_are_painted_as_samples_are():
  """A generator that has learned a training image perfectly paints what that image became."""
  pixels = np.random.default_rng(0).integers(30, 90, (1010, 4, 4, 3), np.uint8)
  dataset = Dataset('dim', pixels, pixels[:20], pixels[20:40], None, None, None, 'f00d')
  painted = sampling.renormalize_dataset(dataset, 7.0)
  learned = global_contrast_normalize(jnp.asarray(pixels), 7.0)
  expected = np.asarray(sampling.to_uint8_images(learned, 7.0))
  np.testing.assert_array_equal(painted.train, expected)
  np.testing.assert_array_equal(painted.validation, expected[:20])
  np.testing.assert_array_equal(painted.test, expected[20:40])
  assert painted.fingerprint != dataset.fingerprint  # or its references would be taken for others


def test_only_as_many_samples_as_windows_are_kept_in_float32():
  gan, state = made()
  whole = sampling.draw_samples(gan, state, seed=0, n=1010)['ema']  # more than one call draws
  for n_windows in (0, 30, 1005, 2000):
    drawn = sampling.draw_samples(gan, state, 0, 1010, n_windows)['ema']
    np.testing.assert_array_equal(drawn.images, whole.images)
    assert len(drawn.unit_rows) == min(n_windows, 1010)
    if n_windows:
      np.testing.assert_array_equal(drawn.unit_rows, whole.unit_rows[:n_windows])


def test_scores_ask_for_classes_as_often_as_the_training_set_has_them():
  labels = np.repeat([0, 1, 2], [700, 0, 300])
  drawn = np.asarray(sampling.sample_labels_like(labels, 5000))
  np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 5000, [0.7, 0, 0.3], atol=0.03)
  np.testing.assert_array_equal(drawn, sampling.sample_labels_like(labels, 5000))
  pairs = np.asarray(sampling.sample_labels_like(labels, 5000, stack=2, n_labels=3))
  shares = np.bincount(pairs, minlength=9) / 5000
  np.testing.assert_allclose(shares, np.outer([0.7, 0, 0.3], [0.7, 0, 0.3]).ravel(), atol=0.03)


def test_samples_are_made_of_the_labels_that_are_given():
  gan, state = made(n_classes=3)
  twos = jnp.full(20, 2)
  drawn = sampling.draw_samples(gan, state, 0, 20, labels=twos)['raw']
  latents = sampling.fixed_latents(gan.latent, 0, 20)
  expected = sampling.generate_images(gan, state.g.weights, latents, twos)
  np.testing.assert_array_equal(drawn.images, expected)
  assert np.any(drawn.images != sampling.draw_samples(gan, state, 0, 20)['raw'].images)


def test_a_conditional_generator_is_asked_for_every_class_in_turn():
  gan, state = made(n_classes=3)
  latents = sampling.fixed_latents(gan.latent, 0, 1010)  # more than one call draws
  drawn = sampling.generate_samples(gan, state.g.weights, latents)
  labels = jnp.arange(1010) % 3
  whole = gan_lib.sample(gan, state.g.weights, latents, labels)
  np.testing.assert_allclose(drawn, whole, atol=1e-5)
  ones = sampling.generate_images(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  expected = gan_lib.sample(gan, state.g.weights, latents[:7], jnp.ones(7, jnp.int32))
  np.testing.assert_allclose(ones, (expected + 1) * 127.5, atol=0.51)


def test_small_sets_choose_sigma_on_half_of_their_validation_images():
  pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
  few = Dataset('few', pixels, pixels[:31], pixels[40:], None, None, None, 'f00d')
  assert parzen_evaluation.n_selection_images(few) == 15
  selection, queries = parzen_evaluation.selection_and_query_rows(few, 'validation')
  assert (selection.shape, queries.shape) == ((15, 1), (16, 1))
  assert parzen_evaluation.parzen_protocol(few, 'test', 0)['n_queries'] == 20
  assert '15 validation' in parzen_evaluation.parzen_protocol(few, 'test', 0)['sigma']


def test_a_set_with_one_validation_image_has_no_parzen_figure_and_valid_json(tmp_path):
  pixels = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
  one = Dataset('one', pixels, pixels[:1], pixels[40:], None, None, None, 'f00d')
  scores = parzen_evaluation.reference_scores(one, 'test', 0, ['mean'], cache=tmp_path)
  assert math.isnan(scores['mean'].mean)
  assert not list(tmp_path.rglob('*.json'))
  values = json_safe({'references': {'mean': scores['mean']._asdict()}, 'list': [1, 2.5, 'a']})
  json.dumps(values, allow_nan=False)
  assert values['references']['mean']['mean'] is None
  assert values['list'] == [1, 2.5, 'a']
  protocol = parzen_evaluation.parzen_protocol(one, 'test', 0)
  assert 'nan' in score_tables.parzen_table({'raw': scores['mean']}, scores, protocol)[1]
