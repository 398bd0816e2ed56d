import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from gan_jax import data
from gan_jax.data import (
  array_cache,
  dataset as dataset_lib,
  preparation,
  registry,
  tfds_preparation,
)
from gan_jax.utils.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def small(n=30, n_held_out=10):
  rng = np.random.default_rng(0)
  sizes = {'train': n, 'validation': n_held_out, 'test': n_held_out}
  arrays = {x: rng.integers(0, 256, (m, 5, 3, 1), np.uint8) for x, m in sizes.items()}
  return arrays | {f'{x}_labels': np.arange(m) for x, m in sizes.items()}


def is_mapped(array):
  while array is not None and not isinstance(array, np.memmap):
    array = getattr(array, 'base', None)
  return array is not None


def test_cached_images_are_memory_mapped_and_unchanged(tmp_path):
  arrays = small()
  arrays['test'] = np.asfortranarray(arrays['test'])  # written in its own order, and so read
  path = epath.Path(tmp_path / 'decoded.npz')
  made = dataset_lib.from_arrays('small', arrays)
  array_cache.write_cache(path, array_cache.CachedDataset(made, 'small'))
  actual = array_cache.read_cache(path).dataset
  assert actual.fingerprint == made.fingerprint
  for name, array in actual.arrays().items():
    np.testing.assert_array_equal(array, arrays[name])
  assert [is_mapped(x) for x in (actual.train, actual.validation, actual.test)] == [
    True,
    True,
    False,
  ]
  assert not is_mapped(actual.train_labels)
  assert not actual.train.flags.writeable


def test_a_compressed_cache_is_read(tmp_path):
  arrays, path = small(), epath.Path(tmp_path / 'decoded.npz')
  made = dataset_lib.from_arrays('small', arrays)
  about = f'{{"name": "small", "folder": "x", "fingerprint": "{made.fingerprint}"}}'
  np.savez_compressed(path, about=np.array(about), **arrays)
  actual = array_cache.read_cache(path).dataset
  np.testing.assert_array_equal(actual.train, arrays['train'])
  assert not is_mapped(actual.train)


def test_a_subsample_is_fixed_and_ordered_and_the_data_set_itself_if_small_enough():
  whole = dataset_lib.from_arrays('small', small())
  assert whole.subsample(30) is whole
  thinned = whole.subsample(12)
  labels = thinned.train_labels
  assert len(labels) == len(set(labels)) == 12
  assert sorted(labels) == list(labels) != list(range(12))
  np.testing.assert_array_equal(thinned.train, whole.train[labels])
  np.testing.assert_array_equal(whole.subsample(12).train_labels, labels)
  assert thinned.validation is whole.validation
  assert thinned.fingerprint == whole.fingerprint


def test_disk_backed_zeros_leave_no_file_and_raise_on_a_full_disk(tmp_path):
  pages = preparation.disk_backed_zeros(tmp_path, (3, 2))
  pages[1] = 7
  assert pages.tolist() == [[0, 0], [7, 7], [0, 0]]
  assert preparation.disk_backed_zeros(tmp_path, (0, 2)).shape == (0, 2)
  assert not any(tmp_path.iterdir())
  with pytest.raises(OSError, match=r'space|large|File'):
    preparation.disk_backed_zeros(tmp_path, (2**50, 2))


# The real images


def test_mnist_is_in_the_order_of_the_original_files(mnist):
  assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
  assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
  assert mnist.train.shape == (50_000, 28, 28, 1)
  assert mnist.validation.shape == mnist.test.shape == (10_000, 28, 28, 1)
  assert mnist.train.dtype == np.uint8
  assert mnist.fingerprint == tfds_preparation.FINGERPRINTS['mnist']
  assert mnist.shape == (28, 28, 1)
  assert mnist.n_classes == 10


def test_validation_and_test_images_never_reach_training(mnist):
  seen = {image.tobytes() for image in mnist.train}
  for held_out in (mnist.validation, mnist.test):
    assert not any(image.tobytes() in seen for image in held_out)


def test_tfds_reads_the_prepared_folder_and_the_split_is_by_position(mnist):
  import tensorflow_datasets as tfds

  source = tfds.data_source(
    'mnist', split='train', data_dir=data.default_data_dir(), download=False
  )
  for i in (0, 49_999):
    np.testing.assert_array_equal(source[i]['image'], mnist.train[i])
  for i in (50_000, 59_999):
    np.testing.assert_array_equal(source[i]['image'], mnist.validation[i - 50_000])
    assert source[i]['label'] == mnist.validation_labels[i - 50_000]


