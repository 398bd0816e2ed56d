"""Tests that damaged archives and arrays are read or refused in one line, without pickles, in little memory."""

import bz2
import gzip
import io
import pickle
import resource
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import PIL.Image
import pytest

from gan_jax.data import sample_files
from gan_jax.utils.errors import UserError

N_FAST, N_SLOW = 22, 700  # mutations of each kind of file
MEMORY = 2**29  # bytes by which the process may grow
N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3)).astype(np.uint8)


def png(i):
  file = io.BytesIO()
  PIL.Image.fromarray(PIXELS[i]).save(file, 'PNG')
  return file.getvalue()


def npz(save, **arrays):
  file = io.BytesIO()
  save(file, **(arrays or {'images': PIXELS, 'labels': np.arange(N) % 3}))
  return file.getvalue()


def zipped(compression):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as archive:
    for i in range(N):
      archive.writestr(f'photos/{i:03d}.png', png(i))
  return file.getvalue()


def tarred(tar_format):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w', format=tar_format) as archive:
    for i in range(N):
      for name, content in ((f'{i:03d}.png', png(i)), (f'{i:03d}.cls', str(i % 3).encode())):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
  return file.getvalue()


def npy():
  file = io.BytesIO()
  np.save(file, PIXELS)
  return file.getvalue()


FILES = {
  'a.npz': lambda: npz(np.savez),
  'compressed.npz': lambda: npz(np.savez_compressed),
  'a.npy': npy,
  'stored.zip': lambda: zipped(zipfile.ZIP_STORED),
  'deflated.zip': lambda: zipped(zipfile.ZIP_DEFLATED),
  'lzma.zip': lambda: zipped(zipfile.ZIP_LZMA),
  'ustar.tar': lambda: tarred(tarfile.USTAR_FORMAT),
  'pax.tar': lambda: tarred(tarfile.PAX_FORMAT),
  'gnu.tar.gz': lambda: gzip.compress(tarred(tarfile.GNU_FORMAT), mtime=0),
  'gnu.tar.bz2': lambda: bz2.compress(tarred(tarfile.GNU_FORMAT)),
}


def mutate(content, rng):
  """Flips, overwrites, cuts out, repeats, inserts or truncates bytes at one to four places."""
  content = bytearray(content)
  for _ in range(rng.integers(1, 5)):
    at, n = int(rng.integers(0, max(1, len(content)))), int(rng.choice([1, 2, 4, 8, 64, 700]))
    kind = rng.integers(0, 7)
    if kind == 0 and content:
      content[at % len(content)] ^= 1 << rng.integers(0, 8)
    elif kind == 1:
      content[at : at + n] = rng.bytes(n)
    elif kind == 2:
      del content[at : at + n]
    elif kind == 3:
      content[at:at] = content[at : at + n]
    elif kind == 4:
      content[at:at] = rng.bytes(n)
    elif kind == 5:
      content[at : at + 4] = bytes(rng.choice([0, 1, 127, 128, 255], 4).astype(np.uint8))
    elif rng.random() < 0.3:
      del content[at:]
  return bytes(content)


def read(path):
  """Reads a file; returns its images, or None where it was refused in one line."""
  try:
    return sample_files.load_example_sets({'real': str(path)})['real']
  except UserError as error:
    message = str(error)
  assert '\n' not in message
  assert message.startswith(f'--real={path}')
  return None


