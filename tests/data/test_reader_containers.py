"""Tests that folders, archives, shards, arrays and tables of the same images are the same data."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import PIL.Image
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest

from gan_jax import data
from gan_jax.data import sample_files
from gan_jax.data.reader import parquet
from gan_jax.utils.errors import UserError
from tests.helpers.reading import PIXELS, png, read, refusal, stacked, write_tree
from tests.helpers.tiny_data import RecordedProgress

N = len(PIXELS)
CLASSES = [('cat', 'dog')[i % 2] for i in range(N)]
FILES = {f'{CLASSES[i]}/{i:03d}.png': png(PIXELS[i]) for i in range(N)}
SHARDED = {f'{i:03d}.png': png(PIXELS[i]) for i in range(N)} | {
  f'{i:03d}.cls': str(i % 2).encode() for i in range(N)
}
NAMES = {'cat': 0, 'dog': 1}


def tarred(files):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w') as archive:
    for name, content in sorted(files.items()):
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return file.getvalue()


def zipped(files, compression=zipfile.ZIP_STORED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return file.getvalue()


def table(files, **options):
  rows = [{'bytes': content, 'path': name} for name, content in files.items()]
  labels = [NAMES[name.partition('/')[0]] for name in files]
  feature = {'names': ['cat', 'dog'], '_type': 'ClassLabel'}
  about = json.dumps({'info': {'features': {'image': {'_type': 'Image'}, 'label': feature}}})
  made = arrow.table({'image': rows, 'label': labels}).replace_schema_metadata(
    {'huggingface': about}
  )
  file = io.BytesIO()
  pq.write_table(made, file, **options)
  return file.getvalue()


def array(save):
  file = io.BytesIO()
  save(file, images=PIXELS, labels=np.array(CLASSES))
  return file.getvalue()


def half(first):
  names = sorted(FILES)
  return {name: FILES[name] for name in (names[:5] if first else names[5:])}


SOURCES = {
  'folder': lambda: FILES,
  'stored.zip': lambda: zipped(FILES),
  'deflated.zip': lambda: zipped(FILES, zipfile.ZIP_DEFLATED),
  'bzip2.zip': lambda: zipped(FILES, zipfile.ZIP_BZIP2),
  'lzma.zip': lambda: zipped(FILES, zipfile.ZIP_LZMA),
  'wrapped.zip': lambda: zipped({f'photos/{name}': x for name, x in FILES.items()}),
  'zip without suffix': lambda: zipped(FILES),
  'a.tar': lambda: tarred(FILES),
  'a.tar.gz': lambda: gzip.compress(tarred(FILES)),
  'a.tgz': lambda: gzip.compress(tarred(FILES)),
  'a.tar.bz2': lambda: bz2.compress(tarred(FILES)),
  'a.tar.xz': lambda: lzma.compress(tarred(FILES)),
  'tar without suffix': lambda: tarred(FILES),
  'two tars in one': lambda: tarred(half(True)) + tarred(half(False)),
  'webdataset.tar': lambda: tarred(SHARDED),
  'shards': lambda: {'0.tar': tarred(half(True)), '1.tar': tarred(half(False)), 'README.md': b'notes'},
  'zips': lambda: {'a.zip': zipped(half(True)), 'b.zip': zipped(half(False))},
  'a.parquet': lambda: table(FILES),
  'small groups.parquet': lambda: table(FILES, row_group_size=3, compression='gzip'),
  'parquets': lambda: {'data/0000.parquet': table(half(True)), 'data/0001.parquet': table(half(False))},
  'a.npz': lambda: array(np.savez),
  'compressed.npz': lambda: array(np.savez_compressed),
}  # fmt: skip


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
  """Returns the data set of the folder of files."""
  root = tmp_path_factory.mktemp('expected')
  folder = write_tree(root / 'images', FILES)
  return data.load_dataset(f'folder:{folder}', root / 'data', RecordedProgress())


@pytest.mark.parametrize('name', SOURCES)
def test_every_container_of_the_same_images_is_the_same_data_set(tmp_path, name, expected):
  content, path = SOURCES[name](), tmp_path / name
  if isinstance(content, bytes):
    path.write_bytes(content)
  else:
    write_tree(path, content)
  progress = RecordedProgress()
  dataset = data.load_dataset(str(path), tmp_path / 'data', progress)
  assert dataset.fingerprint == expected.fingerprint
  assert len(dataset.class_names) == 2
  if not name.startswith('webdataset'):
    assert dataset.class_names == expected.class_names == ('cat', 'dog')
  assert '12 of ' in progress.lines[0]
  again = data.load_dataset(str(path), tmp_path / 'data', RecordedProgress())
  assert (again.fingerprint, again.class_names) == (dataset.fingerprint, dataset.class_names)
  examples = sample_files.load_example_sets({'real': str(path)})['real']
  assert sorted(x.tobytes() for x in examples) == sorted(x.tobytes() for x in PIXELS)


@pytest.mark.parametrize('prefix', ['folder', 'zip', 'tar', 'webdataset', 'npz', 'parquet'])
def test_a_prefix_names_a_path_and_its_content_decides(tmp_path, prefix):
  (tmp_path / 'a').write_bytes(zipped(FILES))
  assert (
    data.load_dataset(f'{prefix}:{tmp_path}/a', tmp_path / 'data', RecordedProgress()).n_classes
    == 2
  )


def test_shards_named_by_splits_are_splits(tmp_path):
  files = {'set-train-0000.tar': tarred(half(True)), 'set-test-0000.tar': tarred(half(False))}
  images = read(write_tree(tmp_path, files))
  assert images.splits == ['test'] * 7 + ['train'] * 5
  assert 'splits by folder or file: train 5, test 7' in images.summary.line()


def test_equal_keys_of_two_shards_keep_their_own_labels(tmp_path):
  shard = lambda i: tarred({'0.png': png(PIXELS[i]), '0.cls': str(i).encode()})
  images = read(write_tree(tmp_path, {f'{i}.tar': shard(i) for i in range(3)}))
  np.testing.assert_array_equal(images.labels, [0, 1, 2])


def test_an_archive_beside_images_is_left_out_and_told(tmp_path):
  write_tree(tmp_path, {'a.png': 0, 'b.zip': zipped(FILES)})
  images = read(tmp_path)
  np.testing.assert_array_equal(stacked(images), PIXELS[:1])
  assert 'left out: 1 other files; other files: 1 .zip' in images.summary.line()


def test_a_changed_member_of_a_zip_is_found_by_its_checksum(tmp_path):
  content = bytearray(zipped(FILES))
  content[content.index(b'IDAT') + 20] ^= 1
  (tmp_path / 'a.zip').write_bytes(content)
  line = read(tmp_path / 'a.zip').summary.line()
  assert '11 of 12 files are images' in line
  assert '1 not images that Pillow can read (cat/000.png)' in line


DAMAGED = {
  'cut.zip': (lambda: zipped(FILES)[:900], 'it cannot be read as a .zip'),
  'cut.tar': (lambda: tarred(FILES)[:2000], 'the .tar is damaged after'),
  'cut.tar.gz': (lambda: gzip.compress(tarred(FILES))[:900], 'the .tar is damaged after'),
  'changed.tar': (
    lambda: tarred(FILES).replace(b'dog/003', b'dog/xxx'),
    'the .tar is damaged after',
  ),
  'cut.parquet': (lambda: table(FILES)[:900], 'the Parquet file is damaged'),
  'text.zip': (lambda: b'no archive', 'which is no kind of data that can be read'),
  'empty.tar': (lambda: b'', 'it holds no image; name another'),
  'none.zip': (lambda: zipped({}), 'holds no image'),
  'notes.tar': (lambda: tarred({'a.txt': b'a note'}), 'holds no image'),
  'one.png': (lambda: png(PIXELS[0]), 'it is one image; name the folder or the archive'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_or_empty_container_is_refused_in_one_line(tmp_path, name):
  content, message = DAMAGED[name]
  (tmp_path / name).write_bytes(content())
  assert message in refusal(tmp_path / name)


def test_a_table_without_images_is_refused(tmp_path):
  pq.write_table(arrow.table({'a': [1], 'b': ['x']}), tmp_path / 'a.parquet')
  assert 'the columns a, b hold no images; name the column' in refusal(tmp_path / 'a.parquet')


def test_a_table_without_pyarrow_is_refused(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'pyarrow', None)
  with pytest.raises(
    UserError, match=r'a Parquet file needs pyarrow; install it by `pip install pyarrow`'
  ):
    parquet.ParquetSource('--dataset=x', tmp_path)


def test_a_folder_that_tfds_prepared_is_named_as_such(tmp_path):
  write_tree(
    tmp_path, {'1.0.0/dataset_info.json': '{}', '1.0.0/a-train.array_record-00000-of-00001': 'x'}
  )
  assert 'this folder is a data set that TFDS prepared; give --dataset=NAME' in refusal(tmp_path)


def test_a_split_of_a_tfds_set_is_a_set_of_examples(tmp_path, monkeypatch):
  monkeypatch.setattr(
    sample_files.registry, 'load_dataset', lambda name, where, image_size: {'mnist': Tiny}[name]
  )
  sets = sample_files.load_example_sets({'real': 'tfds:mnist/train', 'fake': 'tfds:mnist/test'})
  np.testing.assert_array_equal(sets['fake'], PIXELS[6:])
  with pytest.raises(UserError, match='name a split, as in tfds:mnist/test'):
    sample_files.load_example_sets({'real': 'tfds:mnist'})


class Tiny:
  """Holds two splits."""

  train, test = PIXELS[:6], PIXELS[6:]


def test_describing_shows_sizes_classes_splits_and_a_grid(tmp_path):
  write_tree(tmp_path / 'set', FILES | {'cat/again.png': FILES['cat/000.png'], 'cat/bad.png': b''})
  command = [sys.executable, '-m', 'experiments.prepare_data', f'--dataset={tmp_path}/set']
  command += ['--describe', f'--data_dir={tmp_path}/data']
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  for line in (
    '  images      8x6x3, uint8',
    '  read        13 of 14 files',
    '  formats     13 PNG',
    '  modes       13 RGB',
    '  sizes       13 6x8',
    '  left out    1 not images that Pillow can read: cat/bad.png',
    '  duplicates  1 images equal an earlier one; 0 stand in two splits',
    '  classes     2',
  ):
    assert line in done.stdout.splitlines()
  assert '    cat: 7 (' in done.stdout
  grid = done.stdout.partition('  grid        ')[2].partition('\n')[0]
  assert grid.endswith('grid.png')
  with PIL.Image.open(grid) as image:  # 3 x 3 training images, 2 pixels apart
    assert image.size == (3 * (6 + 2) + 2, 3 * (8 + 2) + 2)