def test_loading_a_cache_imports_no_tfds(mnist):
  code = """if True:
    import sys
    from gan_jax import data
    fingerprint = data.load_dataset('mnist', sys.argv[1]).fingerprint
    print(fingerprint, {'tensorflow', 'tensorflow_datasets'} & set(sys.modules))
  """
  command = [sys.executable, '-c', code, str(data.default_data_dir().resolve())]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  fingerprint, modules = done.stdout.split(maxsplit=1)
  assert fingerprint == mnist.fingerprint
  assert modules.strip() == 'set()'


# Names


@pytest.mark.parametrize('name', ['mnst', 'fashion-mnist', 'emnist/leters'])
def test_an_unknown_name_suggests_similar_names(tmp_path, name):
  near = {'mnst': 'mnist', 'fashion-mnist': 'fashion_mnist', 'emnist/leters': 'emnist/letters'}
  with pytest.raises(UserError, match=f'--dataset={name} is unknown; near names: {near[name]}'):
    data.load_dataset(name, tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_name_similar_to_none_lists_the_registered_data_sets(tmp_path):
  with pytest.raises(
    UserError, match=r'=nope is unknown; give one of emoji, fashion_mnist, mnist, stacked'
  ):
    data.load_dataset('nope', tmp_path)


@pytest.mark.parametrize('name', ['below', 'mnist/below'])
def test_an_unknown_name_that_is_a_folder_suggests_the_folder_prefix(tmp_path, monkeypatch, name):
  (tmp_path / name).mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=f'is unknown; .* --dataset=folder:{name}$'):
    data.load_dataset(name, tmp_path)


def test_a_negative_image_size_is_a_user_error(tmp_path):
  with pytest.raises(UserError, match='--image_size=-1'):
    data.load_dataset('mnist', tmp_path, image_size=-1)


@pytest.mark.parametrize('name', ['mnist/../..', '', 'mnist:3.0.1', 'file:///etc'])
def test_a_name_never_leaves_the_data_folder(tmp_path, name):
  image = np.zeros((1, 1, 1, 1), np.uint8)
  outside = dataset_lib.from_arrays(name, {'train': image, 'validation': image, 'test': image})
  for folder in ('mnist', 'below'):
    (tmp_path / folder).mkdir()
  array_cache.write_cache(
    tmp_path / 'mnist' / 'decoded.npz', array_cache.CachedDataset(outside, '.')
  )
  with pytest.raises(UserError, match='is unknown'):
    data.load_dataset(name, tmp_path / 'below')


def test_a_builder_that_needs_tensorflow_is_a_user_error(tmp_path):
  with pytest.raises(UserError, match='tensorflow'):
    data.load_dataset('coco/2014', tmp_path)


def test_a_computed_data_set_writes_nothing(tmp_path, monkeypatch):
  images = np.zeros((3, 2, 2, 1), np.uint8)
  ring = data.Dataset('ring', images, images, images, None, None, None, 'f')
  monkeypatch.setitem(registry.DATASETS, 'ring', lambda data_dir, progress, image_size: ring)
  assert data.load_dataset('ring', tmp_path) is ring
  assert data.prepare_dataset('ring', tmp_path) == epath.Path(tmp_path)
  assert not list(tmp_path.iterdir())


def test_the_default_data_dir_comes_from_the_environment(monkeypatch):
  monkeypatch.setenv('GAN_JAX_DATA_DIR', '/some/where')
  assert data.default_data_dir() == epath.Path('/some/where')
  monkeypatch.delenv('GAN_JAX_DATA_DIR')
  assert data.default_data_dir() == epath.Path('data')


# The script


def prepare_data(*flags, **environment):
  command = [sys.executable, '-m', 'experiments.prepare_data', *flags]
  environment = os.environ | {'PYTHONWARNINGS': 'default'} | environment
  return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def test_the_script_prints_counts_and_fingerprint_of_prepared_data(mnist):
  done = prepare_data('--dataset=mnist', f'--data_dir={data.default_data_dir().resolve()}')
  assert done.returncode == 0, done.stderr
  assert 'already prepared' in done.stderr
  assert '50000 train, 10000 validation, 10000 test images of 28x28x1' in done.stdout
  assert mnist.fingerprint in done.stdout


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--dataset=mnst'], 'near names: mnist'),
    (['--dataset=folder:{file}'], '--dataset=folder:{file}: it is empty, which is no kind of data'),
    (['--data_dir={file}'], '--data_dir={file} cannot be written'),
    (['--data_dir={file}/below'], '--data_dir={file}/below cannot be written'),
    (['--data_dir=ftp://x/y'], '--data_dir=ftp://x/y cannot be reached'),
  ],
)
def test_a_user_error_is_one_line_and_exit_code_2(tmp_path, flags, message):
  file = tmp_path / 'file'
  file.touch()
  done = prepare_data(*(flag.format(file=file) for flag in flags))
  assert done.returncode == 2
  assert done.stderr.startswith('error: ')
  assert message.format(file=file) in done.stderr
  assert done.stderr.count('\n') == 1
