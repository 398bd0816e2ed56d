import json
import math

import jax
import matplotlib.figure
import numpy as np
import pytest

from gan_jax.data.image_arrays import global_contrast_normalize
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis.discriminator_calibration import collect_discriminator_outputs
from gan_jax.evaluation import classifier_network, parzen_evaluation, sample_grids, sampling
from gan_jax.evaluation.tasks import image_scorer
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.evaluation.tasks.synthetic_task import SyntheticTask
from tests.helpers.noise_datasets import noise_dataset
from tests.helpers.tiny_gan import tiny_gan


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
  monkeypatch.setattr(sampling, 'N_SAMPLES', 60)
  monkeypatch.setattr(classifier_network, '_MAX_STEPS', 1)


@pytest.mark.parametrize('n_classes', [0, 2])
@pytest.mark.parametrize(('n_train', 'n_held_out'), [(8, 1), (8, 2), (80, 10)])
def test_small_sets_have_the_scores_that_their_sizes_allow(n_train, n_held_out, n_classes):
  task = ImageTask(noise_dataset(n_train, n_held_out, n_classes=n_classes))
  gan, _, state = tiny_gan()
  evaluation = task.evaluate_checkpoint(gan, state, 0)
  assert math.isfinite(evaluation.score)
  json.dumps(evaluation.metrics, allow_nan=False)
  assert ('nan' in evaluation.summary) == (n_held_out == 1)
  assert bool(evaluation.metrics) == (n_held_out > 1)
  report = task.full_report(gan, state, 'test', 0)
  json.dumps(report.values, allow_nan=False)
  assert set(task.selection_metric[:1]) <= set(report.scores['ema'])
  axes = matplotlib.figure.Figure().subplots()
  task.plot_scores(axes, [{'step': 1, **evaluation.metrics}])
  axes.figure.draw_without_rendering()


def test_a_generator_whose_score_is_nan_is_the_worst(monkeypatch):
  task = ImageTask(noise_dataset(20, 4))
  nan = parzen_evaluation.ParzenScore(math.nan, 1.0, 0.1)
  monkeypatch.setattr(parzen_evaluation, 'parzen_scores', lambda *args: {'raw': nan, 'ema': nan})
  gan, _, state = tiny_gan()
  evaluation = task.evaluate_checkpoint(gan, state, 0)
  assert evaluation.score < -1e38
  assert evaluation.metrics == {}


def test_large_images_without_labels_are_ranked_by_their_averaged_pixels(monkeypatch):
  """No Parzen score is computed, and no sample is kept in float32."""
  shape = (40, 40, 3)
  task = ImageTask(noise_dataset(70, 30, shape))
  monkeypatch.setattr(parzen_evaluation, 'parzen_scores', None)
  monkeypatch.setattr(sampling, 'to_unit_rows', None)
  gan, _, state = tiny_gan(shape=shape)
  evaluation = task.evaluate_checkpoint(gan, state, 0)
  assert evaluation.score == -evaluation.metrics['validation_pixel_frechet_ema']
  assert 'pixels averaged to 8 x 8' in evaluation.summary
  real = task.scorer.frechet_distances({}, 'validation')['real']
  assert 0 < real < evaluation.metrics['validation_pixel_frechet_ema']
  report = task.full_report(gan, state, 'test', 0)
  name, higher_is_better = task.selection_metric
  assert not higher_is_better
  assert report.scores['raw'][name] == report.values['pixel_frechet']['raw']
  assert 'averaged to 8 x 8' in report.text


def test_without_contrast_copies_of_training_images_have_their_scores(monkeypatch):
  """Samples and real images are compared in the space without mean and contrast."""
  task = ImageTask(noise_dataset(60, 30, (6, 6, 3), n_classes=2), contrast=9.0)
  gan, _, state = tiny_gan(shape=(6, 6, 3))
  gan = gan._replace(contrast=9.0)
  perfect = global_contrast_normalize(task.dataset.train, 9.0)
  monkeypatch.setattr(
    sampling, 'generate_batches', lambda *args: iter([perfect[:40], perfect[40:]])
  )
  drawn = task.scorer.draw_samples(gan, state, 0)
  np.testing.assert_array_equal(drawn['ema'].images, task.scorer.real_images.train)
  distances = task.scorer.frechet_distances(drawn, 'validation')
  assert distances['ema'] == distances['real']
  parzen = parzen_evaluation.parzen_scores(drawn, task.scorer.real_images, 'validation')['ema'].mean
  assert parzen == pytest.approx(task.scorer.training_images_parzen(), rel=1e-4)
  np.testing.assert_array_equal(
    task.scorer.real_images.test, sampling.renormalize_images(task.dataset.test, 9.0)
  )
  assert task.scorer.real_images is task.scorer.real_images
  assert 'then painted' in task.full_report(gan, state, 'test', 0).values['protocol']['contrast']


def test_images_with_contrast_are_scored_unchanged():
  task = ImageTask(noise_dataset(60, 30))
  assert task.scorer.real_images is task.dataset


def test_a_large_set_is_evaluated_on_a_sample_and_trained_on_entirely(monkeypatch):
  monkeypatch.setattr(image_scorer, '_MAX_IMAGES', 70)
  task = ImageTask(noise_dataset(100, 30, n_classes=2))
  assert (len(task.scorer.real_images.train), len(task.scorer.real_images.validation)) == (70, 30)
  sample, data = task.evaluation_data(), task.training_data(held_out=True)
  assert (len(sample.train.images), len(data.train.images), task.n_train) == (70, 100, 100)
  assert data.train.labels.dtype == sample.held_out.labels.dtype == np.int32
  np.testing.assert_allclose(task.mean_image, task.dataset.train.mean(axis=0) / 255)
  gan, _, state = tiny_gan()
  protocol = task.full_report(gan, state, 'test', 0).values['protocol']
  assert protocol['real_images'] == 'a fixed sample of 70 training images'