@pytest.mark.parametrize('n', [N_FAST, pytest.param(N_SLOW, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', FILES)
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path, name, n):
  content, path = FILES[name](), tmp_path / name
  path.write_bytes(content)
  np.testing.assert_array_equal(read(path), PIXELS)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  n_read, known = 0, {image.tobytes() for image in PIXELS}
  for seed in range(n):
    path.write_bytes(mutate(content, np.random.default_rng([n, seed])))
    images = read(path)
    n_read += images is not None
    if images is not None and not name.endswith('.npy'):  # the others have checksums
      assert {image.tobytes() for image in images} <= known
    assert [each.name for each in tmp_path.iterdir()] == [name]  # nothing is unpacked
  scale = 1 if sys.platform == 'darwin' else 1024
  assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * scale < MEMORY
  assert n_read < n


class Pickled:
  """Runs when it is unpickled."""

  def __reduce__(self):
    return exec, ('raise SystemExit("unpickled")',)


def test_pickles_are_never_loaded(tmp_path):
  path = tmp_path / 'a.npz'
  for array in (
    np.array([Pickled()], object),
    np.array([(1, Pickled())], [('a', int), ('b', object)]),
  ):
    np.savez(path, images=array)
    assert read(path) is None
    np.savez(path, images=PIXELS, labels=array)
    assert read(path) is None
  (tmp_path / 'a.npy').write_bytes(pickle.dumps(Pickled()))
  assert read(tmp_path / 'a.npy') is None


def npy_header(shape, order='False'):
  text = f"{{'descr': '|u1', 'fortran_order': {order}, 'shape': {shape}, }}"
  text += ' ' * (-(len(text) + 11) % 64) + '\n'
  return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text.encode()


@pytest.mark.parametrize(
  'shape',
  ['(10**15, 8, 8, 3)', '(1000000000000, 8, 8, 3)', '(-5, 8, 8, 3)', '(2**70,)', '((1,),)', '()'],
)
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path, shape):
  content = npy_header(shape) + PIXELS.tobytes()
  (tmp_path / 'a.npy').write_bytes(content)
  assert read(tmp_path / 'a.npy') is None
  for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w', compression) as archive:
      archive.writestr('images.npy', content)
    assert read(tmp_path / 'a.npz') is None


def black_png(width, height):
  """Returns a black grey image, whose pixels take a thousandth in the file."""
  packed = zlib.compressobj()
  rows = [packed.compress(bytes(width + 1)) for _ in range(height)]
  about = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  chunks = ((b'IHDR', about), (b'IDAT', b''.join([*rows, packed.flush()])), (b'IEND', b''))
  pack = lambda kind, x: (
    struct.pack('>I', len(x)) + kind + x + struct.pack('>I', zlib.crc32(kind + x))
  )
  return b'\x89PNG\r\n\x1a\n' + b''.join(pack(*chunk) for chunk in chunks)


def test_decompression_bombs_are_refused_before_they_are_decompressed(tmp_path):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  n = 2**28
  with (
    zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as archive,
    archive.open('images.npy', 'w', force_zip64=True) as member,
  ):
    member.write(npy_header(f'({n // 2**12}, 64, 64)'))
    for _ in range(n // 2**20):
      member.write(bytes(2**20))
  with pytest.raises(UserError, match='as a decompression bomb does'):
    sample_files.load_example_sets({'real': str(tmp_path / 'a.npz')})
  (tmp_path / 'images').mkdir()
  bomb = black_png(9_000, 9_000)
  for i in range(N):
    (tmp_path / 'images' / f'{i}.png').write_bytes(png(i))
    (tmp_path / 'images' / f'bomb{i}.png').write_bytes(bomb)
  lines = []
  sample_files.load_example_sets({'real': str(tmp_path / 'images')}, lines.append)
  assert '12 too large (limits: 67,108,864 pixels, 256 MiB) (bomb0.png' in lines[0]
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown * (1 if sys.platform == 'darwin' else 1024) < MEMORY


def test_paths_of_an_archive_never_leave_it(tmp_path):
  names = ['../out.png', '/etc/out.png', 'C:\\out.png', 'a/../../out.png', '..\\..\\out.png']
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
    for i, name in enumerate(names):
      archive.writestr(name, png(i))
  with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
    for i, name in enumerate(names):
      member = tarfile.TarInfo(name)
      member.size = len(png(i))
      archive.addfile(member, io.BytesIO(png(i)))
    link = tarfile.TarInfo('link.png')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    archive.addfile(link)
  for name in ('a.zip', 'a.tar'):
    images = read(tmp_path / name)
    assert {image.tobytes() for image in images} == {image.tobytes() for image in PIXELS[:5]}
  assert sorted(each.name for each in tmp_path.iterdir()) == ['a.tar', 'a.zip']
