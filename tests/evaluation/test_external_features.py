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
  """Four averages of an image as features, and five classes."""

  name, title, preparation, hash = 'averages', 'averages', 'none', 64 * 'a'

  def __init__(self, classes=True):
    self.classes, self.seen = classes, []

  def features(self, images, progress=None):
    self.seen.append(len(images))
    return average_pool_8x8(images)[:, :4]

  def probabilities(self, features):
    return np.asarray(jax.nn.softmax(features @ np.ones((4, 5)), axis=1)) if self.classes else None


def judge(network=None, task=None, **options):
  gan, _, state = tiny_gan()
  task = task or ImageTask(noise_dataset(70, 60))
  return external_features.external_report(
    task, network or Averages(), gan, state, 'test', 0, **options
  )


def test_samples_stand_beside_memory_and_a_perfect_sampler():
  task = ImageTask(noise_dataset(70, 60))
  found = judge(task=task, n=60)
  assert list(found.values['scores']) == ['raw', 'ema', 'train', 'fresh']
  assert found.values['n'] == {'raw': 60, 'ema': 60, 'train': 60, 'fresh': 60}
  look, key = Averages(), jax.random.key(0)
  test, train = look.features(task.dataset.test), look.features(task.dataset.train[:60])
  expected = network_scores(test, train, look.probabilities(train), key)
  assert found.values['scores']['train'] == expected._asdict()
  assert found.values['scores']['train']['inception_score'] == inception_score(
    look.probabilities(train)
  )
  gan, _, state = tiny_gan()
  painted = sampling.draw_samples(gan, state, 0, 60, 0)['ema'].images
  made = look.features(painted)
  assert found.scores['ema'] == network_scores(test, made, look.probabilities(made), key)._asdict()
  for title in ('averaged weights (60)', 'training images (60)', 'other held-out images (60)'):
    assert title in found.text
  json.dumps(found.values, allow_nan=False)


def test_published_figures_compare_with_training_images():
  task = ImageTask(noise_dataset(70, 60))
  found = judge(task=task, n=60, against='train')
  assert list(found.values['scores']) == ['raw', 'ema', 'fresh']
  look = Averages()
  held_out = look.features(task.dataset.test)
  expected = network_scores(
    look.features(task.dataset.train[:60]),
    held_out,
    look.probabilities(held_out),
    jax.random.key(0),
  )
  assert found.values['scores']['fresh'] == expected._asdict()
  assert found.values['protocol']['split'] == 'train'
  assert 'against 60 training images' in found.text


def test_the_protocol_says_what_a_figure_depends_on():
  protocol = judge(n=60).values['protocol']
  assert protocol['features'] == 'averages ' + 16 * 'a'
  expected = {'split': 'test', 'n_real': 60, 'n_samples': 60, 'seed': 0, 'fingerprint': 'f00d'}
  assert expected.items() <= protocol.items()


def test_a_score_for_which_there_are_too_few_images_is_a_dash():
  few = judge(n=30)
  assert few.values['scores']['ema']['frechet_infinity'] is None
  assert 'raise --num_samples' in few.text
  enough = judge(n=60)
  assert enough.values['scores']['ema']['frechet_infinity'] is not None
  assert 'raise --num_samples' not in enough.text


def test_a_network_without_classes_gives_no_inception_score():
  found = judge(Averages(classes=False), n=60)
  assert found.values['scores']['ema']['inception_score'] is None
  assert found.values['scores']['ema']['frechet'] > 0


def test_real_images_are_looked_at_once(tmp_path):
  network = Averages()
  judge(network, n=60, cache=tmp_path)
  assert network.seen == [60] * 5
  judge(network, n=60, cache=tmp_path)
  assert network.seen == [60] * 7  # only the samples again


def test_more_samples_than_memory_holds_are_refused(monkeypatch):
  monkeypatch.setattr(device_memory, 'available_host_bytes', lambda: 1000)
  with pytest.raises(UserError, match='--num_samples=5000'):
    judge(n=5000)
