import io
import json
import shutil

import numpy as np
import pytest
from etils import epath

from gan_jax.data import (
  array_cache,
  dataset as dataset_lib,
  tfds_preparation,
  tfds_without_tensorflow,
)
from gan_jax.utils.errors import UserError
from tests.helpers import tiny_data
from tests.helpers.tiny_data import RecordedProgress, flip_middle_bit


def object_array(content):
  file = io.BytesIO()
  np.savez(file, about=np.array([print], dtype=object))
  return file.getvalue()


@pytest.mark.parametrize(
  'damage', [flip_middle_bit, lambda content: content[:-1000], lambda content: b'', object_array]
)
def test_a_damaged_array_cache_is_rebuilt_and_logged_once(tiny, damage):
  tiny_data.prepare_tiny_mnist(tiny)
  file = tiny / 'mnist' / 'decoded.npz'
  content = file.read_bytes()
  file.write_bytes(damage(content))
  progress = RecordedProgress()
  tfds_preparation.load_tfds('mnist', epath.Path(tiny), progress)
  assert file.read_bytes() == content
  assert len(progress.lines) == 1
  assert str(file) in progress.lines[0]


def test_a_changed_array_with_a_matching_zip_checksum_fails_the_fingerprint(tiny):
  dataset = tiny_data.prepare_tiny_mnist(tiny).dataset
  file = tiny / 'mnist' / 'decoded.npz'
  other = dataset._replace(train=dataset.train ^ 1)
  array_cache.write_cache(file, array_cache.CachedDataset(other, 'mnist/3.0.1'))
  with pytest.raises(array_cache.DamagedCacheError, match='sha256'):
    array_cache.read_cache(epath.Path(file))


@pytest.mark.parametrize(
  ('file', 'damage'),
  [
    ('mnist-train.array_record-00000-of-00001', flip_middle_bit),
    ('mnist-test.array_record-00000-of-00001', lambda content: content[: len(content) // 2]),
    ('mnist-test.array_record-00000-of-00001', lambda content: b''),
    ('dataset_info.json', lambda content: content[:-10]),
    ('features.json', lambda content: content[:-10]),
  ],
)
def test_a_damaged_tfds_folder_is_an_error_that_names_it_and_the_remedy(tiny, file, damage):
  tiny_data.prepare_tiny_mnist(tiny)
  (tiny / 'mnist' / 'decoded.npz').unlink()
  path = tiny / 'mnist' / '3.0.1' / file
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(UserError, match=r'remove its folder') as error:
    tiny_data.prepare_tiny_mnist(tiny)
  assert str(path.parent) in str(error.value)
  assert '\n' not in str(error.value)


def test_a_tfds_folder_in_another_record_order_is_refused(tiny, monkeypatch):
  right = tiny_data.prepare_tiny_mnist(tiny).dataset.fingerprint
  shutil.rmtree(tiny / 'mnist')
  monkeypatch.setattr(tfds_preparation, 'FINGERPRINTS', {'mnist': right})
  shuffled = lambda self: super(
    tfds_without_tensorflow._TensorFlowFreeBuilder, self
  )._info()  # as TFDS does it
  monkeypatch.setattr(tfds_without_tensorflow._TensorFlowFreeBuilder, '_info', shuffled)
  with pytest.raises(UserError, match=r'another order.*another --data_dir'):
    tiny_data.prepare_tiny_mnist(tiny)
  assert not (tiny / 'mnist' / 'decoded.npz').exists()


def test_a_tfrecord_folder_of_other_software_is_refused(tiny):
  folder = tiny / 'mnist' / '3.0.1'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text(json.dumps({'fileFormat': 'tfrecord'}))
  with pytest.raises(UserError, match=r'as tfrecord.*another --data_dir'):
    tiny_data.prepare_tiny_mnist(tiny)


def test_a_half_copied_folder_is_refused(tiny):
  (tiny / 'mnist' / '3.0.1').mkdir(parents=True)
  with pytest.raises(UserError, match='not complete'):
    tiny_data.prepare_tiny_mnist(tiny)


def test_a_wrong_original_file_is_named_with_both_sha256(tiny):
  file = tiny / 'originals' / 'mnist' / 't10k-images-idx3-ubyte.gz'
  file.write_bytes(flip_middle_bit(file.read_bytes()))
  with pytest.raises(UserError, match=r't10k-images\S+ has sha256 \w{64}, expected \w{64}'):
    tiny_data.prepare_tiny_mnist(tiny)


def test_a_cache_of_another_data_set_is_ignored(tiny, monkeypatch):
  right = tiny_data.prepare_tiny_mnist(tiny).dataset
  monkeypatch.setattr(tfds_preparation, 'FINGERPRINTS', {'mnist': right.fingerprint})
  swapped = {'train': right.validation, 'validation': right.train, 'test': right.test}
  other = dataset_lib.from_arrays('mnist', swapped)
  array_cache.write_cache(
    tiny / 'mnist' / 'decoded.npz', array_cache.CachedDataset(other, 'mnist/3.0.1')
  )
  loaded = tfds_preparation.load_tfds('mnist', epath.Path(tiny), RecordedProgress())
  np.testing.assert_array_equal(loaded.train, right.train)
