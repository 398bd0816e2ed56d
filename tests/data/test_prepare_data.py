import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from etils import epath
from fsspec.implementations import memory

from gan_jax import data
from gan_jax.data import downloads, preparation, tfds_preparation
from gan_jax.utils.errors import UserError
from tests.helpers import tiny_data
from tests.helpers.tiny_data import RecordedProgress, read_files

ROOT = pathlib.Path(__file__).parents[2]


def test_preparing_never_imports_tensorflow(tiny):
  code = (
    'import sys, runpy; runpy.run_module("tests.helpers.tiny_data", run_name="__main__"); '
    'print("array_record" in sys.modules, "tensorflow" in sys.modules)'
  )
  command = [sys.executable, '-c', code, str(tiny)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.stdout.split() == ['ready', 'True', 'False'], done.stderr


def test_decoded_arrays_equal_the_original_files(tiny):
  prepared = tiny_data.prepare_tiny_mnist(tiny)
  original = tiny_data.original_arrays()
  images = np.concatenate([prepared.dataset.train, prepared.dataset.validation])
  np.testing.assert_array_equal(images[..., 0], original['train-images-idx3-ubyte.gz'])
  np.testing.assert_array_equal(
    prepared.dataset.test[..., 0], original['t10k-images-idx3-ubyte.gz']
  )
  np.testing.assert_array_equal(prepared.dataset.test_labels, original['t10k-labels-idx1-ubyte.gz'])
  assert len(prepared.dataset.validation) == tiny_data.N_TRAIN // 6


def test_preparing_twice_changes_nothing(tiny):
  assert tiny_data.prepare_tiny_mnist(tiny).origin == 'originals'
  before = read_files(tiny)
  assert tiny_data.prepare_tiny_mnist(tiny).origin == 'already prepared'
  assert read_files(tiny) == before


def test_two_processes_prepare_the_same_bytes(tiny):
  command = [sys.executable, '-m', 'tests.helpers.tiny_data', str(tiny)]
  outputs = []
  for _ in range(4):  # protobuf's default order of a record's fields varies between processes
    shutil.rmtree(tiny / 'mnist', ignore_errors=True)
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    outputs.append(read_files(tiny))
  assert all(each == outputs[0] for each in outputs)


def test_abandoned_working_folders_of_the_same_data_set_are_removed(tiny):
  dead, other = tiny / '.preparing-mnist.tmp-dead', tiny / '.preparing-emnist.mnist.tmp-alive'
  for folder in (dead, other):
    (folder / 'mnist').mkdir(parents=True)
  tiny_data.prepare_tiny_mnist(tiny)
  assert not dead.exists()
  assert other.exists()
  assert not list(tiny.glob('.preparing-mnist.tmp-*'))


def test_abandoned_working_folders_beside_complete_data_are_removed_unless_locked(tiny):
  tiny_data.prepare_tiny_mnist(tiny)
  dead = tiny / '.preparing-mnist.tmp-dead'
  dead.mkdir()
  with preparation.locked_work_dir(epath.Path(tiny), 'mnist', RecordedProgress()) as alive:
    dead.mkdir(exist_ok=True)
    tiny_data.prepare_tiny_mnist(tiny)
    assert dead.exists()  # another process holds the lock
    assert alive.exists()
  tiny_data.prepare_tiny_mnist(tiny)
  assert not dead.exists()


def test_the_lock_admits_one_process_and_the_second_logs_that_it_waits(tmp_path):
  order, progress = [], RecordedProgress()

  def second():
    with preparation.locked_work_dir(epath.Path(tmp_path), 'mnist', progress):
      order.append('second')

  thread = threading.Thread(target=second)
  with preparation.locked_work_dir(epath.Path(tmp_path), 'mnist', progress):
    thread.start()
    while not progress.lines:
      time.sleep(0.01)
    order.append('first')
  thread.join()
  assert order == ['first', 'second']
  assert 'waiting' in progress.lines[0]


def test_moving_accepts_a_complete_target_and_refuses_a_partial_one(tmp_path):
  for folder in (tmp_path / 'mine', tmp_path / 'final'):
    folder.mkdir()
    (folder / 'dataset_info.json').write_text('{}')
  preparation.move_into_place(tmp_path / 'mine', epath.Path(tmp_path / 'final'))
  (tmp_path / 'final' / 'dataset_info.json').unlink()
  (tmp_path / 'final' / 'something').touch()
  with pytest.raises(OSError, match='not empty'):
    preparation.move_into_place(tmp_path / 'mine', epath.Path(tmp_path / 'final'))


# Buckets


class Bucket(memory.MemoryFileSystem):
  """Holds an object store in memory, by fsspec."""

  protocol = 's3'
  store: dict = {}  # noqa: RUF012
  pseudo_dirs = ['']  # noqa: RUF012

  @classmethod
  def _strip_protocol(cls, path):
    return super()._strip_protocol(str(path).removeprefix('s3://'))


@pytest.fixture
def bucket(monkeypatch):
  monkeypatch.setitem(sys.modules['fsspec.registry']._registry, 's3', Bucket)
  Bucket.store.clear()
  return 's3://bucket/data'


def test_a_bucket_holds_the_same_bytes_as_a_folder(tiny, bucket):
  local = tiny_data.prepare_tiny_mnist(tiny)
  path = epath.Path(bucket)
  for file in (tiny / 'originals' / 'mnist').iterdir():
    (path / 'originals' / 'mnist' / file.name).write_bytes(file.read_bytes())
  order = {'originals': downloads.copy_originals}
  remote = tfds_preparation.prepare_tfds('mnist', path, RecordedProgress(), order)
  assert os.fspath(remote.folder) == f'{bucket}/mnist/3.0.1'
  for name, content in read_files(tiny / 'mnist').items():
    assert (path / 'mnist' / name).read_bytes() == content
  assert data.load_dataset('mnist', bucket).fingerprint == local.dataset.fingerprint
  (path / 'mnist' / 'decoded.npz').unlink()
  again = tfds_preparation.prepare_tfds(
    'mnist', path, RecordedProgress(), {}
  )  # decoded from a copy of its folder
  assert again.origin == 'already prepared'
  assert (path / 'mnist' / 'decoded.npz').exists()


def test_a_missing_bucket_client_is_a_user_error():
  with pytest.raises(UserError, match='gcsfs'):
    data.load_dataset('mnist', 'gs://bucket/data')
