import hashlib
import io
import json
import tarfile

import numpy as np
import PIL.Image
import pytest

from gan_jax import data
from gan_jax.data import emoji, package_mirrors
from gan_jax.utils.errors import UserError


def picture(rng):
  """Returns a PNG of 64x64 pixels: a mosaic of random colours on a transparent background."""
  colors = PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((48, 48))
  image = PIL.Image.new('RGBA', (64, 64), (0, 0, 0, 0))
  image.paste(colors, (8, 8))
  file = io.BytesIO()
  image.save(file, 'PNG')
  return file.getvalue()


def package(n=60):
  """Returns a package of n emoji of random colours, each with one skin tone, in two categories and one more."""
  rng = np.random.default_rng(0)
  entries, files = [], {}
  for i in range(n):
    code = f'{0x1F600 + i:X}'
    tone = {'image': f'{code}-1f3fb.png', 'unified': f'{code}-1F3FB'}
    category = ('Flags', 'People & Body')[i % 2]
    entries.append(
      {
        'image': f'{code}.png',
        'unified': code,
        'category': category,
        'skin_variations': {'1F3FB': tone},
      }
    )
    for file in (f'{code}.png', tone['image']):
      files[file] = picture(rng)
  entries.append({'image': 'swatch.png', 'unified': '1F3FB', 'category': 'Component'})
  files['swatch.png'] = picture(rng)
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode='w:gz') as tar:
    members = {f'package/img/twitter/64/{name}': x for name, x in files.items()}
    for name, content in (members | {'package/emoji.json': json.dumps(entries).encode()}).items():
      about = tarfile.TarInfo(name)
      about.size = len(content)
      tar.addfile(about, io.BytesIO(content))
  return archive.getvalue()


@pytest.fixture
def archive(tmp_path, monkeypatch):
  content = package()
  about = emoji.ARCHIVE._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
  monkeypatch.setattr(emoji, 'ARCHIVE', about)
  return content


def test_emoji_are_prepared_from_the_package_in_the_data_folder(tmp_path, archive):
  folder = tmp_path / 'originals' / 'emoji'
  folder.mkdir(parents=True)
  (folder / emoji.ARCHIVE.filename).write_bytes(archive)
  dataset = data.load_dataset('emoji', tmp_path, image_size=16)
  assert dataset.class_names == ('flags', 'people_and_body')
  assert [len(x) for x in (dataset.train, dataset.validation, dataset.test)] == [96, 12, 12]
  assert np.bincount(dataset.test_labels).tolist() == [6, 6]
  np.testing.assert_array_equal(dataset.train[:, 0, 0], np.full((96, 3), 255))
  assert data.load_dataset('emoji', tmp_path, image_size=16).fingerprint == dataset.fingerprint
  assert {x.name for x in tmp_path.iterdir()} == {'originals', 'emoji', '.preparing-emoji.lock'}


def test_the_package_of_npm_is_kept_for_other_sizes(tmp_path, archive, monkeypatch):
  written = []

  def pack(folder):
    (folder / emoji.ARCHIVE.filename).write_bytes(archive)
    written.append(folder)

  monkeypatch.setitem(package_mirrors.PACKAGE_MIRRORS, 'emoji', pack)
  for size in (16, 32, 16):
    assert data.load_dataset('emoji', tmp_path, image_size=size).shape == (size, size, 3)
  assert len(written) == 1


def test_a_missing_package_is_one_line_with_its_place(tmp_path, monkeypatch):
  def fail(folder):
    raise package_mirrors.PackageMirrorError('npm is missing')

  monkeypatch.setitem(package_mirrors.PACKAGE_MIRRORS, 'emoji', fail)
  with pytest.raises(UserError, match=r'npm is missing.*put emoji-datasource.*originals/emoji'):
    data.load_dataset('emoji', tmp_path)


def test_skin_tones_genders_and_pictures_that_hardly_differ_are_one_group():
  codes = [
    '1F468-1F3FB-200D-1F4BB',
    '1F469-200D-1F4BB',
    '1F9D1-200D-1F373',
    '1F1F3',
    '1F1F4',
    '2648',
  ]
  rows = np.random.default_rng(0).random((6, 48)).astype(np.float32)
  rows[4] = rows[3] + 0.05
  groups = emoji.group_pictures(codes, rows)
  assert groups[0] == groups[1]
  assert groups[3] == groups[4]
  assert len(set(groups.tolist())) == 4


def test_no_group_stands_in_two_splits_and_order_has_no_effect():
  rng = np.random.default_rng(0)
  groups = rng.integers(0, 150, 600)
  names, categories = [f'{i}.png' for i in range(600)], [f'c{group % 3}' for group in groups]
  splits = emoji.split_groups(groups, categories, names)
  for group in range(150):
    assert len({splits[i] for i in np.flatnonzero(groups == group)}) <= 1
  assert splits.count('test') == pytest.approx(60, abs=6)
  assert splits.count('validation') == pytest.approx(60, abs=6)
  order = rng.permutation(600)
  shuffled = emoji.split_groups(
    groups[order], [categories[i] for i in order], [names[i] for i in order]
  )
  assert shuffled == [splits[i] for i in order]
