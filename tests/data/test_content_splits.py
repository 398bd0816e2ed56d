"""Tests the laws of splits by content, and that runs of an earlier version find their splits."""

import hashlib

import numpy as np
import pytest
from etils import epath

from gan_jax import data
from gan_jax.data import array_cache, dataset as dataset_lib, earlier_folder_cache
from gan_jax.data.reader.content_splits import split_by_content
from gan_jax.utils.errors import UserError
from tests.helpers.reading import PIXELS, write_tree
from tests.helpers.tiny_data import RecordedProgress

SPLITS = ('train', 'validation', 'test')
DEFAULT = (0.8, 0.1, 0.1)


def hashes(numbers):
  return [hashlib.sha256(str(i).encode()).digest() for i in numbers]


def split(numbers, splits=None, fractions=DEFAULT):
  return split_by_content('--dataset=x', hashes(numbers), splits or [''] * len(numbers), fractions)


@pytest.mark.parametrize('seed', range(30))
def test_splits_are_complete_and_duplicates_stand_on_one_side(seed):
  rng = np.random.default_rng(seed)
  numbers = rng.integers(0, rng.integers(20, 2000), rng.integers(100, 1000)).tolist()
  fractions = tuple(rng.dirichlet([4, 2, 2]))
  parts, _ = split(numbers, fractions=fractions)
  assert sorted(np.concatenate([parts[name] for name in SPLITS])) == list(range(len(numbers)))
  contents = [{numbers[i] for i in parts[name]} for name in SPLITS]
  assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]
  largest = max(map(numbers.count, set(numbers)))
  for name, fraction in zip(SPLITS[1:], fractions[1:], strict=True):
    assert 0 <= max(2, int(fraction * len(numbers))) - len(parts[name]) < largest


def test_the_order_of_images_has_no_effect():
  numbers = list(range(100))
  parts, _ = split(numbers)
  again, _ = split(numbers[::-1])
  for name in SPLITS:
    assert [numbers[i] for i in parts[name]] == [numbers[::-1][i] for i in again[name]]


def test_a_set_that_grows_keeps_most_images_in_their_split():
  before = {i: name for name, rows in split(range(1000))[0].items() for i in rows}
  after = {i: name for name, rows in split(range(1100))[0].items() for i in rows}
  assert sum(after[i] != before[i] for i in range(1000)) < 50


def test_a_fraction_of_zero_holds_training_images_and_says_so():
  parts, notes = split(range(50), fractions=(1, 0, 0))
  assert len(parts['train']) == 50
  assert {*parts['validation']} == {*parts['test']} <= {*range(50)}
  assert notes == ['validation holds training images', 'test holds training images']


def test_splits_of_the_data_stay_and_the_missing_one_comes_from_training_images():
  given = ['train'] * 60 + ['test'] * 30
  parts, notes = split(range(90), given)
  assert sorted(parts['test']) == list(range(60, 90))
  assert sorted([*parts['train'], *parts['validation']]) == list(range(60))
  assert (len(parts['validation']), notes) == (6, [])


def test_training_images_that_stand_in_a_held_out_split_are_left_out_and_told():
  numbers = [*range(40), *range(5), *range(40, 55)]
  parts, notes = split(numbers, ['train'] * 40 + ['test'] * 20)
  assert not {numbers[i] for i in parts['test']} & {numbers[i] for i in parts['train']}
  assert len(parts['test']) == 20
  assert notes == ['left out of train: 5 that also stand in a held-out split']


@pytest.mark.parametrize('numbers', [range(9), [1] * 100, [*range(9)] * 10])
def test_too_few_distinct_images_are_refused(numbers):
  with pytest.raises(UserError, match=r'are too few to split; give at least 10'):
    split([*numbers])


# Runs of an earlier version


@pytest.fixture
def earlier(tmp_path):
  """Returns a folder, and the arrays that version 2 cached of it, split by path."""
  folder = write_tree(tmp_path / 'images', {f'{i}.png': i for i in range(12)}).resolve()
  arrays = dict(zip(SPLITS, (PIXELS[:8], PIXELS[8:10], PIXELS[10:]), strict=True))
  made = dataset_lib.from_arrays('images', arrays)
  digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
  cache = tmp_path / 'data' / 'folders' / f'images-{digest}'
  cache.mkdir(parents=True)
  contents = earlier_folder_cache._hash_file_list(folder)
  array_cache.write_cache(
    cache / 'decoded.npz', array_cache.CachedDataset(made, str(folder), contents)
  )
  return folder, made.fingerprint


def test_a_run_of_an_earlier_version_finds_its_splits_by_fingerprint(earlier, tmp_path):
  folder, fingerprint = earlier
  progress = RecordedProgress()
  load = lambda wanted: data.load_dataset(
    f'folder:{folder}', epath.Path(tmp_path / 'data'), progress, fingerprint=wanted
  )
  new = load('')
  assert new.fingerprint != fingerprint
  assert load(new.fingerprint).fingerprint == new.fingerprint
  progress.lines.clear()
  assert load(fingerprint).fingerprint == fingerprint
  assert 'the splits by file name of an earlier version' in progress.lines[0]
  (folder / '12.png').write_bytes((folder / '1.png').read_bytes())
  assert load(fingerprint).fingerprint not in (fingerprint, '')  # other data: the run is refused
