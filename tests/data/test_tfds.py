import hashlib
import io
import tarfile
import zipfile

import numpy as np
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from gan_jax import data
from gan_jax.data import tfds_without_tensorflow
from tests.helpers.tiny_data import RecordedProgress


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
  """Registers the checksum of this file with TFDS."""
  stock = tfds_without_tensorflow.tfds.builder_cls(name)
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
  cifar = data.load_dataset('cifar10', tmp_path, RecordedProgress())
  images = np.concatenate([cifar.train, cifar.validation, cifar.test])
  labels = np.concatenate([cifar.train_labels, cifar.validation_labels, cifar.test_labels])
  np.testing.assert_array_equal(images, rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
  np.testing.assert_array_equal(labels, rows[:, 0])
  assert [len(cifar.train), len(cifar.validation), len(cifar.test)] == [42, 8, 10]
