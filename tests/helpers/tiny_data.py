"""A small MNIST in the original files' format, which TFDS is told to take for the real one."""

import gzip
import hashlib
import pathlib
import struct
import sys

import numpy as np
from etils import epath
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.image_classification import mnist

from gan_jax.data import downloads, tfds_reader
from gan_jax.data.progress import Progress

TRAIN, TEST = 600, 120
URL = 'http://images.example/'
FILES = {
  'train-images-idx3-ubyte.gz': (TRAIN, 28, 28),
  'train-labels-idx1-ubyte.gz': (TRAIN,),
  't10k-images-idx3-ubyte.gz': (TEST, 28, 28),
  't10k-labels-idx1-ubyte.gz': (TEST,),
}


def arrays() -> dict[str, np.ndarray]:
  """Random bytes as images and digits as labels, by the names of the original files."""
  rng = np.random.default_rng(0)
  return {
    name: rng.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8)
    for name, shape in FILES.items()
  }


def write_originals(folder: pathlib.Path) -> None:
  """Write the four files."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, array in arrays().items():
    header = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
    (folder / name).write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def pretend(originals: pathlib.Path, patch=setattr) -> None:
  """Make TFDS and the reader expect the files of this folder as MNIST's."""
  infos = {}
  for name in FILES:
    content = (originals / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    infos[URL + name] = checksums.UrlInfo(utils.Size(len(content)), digest, name)
  patch(mnist.MNIST, 'url_infos', infos)
  patch(mnist.MNIST, 'URL', URL)
  patch(mnist, '_TRAIN_EXAMPLES', TRAIN)
  patch(mnist, '_TEST_EXAMPLES', TEST)
  patch(tfds_reader, 'FINGERPRINTS', {})


def prepare(data_dir: pathlib.Path, progress: Progress | None = None, **options):
  """Prepare the small MNIST with nothing asked but the folder of originals."""
  folder = {'originals': downloads.from_folder}
  return tfds_reader.prepare(
    'mnist', epath.Path(data_dir), progress or Progress(), folder, **options
  )


class Lines(Progress):
  """Keeps what is said."""

  def __init__(self):
    self.lines = []

  def say(self, line):
    self.lines.append(line)


def folder(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
  """A data folder in which the four small original files wait."""
  originals = tmp_path / 'originals' / 'mnist'
  write_originals(originals)
  pretend(originals, monkeypatch.setattr)
  return tmp_path


def files_in(folder: pathlib.Path) -> dict[str, bytes]:
  """What lies in a folder, by path."""
  paths = sorted(path for path in folder.rglob('*') if path.is_file())
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def flipped(content: bytes) -> bytes:
  """The same bytes but for one bit in their middle."""
  middle = len(content) // 2
  return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


if __name__ == '__main__':  # a process of its own, for the tests that kill it
  data_dir = pathlib.Path(sys.argv[1])
  pretend(data_dir / 'originals' / 'mnist')
  from gan_jax.data import tfds_builders  # noqa: F401  so that all imports are done before it says so

  print('ready', flush=True)
  prepare(data_dir)
