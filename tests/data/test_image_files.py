import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import pytest

from gan_jax import data
from gan_jax.data import image_files, resizing
from gan_jax.data.reader import image_decoding
from gan_jax.utils.errors import UserError
from tests.helpers.tiny_data import RecordedProgress, flip_middle_bit

ROOT = pathlib.Path(__file__).parents[2]
SPLITS = ('train', 'validation', 'test')


def paint(path, value=None, size=(8, 8), mode='RGB', **options):
  """Writes an image of unique noise, or of the constant `value`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(zlib.crc32(path.as_posix().encode()))
  pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
  if value is not None:
    pixels[:] = value
  PIL.Image.fromarray(pixels).convert(mode).save(path, **options)


@pytest.fixture
def folder(tmp_path):
  """Returns a folder of forty images of two classes."""
  for i in range(40):
    paint(tmp_path / 'images' / ('cats' if i < 15 else 'dogs') / f'deep/{i}.png')
  return tmp_path / 'images'


def load(folder, progress=None, **options):
  return data.load_dataset(
    f'folder:{folder}', folder.parent / 'data', progress or RecordedProgress(), **options
  )


def image_bytes(dataset):
  return [image.tobytes() for split in SPLITS for image in getattr(dataset, split)]


def test_each_image_lies_in_one_split_with_the_label_of_its_subfolder(folder):
  dataset = load(folder)
  assert [len(getattr(dataset, split)) for split in SPLITS] == [32, 4, 4]
  labels = {}
  for file in folder.rglob('*.png'):
    labels[np.asarray(PIL.Image.open(file)).tobytes()] = 'cats' not in file.parts
  assert sorted(image_bytes(dataset)) == sorted(labels)  # disjoint and complete
  for split in SPLITS:
    actual = getattr(dataset, f'{split}_labels')
    expected = [labels[image.tobytes()] for image in getattr(dataset, split)]
    np.testing.assert_array_equal(actual, expected)
  assert dataset.shape == (8, 8, 3)
  assert dataset.n_classes == 2


def test_the_split_depends_on_the_content_only(folder, tmp_path):
  first = load(folder)
  folder.rename(tmp_path / 'moved')
  for i, file in enumerate((tmp_path / 'moved').rglob('*.png')):
    file.rename(file.with_name(f'renamed {i}'))
  assert load(tmp_path / 'moved').fingerprint == first.fingerprint


def test_a_path_needs_no_prefix(folder, monkeypatch):
  first = load(folder)
  monkeypatch.chdir(folder.parent)
  for name in (str(folder), './images', 'folder:images'):
    actual = data.load_dataset(name, folder.parent / 'data', RecordedProgress())
    assert actual.fingerprint == first.fingerprint
    assert actual.name == name


@pytest.mark.parametrize('layout', ['{}.png', 'one/{}.png'])
def test_without_two_subfolders_there_are_no_labels(tmp_path, layout):
  for i in range(10):
    paint(tmp_path / 'images' / layout.format(i))
  dataset = load(tmp_path / 'images')
  assert dataset.n_classes == 0
  assert dataset.train_labels is None


def test_images_beside_subfolders_remove_all_labels_and_are_logged(folder):
  paint(folder / 'cover.jpg')
  progress = RecordedProgress()
  assert load(folder, progress).n_classes == 0
  assert 'no labels, since 1 images are beside' in progress.lines[0]


def test_hidden_files_and_other_files_are_left_out(folder):
  before = load(folder).fingerprint
  (folder / 'cats' / '._1.png').write_bytes(b'a note of the system')
  (folder / '.trash').mkdir()
  paint(folder / '.trash' / 'old.png')
  (folder / 'LICENSE.txt').write_text('free')
  progress = RecordedProgress()
  assert load(folder, progress).fingerprint == before
  (line,) = progress.lines
  assert 'left out: 2 hidden, 1 other files;' in line


def test_each_held_out_part_of_a_small_folder_has_two_images(tmp_path):
  for i in range(12):
    paint(tmp_path / 'images' / f'{i}.png')
  dataset = load(tmp_path / 'images')
  assert [len(getattr(dataset, split)) for split in SPLITS] == [8, 2, 2]


def test_symbolic_links_to_folders_are_followed(folder, tmp_path):
  for i in range(5):
    paint(tmp_path / 'elsewhere' / f'{i}.png')
  (folder / 'birds').symlink_to(tmp_path / 'elsewhere')
  (folder / 'more birds').symlink_to('birds')
  dataset = load(folder)
  assert sum(len(getattr(dataset, split)) for split in SPLITS) == 50
  assert dataset.n_classes == 4


def test_symbolic_links_to_parents_are_left_out(folder):
  before = load(folder).fingerprint
  (folder / 'cats' / 'all').symlink_to(folder)
  (folder / 'cats' / 'deep' / 'up').symlink_to('..')
  (folder / 'itself').symlink_to('itself')
  assert load(folder).fingerprint == before


# Pixels


def test_images_of_other_shapes_are_cropped_and_resized(tmp_path):
  for i in range(10):
    paint(tmp_path / 'images' / f'{i}.png', size=(20 + i, 30))
  dataset = load(tmp_path / 'images', image_size=16)
  expected = [
    np.asarray(resizing.crop_and_resize(PIL.Image.open(file), 16)).tobytes()
    for file in (tmp_path / 'images').iterdir()
  ]
  assert sorted(image_bytes(dataset)) == sorted(expected)


def test_grey_images_stay_grey(tmp_path):
  for i in range(10):
    paint(tmp_path / 'images' / f'{i}.{"png" if i % 2 else "JPG"}', mode='L')
  assert load(tmp_path / 'images').shape == (8, 8, 1)


def test_grey_among_coloured_images_becomes_rgb_and_is_logged(folder):
  paint(folder / 'cats' / 'grey.png', 77, mode='L')
  progress = RecordedProgress()
  dataset = load(folder, progress)
  assert dataset.shape == (8, 8, 3)
  assert np.full((8, 8, 3), 77, np.uint8).tobytes() in image_bytes(dataset)
  assert any('converted: 1 grey to RGB, as others are coloured' in line for line in progress.lines)


def decoded(path):
  image = image_decoding.decode_image(path.read_bytes(), path.name, 0, (255, 255, 255))
  return np.frombuffer(image.content, np.uint8).reshape(image.shape)


@pytest.mark.parametrize(
  ('image', 'expected'),
  [
    (PIL.Image.new('RGBA', (2, 2), (9, 9, 9, 0)), [255, 255, 255]),
    (PIL.Image.new('RGBA', (2, 2), (9, 8, 7, 255)), [9, 8, 7]),
    (PIL.Image.new('LA', (2, 2), (9, 0)), 255),
    (PIL.Image.new('P', (2, 2), 3, ), [0, 0, 0]),
    (PIL.Image.new('1', (2, 2), 1), 255),
    (PIL.Image.fromarray(np.full((2, 2), 257 * 100, np.uint16)), 100),
  ],
  ids=['transparent', 'opaque', 'grey and transparent', 'palette', 'bits', '16 bits'],
)  # fmt: skip
def test_every_mode_becomes_eight_bits_of_grey_or_rgb(tmp_path, image, expected):
  if image.mode == 'P':
    image.putpalette([0, 0, 0] * 256)
  image.save(tmp_path / 'image.png')
  np.testing.assert_array_equal(decoded(tmp_path / 'image.png')[0, 0], expected)


def test_images_are_rotated_by_their_exif_tag(tmp_path):
  pixels = np.zeros((4, 8), np.uint8)
  pixels[:, 4:] = 255
  exif = PIL.Image.Exif()
  exif[0x0112] = 3  # upside down
  PIL.Image.fromarray(pixels).save(tmp_path / 'image.png', exif=exif)
  np.testing.assert_array_equal(decoded(tmp_path / 'image.png'), pixels[:, ::-1])


# The decoded arrays


def test_a_second_load_decodes_nothing(folder, monkeypatch):
  first = load(folder)
  monkeypatch.setattr(image_files, '_decode', None)
  assert load(folder).fingerprint == first.fingerprint


@pytest.mark.parametrize('change', ['touched', 'added', 'removed', 'renamed'])
def test_a_changed_folder_is_decoded_again(folder, change):
  before = load(folder)
  file = folder / 'cats' / 'deep' / '1.png'
  if change == 'touched':
    paint(file, 5)
    os.utime(file, ns=(1, 1))
  elif change == 'added':
    paint(folder / 'dogs' / 'more.png')
  elif change == 'removed':
    file.unlink()
  else:
    file.rename(folder / 'dogs' / '1.png')
  assert load(folder).fingerprint != before.fingerprint


def test_each_image_size_of_a_folder_has_its_own_cache(folder):
  native = load(folder).fingerprint
  assert load(folder, image_size=4).shape == (4, 4, 3)
  assert load(folder).fingerprint == native
  kept = sorted(file.name for file in (folder.parent / 'data').rglob('*.npz'))
  assert kept == ['images-4.npz', 'images.npz']


def test_a_damaged_cache_of_a_folder_is_rebuilt(folder):
  first = load(folder)
  (file,) = (folder.parent / 'data').rglob('*.npz')
  content = file.read_bytes()
  file.write_bytes(flip_middle_bit(content))
  progress = RecordedProgress()
  assert load(folder, progress).fingerprint == first.fingerprint
  assert 'damaged' in progress.lines[0]
  assert file.read_bytes() == content


# Mistakes


@pytest.mark.parametrize('content', [b'', b'no image', 'truncated'])
def test_unreadable_files_are_skipped_and_counted_at_every_load(folder, content):
  good = load(folder).fingerprint
  if content == 'truncated':
    content = (folder / 'cats' / 'deep' / '1.png').read_bytes()[:120]
  for i in range(4):
    (folder / 'cats' / f'bad{i}.png').write_bytes(content)
  names = ', '.join(['cats/bad0.png', 'cats/bad1.png', 'cats/bad2.png', '...'])
  line = (
    f'40 of 44 files are images (40 PNG); left out: 4 not images that Pillow can read ({names})'
  )
  for _ in range(2):
    progress = RecordedProgress()
    assert load(folder, progress).fingerprint == good
    assert line in progress.lines[-1]


@pytest.mark.parametrize('before', [True, False])
def test_strict_refuses_an_unreadable_file(folder, before):
  (folder / 'cats' / 'bad.png').write_bytes(b'no image')
  if before:
    load(folder)  # the decoded arrays without it are there already
  with pytest.raises(UserError, match=r'cats/bad\.png is not an image'):
    load(folder, strict=True)


def test_a_dangling_link_is_skipped(folder):
  (folder / 'cats' / 'link.png').symlink_to('nowhere.png')
  progress = RecordedProgress()
  load(folder, progress)
  assert 'left out: 1 not images that Pillow can read (cats/link.png)' in progress.lines[-1]


def refused(folder, **options):
  with pytest.raises(UserError) as error:
    load(folder, **options)
  message = str(error.value)
  assert '\n' not in message
  assert f'--dataset=folder:{folder}' in message
  return message


def test_mixed_sizes_need_image_size(folder):
  paint(folder / 'cats' / 'large.png', size=(8, 9))
  message = refused(folder)
  assert '40 of 41 images are 8x8 pixels, and cats/large.png is 8x9' in message
  assert 'or --image_size=8' in message


def test_a_missing_or_empty_folder_is_a_one_line_error(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'file').touch()
  assert 'this folder holds no image' in refused(tmp_path / 'empty')
  assert 'there is no such file or folder' in refused(tmp_path / 'nowhere')
  assert 'it is empty, which is no kind of data' in refused(tmp_path / 'file')
  with pytest.raises(UserError, match='--dataset=folder:: it names no path; name a folder'):
    data.load_dataset('folder:', tmp_path)


def test_too_few_images_are_a_one_line_error(tmp_path):
  for i in range(9):
    (tmp_path / 'bad').mkdir(exist_ok=True)
    (tmp_path / 'bad' / f'{i}.png').touch()
    paint(tmp_path / 'few' / f'{i}.png')
  assert '9 images are too few to split; give at least 10' in refused(tmp_path / 'few')
  assert 'none of 9 files is an image' in refused(tmp_path / 'bad')


def test_an_unreadable_subfolder_is_a_one_line_error(folder, monkeypatch):
  real = os.scandir

  def scandir(path):
    if str(path).endswith('dogs'):
      raise PermissionError(13, 'Permission denied', str(path))
    return real(path)

  monkeypatch.setattr(os, 'scandir', scandir)
  assert 'dogs cannot be read (Permission denied)' in refused(folder)


def test_the_script_prepares_a_folder(folder, tmp_path):
  (folder / 'cats' / 'bad.png').touch()
  command = [sys.executable, '-m', 'experiments.prepare_data', f'--dataset={folder}']
  command += [f'--data_dir={tmp_path}/data', '--image_size=4']
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stderr
  assert '32 train, 4 validation, 4 test images of 4x4x3' in done.stdout
  assert done.stderr.count('40 of 41 files are images') == 1
  refused = subprocess.run([*command, '--strict'], capture_output=True, text=True, cwd=ROOT)
  assert refused.returncode == 2
  assert refused.stderr.splitlines()[-1].startswith('error: --dataset=')
