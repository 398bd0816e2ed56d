import json

import jax
import numpy as np
import pytest

from gan_jax.distributed import device_memory
from gan_jax.evaluation import sampling
from gan_jax.evaluation.tasks import external_features
from gan_jax.evaluation.tasks.image_task import ImageTask
from gan_jax.metrics.feature_scores import average_pool_8x8, network_scores
from gan_jax.metrics.inception_score import inception_score
from gan_jax.utils.errors import UserError
from tests.helpers.noise_datasets import noise_dataset
from tests.helpers.tiny_gan import tiny_gan


class Averages:
  """Computes four averages of an image as features, and probabilities of five classes."""

  name, title, preparation, hash = 'averages', 'averages', 'none', 64 * 'a'

  def __init__(self, classes=True):
    self.classes, self.batch_sizes = classes, []

  def features(self, images, progress=None):
    self.batch_sizes.append(len(images))
    return average_pool_8x8(images)[:, :4]

  def probabilities(self, features):
    return np.asarray(jax.nn.softmax(features @ np.ones((4, 5)), axis=1)) if self.classes else None


def report_of(network=None, task=None, **options):
  gan, _, state = tiny_gan()
  task = task or ImageTask(noise_dataset(70, 60))
  return external_features.external_report(
    task, network or Averages(), gan, state, 'test', 0, **options
  )


def test_samples_and_real_images_are_scored_against_held_out_images():
  task = ImageTask(noise_dataset(70, 60))
  report = report_of(task=task, n=60)
  assert list(report.values['scores']) == ['raw', 'ema', 'train', 'fresh']
  assert report.values['n'] == {'raw': 60, 'ema': 60, 'train': 60, 'fresh': 60}
  network, key = Averages(), jax.random.key(0)
  test, train = network.features(task.dataset.test), network.features(task.dataset.train[:60])
  expected = network_scores(test, train, network.probabilities(train), key)
  assert report.values['scores']['train'] == expected._asdict()
  assert report.values['scores']['train']['inception_score'] == inception_score(
    network.probabilities(train)
  )
  gan, _, state = tiny_gan()
  images = sampling.draw_samples(gan, state, 0, 60, 0)['ema'].images
  fake = network.features(images)
  assert (
    report.scores['ema'] == network_scores(test, fake, network.probabilities(fake), key)._asdict()
  )
  for title in ('averaged weights (60)', 'training images (60)', 'other held-out images (60)'):
    assert title in report.text
  json.dumps(report.values, allow_nan=False)


def test_samples_can_be_scored_against_training_images():
  task = ImageTask(noise_dataset(70, 60))
  report = report_of(task=task, n=60, against='train')
  assert list(report.values['scores']) == ['raw', 'ema', 'fresh']
  network = Averages()
  held_out = network.features(task.dataset.test)
  expected = network_scores(
    network.features(task.dataset.train[:60]),
    held_out,
    network.probabilities(held_out),
    jax.random.key(0),
  )
  assert report.values['scores']['fresh'] == expected._asdict()
  assert report.values['protocol']['split'] == 'train'
  assert 'against 60 training images' in report.text


def test_the_protocol_holds_all_settings_of_a_score():
  protocol = report_of(n=60).values['protocol']
  assert protocol['features'] == 'averages ' + 16 * 'a'
  expected = {'split': 'test', 'n_real': 60, 'n_samples': 60, 'seed': 0, 'fingerprint': 'f00d'}
  assert expected.items() <= protocol.items()


def test_a_score_of_too_few_images_is_missing():
  few = report_of(n=30)
  assert few.values['scores']['ema']['frechet_infinity'] is None
  assert 'raise --num_samples' in few.text
  enough = report_of(n=60)
  assert enough.values['scores']['ema']['frechet_infinity'] is not None
  assert 'raise --num_samples' not in enough.text


def test_a_network_without_classes_gives_no_inception_score():
  report = report_of(Averages(classes=False), n=60)
  assert report.values['scores']['ema']['inception_score'] is None
  assert report.values['scores']['ema']['frechet'] > 0


def test_features_of_real_images_are_computed_once(tmp_path):
  network = Averages()
  report_of(network, n=60, cache=tmp_path)
  assert network.batch_sizes == [60] * 5
  report_of(network, n=60, cache=tmp_path)
  assert network.batch_sizes == [60] * 7  # only the samples again


def test_more_samples_than_memory_holds_are_refused(monkeypatch):
  monkeypatch.setattr(device_memory, 'available_host_bytes', lambda: 1000)
  with pytest.raises(UserError, match='--num_samples=5000'):
    report_of(n=5000)