def test_checkpoints_and_reports_count_modes_in_equally_many_samples(monkeypatch):
  monkeypatch.setattr(image_scorer, '_N_STACKED_SAMPLES', 300)
  monkeypatch.setattr(image_scorer, '_N_STACKED_TRAIN', 100)
  parts = noise_dataset(50, 40, n_classes=2)
  held_out = {
    split: np.concatenate([getattr(parts, split)] * 2, axis=-1) for split in ('validation', 'test')
  }
  labels = {f'{split}_labels': 3 * (np.arange(40) % 2) for split in ('validation', 'test')}
  task = ImageTask(parts._replace(stack=2, **held_out, **labels))
  gan, _, state = tiny_gan(shape=(6, 6, 2))
  counts = []
  monkeypatch.setattr(
    image_scorer.classifier_lib,
    'stacked_modes',
    lambda classifier, images: counts.append(len(images)) or np.arange(len(images)) % 3,
  )
  evaluation = task.evaluate_checkpoint(gan, state, 0)
  report = task.full_report(gan, state, 'test', 0)
  assert counts == [300] * 4
  assert evaluation.metrics['modes_kl_ema'] == report.values['modes']['ema']['modes_kl']
  assert report.values['modes_kl_floor'] == 3 / 600
  assert 'uniform sampler: 0.005' in evaluation.summary
  assert 'KL 0.0050' in report.text


def test_uniform_kl_is_the_mean_kl_of_a_uniform_sampler():
  task = ImageTask(noise_dataset(60, 30, n_classes=20))
  n = image_scorer._N_STACKED_SAMPLES
  kls = []
  for seed in range(20):
    drawn = np.random.default_rng(seed).integers(0, 20, n)
    kls.append(
      float(
        image_scorer.mode_coverage.modes_and_uniform_kl(jax.numpy.bincount(drawn, length=20))[1]
      )
    )
  assert np.mean(kls) == pytest.approx(task.scorer.uniform_kl, rel=0.25)


def test_the_nearest_training_image_is_to_the_right_of_each_sample():
  task = ImageTask(noise_dataset(50, 10))
  gan, _, state = tiny_gan()
  picture = sample_grids.nearest_neighbour_grid(
    gan, sampling.generator_weights(state, 'ema'), 0, task.scorer.real_images
  )
  left, right = picture[2:8, 2:8].astype(float), picture[2:8, 10:16]
  nearest = np.sum((task.scorer.real_images.train - left) ** 2, axis=(1, 2, 3)).argmin()
  np.testing.assert_array_equal(right, task.scorer.real_images.train[nearest])


@pytest.mark.parametrize('n_classes', [0, 2])
def test_a_comparison_has_class_fractions_where_there_are_labels(n_classes):
  task = ImageTask(noise_dataset(80, 20, n_classes=n_classes))
  gan, _, state = tiny_gan()
  classes = task.comparison_sets(gan, state, 'ema', 0).class_fractions
  if not n_classes:
    assert classes is None
    return
  for fractions in (classes['real'], classes['fake']):
    assert len(fractions) == n_classes
    assert sum(fractions) == pytest.approx(1)


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_a_comparison_has_every_training_image_and_the_held_out_images_of_its_split(
  split, monkeypatch
):
  monkeypatch.setattr(image_scorer, '_MAX_IMAGES', 60)
  monkeypatch.setattr(image_scorer, '_MAX_BYTES', 0)
  data = noise_dataset(80, 20)
  gan, _, state = tiny_gan()
  sets = ImageTask(data).comparison_sets(gan, state, 'ema', 0, split)
  np.testing.assert_array_equal(sets.train, data.train)
  np.testing.assert_array_equal(sets.held_out, getattr(data, split))


def test_a_comparison_of_images_without_contrast_has_every_training_image_without_it(monkeypatch):
  monkeypatch.setattr(image_scorer, '_MAX_IMAGES', 60)
  monkeypatch.setattr(image_scorer, '_MAX_BYTES', 0)
  data = noise_dataset(80, 20)
  gan, _, state = tiny_gan()
  sets = ImageTask(data, contrast=1.0).comparison_sets(gan, state, 'ema', 0)
  np.testing.assert_array_equal(sets.train, sampling.renormalize_images(data.train, 1.0))


def test_no_two_sets_of_synthetic_comparisons_share_a_draw():
  task, (gan, _, state) = SyntheticTask(SYNTHETIC['ring']), tiny_gan(shape=(2,))
  drawn = []
  for split, seed in (('validation', 0), ('validation', 1), ('test', 0)):
    sets = task.comparison_sets(gan, state, 'raw', seed, split)
    drawn += [sets.train, sets.held_out, sets.fake]
  rows = {row.tobytes() for x in drawn for row in x}
  assert len(rows) == sum(map(len, drawn))


def test_evaluation_data_are_of_the_split_that_is_asked_for():
  task = ImageTask(noise_dataset(60, 30, n_classes=2))
  for split, images in (('validation', task.dataset.validation), ('test', task.dataset.test)):
    np.testing.assert_array_equal(task.evaluation_data(split).held_out.images, images)


def test_outputs_of_a_discriminator_hold_each_held_out_example_once():
  task = ImageTask(noise_dataset(60, 30))
  gan, _, state = tiny_gan()
  outputs = collect_discriminator_outputs(gan, state, task, 'raw', 0, 'test')
  assert [len(x) for x in outputs[:3]] == [60, 30, 30]
  assert len(np.unique(outputs.held_out)) == 30
