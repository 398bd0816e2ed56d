"""Writes a small MNIST in the format of the original files and registers it with TFDS."""

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

from gan_jax.data import downloads, tfds_preparation
from gan_jax.data.progress import Progress

N_TRAIN, N_TEST = 600, 120
URL = 'http://images.example/'
FILE_SHAPES = {
  'train-images-idx3-ubyte.gz': (N_TRAIN, 28, 28),
  'train-labels-idx1-ubyte.gz': (N_TRAIN,),
  't10k-images-idx3-ubyte.gz': (N_TEST, 28, 28),
  't10k-labels-idx1-ubyte.gz': (N_TEST,),
}


def original_arrays() -> dict[str, np.ndarray]:
  """Returns random images and labels by the names of the original files."""
  rng = np.random.default_rng(0)
  return {
    name: rng.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8)
    for name, shape in FILE_SHAPES.items()
  }


def write_original_files(folder: pathlib.Path) -> None:
  """Writes the four original files."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, array in original_arrays().items():
    header = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
    (folder / name).write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def register_as_mnist(originals: pathlib.Path, patch=setattr) -> None:
  """Registers sizes and checksums of the files in `originals` as those of MNIST."""
  infos = {}
  for name in FILE_SHAPES:
    content = (originals / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    infos[URL + name] = checksums.UrlInfo(utils.Size(len(content)), digest, name)
  patch(mnist.MNIST, 'url_infos', infos)
  patch(mnist.MNIST, 'URL', URL)
  patch(mnist, '_TRAIN_EXAMPLES', N_TRAIN)
  patch(mnist, '_TEST_EXAMPLES', N_TEST)
  patch(tfds_preparation, 'FINGERPRINTS', {})


def prepare_tiny_mnist(data_dir: pathlib.Path, progress: Progress | None = None, **options):
  """Prepares the small MNIST from the folder of original files."""
  folder = {'originals': downloads.copy_originals}
  return tfds_preparation.prepare_tfds(
    'mnist', epath.Path(data_dir), progress or Progress(), folder, **options
  )


class RecordedProgress(Progress):
  """Stores the logged lines."""

  def __init__(self):
    self.lines = []

  def log(self, line):
    self.lines.append(line)


def folder_with_originals(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
  """Returns a data folder with the four small original files."""
  originals = tmp_path / 'originals' / 'mnist'
  write_original_files(originals)
  register_as_mnist(originals, monkeypatch.setattr)
  return tmp_path


def read_files(folder: pathlib.Path) -> dict[str, bytes]:
  """Returns the content of all files below a folder, by relative path."""
  paths = sorted(path for path in folder.rglob('*') if path.is_file())
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def flip_middle_bit(content: bytes) -> bytes:
  """Returns `content` with one bit in its middle flipped."""
  middle = len(content) // 2
  return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


if __name__ == '__main__':  # the process that tests kill
  data_dir = pathlib.Path(sys.argv[1])
  register_as_mnist(data_dir / 'originals' / 'mnist')
  from gan_jax.data import tfds_without_tensorflow  # noqa: F401  imports finish before `ready`

  print('ready', flush=True)
  prepare_tiny_mnist(data_dir)
