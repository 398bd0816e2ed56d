"""Tests which pictures explain a verdict."""

from types import SimpleNamespace

import numpy as np
import pytest

from gan_jax.diagnosis import pixel_evidence, verdict_pictures
from gan_jax.diagnosis.pixel_evidence import PixelEvidence
from gan_jax.diagnosis.separation import ImageNetwork

IMAGES = np.arange(7 * 36, dtype=np.uint8).reshape(7, 6, 6, 1)
PAIRS = [(3, 5, 0.0, 'equal'), (1, 2, 0.1, 'mirrored')]


def statistics(bound, chance=0.01, network=None, copied=None):
  best = SimpleNamespace(bound=SimpleNamespace(value=bound), chance=chance)
  copies = None if copied is None else SimpleNamespace(pairs=PAIRS)
  separation = SimpleNamespace(probes=[best], network=network)
  return SimpleNamespace(separation=separation, copies=copies, copied=copied)


@pytest.fixture
def asked(monkeypatch):
  calls = []

  def find(probe, real, fake, n, seed):
    calls.append((probe, n, seed))
    images = np.concatenate([real[:n], fake[:n]])
    return PixelEvidence(images, np.ones(images.shape[:3], np.float32))

  monkeypatch.setattr(pixel_evidence, 'find_pixel_evidence', find)
  return calls


def test_a_difference_beyond_chance_is_shown_in_as_many_images_as_there_are(asked):
  network = ImageNetwork('probe', IMAGES, IMAGES[:4])
  pictures = verdict_pictures.draw_verdict_pictures(statistics(0.3, network=network), seed=9)
  assert list(pictures) == ['difference']
  assert asked == [('probe', 4, 9)]


def test_a_difference_within_chance_is_not_shown(asked):
  network = ImageNetwork('probe', IMAGES, IMAGES)
  assert verdict_pictures.draw_verdict_pictures(statistics(0.01, network=network)) == {}
  assert not asked


@pytest.mark.parametrize(('rows', 'kinds'), [(IMAGES, ['copies']), (IMAGES[:, 0, :, 0], [])])
def test_closest_pairs_are_shown_of_images_only(rows, kinds, asked):
  copied = rows[:2], rows[2:4]
  pictures = verdict_pictures.draw_verdict_pictures(statistics(0.3, copied=copied))
  assert list(pictures) == kinds


def test_without_training_data_and_networks_there_is_no_picture():
  assert verdict_pictures.draw_verdict_pictures(statistics(0.3)) == {}
