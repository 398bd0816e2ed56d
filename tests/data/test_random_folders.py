"""Tests that random folders give training and the referee the same images, with counts that add up."""

import collections

import numpy as np
import PIL.Image
import pytest
from etils import epath

from gan_jax import data
from gan_jax.data import image_files, resizing, sample_files
from tests.helpers import random_folders
from tests.helpers.tiny_data import RecordedProgress

SIZE = 6  # pixels a side, for folders of several sizes
FAST = 24


def expected_images(made, image_size):
  images = [PIL.Image.fromarray(pixels) for pixels in made.images]
  if image_size:
    images = [resizing.crop_and_resize(image, image_size) for image in images]
  grey = all(image.mode == 'L' for image in images)
  return [np.asarray(image if grey else image.convert('RGB')).tobytes() for image in images]


@pytest.mark.parametrize(
  'seed', [*range(FAST), *(pytest.param(i, marks=pytest.mark.slow) for i in range(FAST, 200))]
)
def test_a_random_folder_gives_training_and_the_referee_the_same_images(tmp_path, seed):
  made = random_folders.make_folder(tmp_path / 'images', seed)
  size = 0 if len({image.shape[:2] for image in made.images}) == 1 else SIZE
  name, progress = f'folder:{tmp_path}/images', RecordedProgress()
  dataset = data.load_dataset(name, tmp_path / 'data', progress, image_size=size)
  expected = collections.Counter(expected_images(made, size))
  splits = [dataset.train, dataset.validation, dataset.test]
  trained = [collections.Counter(image.tobytes() for image in split) for split in splits]
  assert sum(trained, collections.Counter()) == expected
  assert not trained[0].keys() & (trained[1].keys() | trained[2].keys())
  assert not trained[1].keys() & trained[2].keys()
  lines = []
  sets = sample_files.load_example_sets({'real': name}, lines.append, image_size=size)
  assert collections.Counter(image.tobytes() for image in sets['real']) == expected
  summary = image_files.load_summary(name, epath.Path(tmp_path / 'data'), size)
  assert dict(summary.n_left_out) == dict(made.left_out)
  assert (summary.n_images, summary.n_files) == (len(made.images), made.n_files)
  assert sum(summary.formats.values()) == sum(summary.modes.values()) == summary.n_images
  assert f'{summary.n_images:,} of {summary.n_files:,} files are images' in lines[0]
  assert all('\n' not in line for line in [*lines, *progress.lines])
