"""Reads arrays of .npy and .npz files, without unpickling and without trusting the sizes they declare."""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from gan_jax.data.reader.entries import split_of_file
from gan_jax.data.reader.summary import enumerate_names
from gan_jax.utils.errors import UserError

_IMAGE_NAMES = (
  'images',
  'samples',
  'x',
  'data',
  'arr_0',
)  # tried in order in an .npz of several arrays
_LABEL_NAMES = ('labels', 'label', 'y', 'targets', 'target', 'classes')
_SMALL = 2**26  # bytes of an array that may be compressed by any factor
_MAX_COMPRESSION = 200  # beyond that: a larger array counts as a decompression bomb
_DAMAGE = (
  *(
    OSError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    SyntaxError,
    OverflowError,
    RuntimeError,
  ),
  *(NotImplementedError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile),
)


class NotNumbersError(Exception):
  """Reports a file or a member that is not an array of numbers or of strings."""


def is_npz(path: Path) -> bool:
  """Returns whether a .zip holds arrays, and nothing else."""
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except _DAMAGE:
    return False
  return bool(names) and all(name.endswith('.npy') for name in names)


def read_array_file(
  given: str, path: Path
) -> tuple[list[tuple[str, np.ndarray]], list[np.ndarray] | None, tuple[str, ...]]:
  """Reads arrays of examples with their splits ('' for none), their labels, and the names of classes.

  An .npz may hold one array, or several of which one is named `images`, `samples` or `x`, or one for each
  split, such as `x_train` and `x_test`, each with labels beside it. Raises UserError.
  """
  try:
    with path.open('rb') as file:
      is_array = file.read(6) == npy.MAGIC_PREFIX
    if is_array:
      return [('', _load_npy(path))], None, ()
    with zipfile.ZipFile(path) as archive:
      infos = {info.filename.removesuffix('.npy'): info for info in archive.infolist()}
      pairs = _choose_arrays(given, tuple(infos))
      load = lambda name: _load_member(given, path, archive, infos[name])
      examples = [(split, load(name)) for split, name, _ in pairs]
      labels = [load(name) for _, _, name in pairs if name]
      names = tuple(map(str, load('class_names'))) if 'class_names' in infos else ()
  except (*_DAMAGE, NotNumbersError) as error:
    found = f' ({error})' if isinstance(error, NotNumbersError) else ''
    reason = f'it cannot be read as an .npz or .npy of numbers{found}; write it with numpy.savez'
    raise UserError(f'{given}: {reason}') from None
  return examples, labels if len(labels) == len(examples) else None, names


def _choose_arrays(given: str, names: tuple[str, ...]) -> list[tuple[str, str, str]]:
  """Returns (split, name of the examples, name of the labels or '') for each set of an .npz."""
  labels = [name for name in names if _base_name(name) in _LABEL_NAMES]
  others = [name for name in names if name not in labels and name != 'class_names']
  by_split = {
    split_of_file(name): name for name in others if _base_name(name) in ('', *_IMAGE_NAMES)
  }
  by_split.pop('', None)
  label_of = {split_of_file(name): name for name in labels}
  if 'train' in by_split and len(by_split) > 1:
    return [(split, name, label_of.get(split, '')) for split, name in by_split.items()]
  if len(others) == 1 or (not others and len(labels) == 1):
    (chosen,) = others or labels
    return [('', chosen, next((name for name in labels if name != chosen), ''))]
  known = next((name for name in _IMAGE_NAMES if name in others), None)
  if known is None:
    content = enumerate_names(names, 10) or 'nothing'
    raise UserError(f'{given}: it holds {content}; name the array images or samples')
  return [('', known, next(iter(labels), ''))]


def _base_name(name: str) -> str:
  """Returns the name of an array without the word that names its split: `x` of `x_train`."""
  words = [word for word in name.lower().replace('-', '_').split('_') if not split_of_file(word)]
  return '_'.join(words)


def _load_npy(path: Path) -> np.ndarray:
  with path.open('rb') as file:
    shape, is_fortran, dtype = _read_header(file, path.stat().st_size)
    return _map(path, file.tell(), shape, is_fortran, dtype)


def _load_member(
  given: str, path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> np.ndarray:
  """Reads a member of an .npz; one that is not compressed is memory-mapped."""
  if info.file_size > max(_SMALL, _MAX_COMPRESSION * info.compress_size):
    reason = f'{info.filename} grows from {info.compress_size:,} to {info.file_size:,} bytes'
    raise UserError(f'{given}: {reason}, as a decompression bomb does; write it with numpy.savez')
  with archive.open(info) as file:
    shape, is_fortran, dtype = _read_header(file, info.file_size)
    start = file.tell()
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      content = bytearray(info.file_size - start)
      if _read_into(file, content) < len(content):
        raise EOFError
      flat = np.frombuffer(content, dtype, math.prod(shape))
      return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
  with path.open('rb') as raw:
    # A zip member: a header of 30 bytes, whose last four are the lengths of the name and the extra
    # field that follow, then the content.
    raw.seek(info.header_offset + 26)
    raw.seek(sum(struct.unpack('<HH', raw.read(4))), os.SEEK_CUR)
    offset = raw.tell()
  if zlib.crc32(_map(path, offset, (info.file_size,), False, np.dtype(np.uint8)).data) != info.CRC:
    raise NotNumbersError('a checksum that is wrong')
  return _map(path, offset + start, shape, is_fortran, dtype)


def _read_into(file: IO[bytes], content: bytearray) -> int:
  view, n = memoryview(content), 0
  while n < len(view) and (part := file.read(min(2**20, len(view) - n))):
    view[n : n + len(part)] = part
    n += len(part)
  return n


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Reads the header of a .npy of `size` bytes; raises if the array does not fill the rest of them."""
  version = npy.read_magic(file)
  read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
  shape, is_fortran, dtype = read(file)
  if dtype.hasobject or dtype.names is not None:
    raise NotNumbersError('objects' if dtype.hasobject else 'records')
  if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != size - file.tell():
    raise NotNumbersError(f'a header of {list(shape)} that does not fit the file')
  return shape, is_fortran, dtype


def _map(
  path: Path, offset: int, shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype
) -> np.ndarray:
  if not math.prod(shape) or not dtype.itemsize:
    return np.zeros(shape, dtype)
  if offset + math.prod(shape) * dtype.itemsize > path.stat().st_size:
    raise EOFError
  mapped = np.memmap(path, dtype, 'r', offset, shape[::-1] if is_fortran else shape)
  return mapped.view(np.ndarray).T if is_fortran else mapped.view(np.ndarray)


def check_labels(given: str, labels: np.ndarray, n: int) -> list[int | str]:
  """Returns labels [n] as integers or strings from integers, strings or one-hot rows; raises UserError."""
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.ndim == 2 and labels.dtype.kind in 'buif' and _is_one_hot(labels):
    labels = labels.argmax(axis=1)
  if labels.dtype.kind == 'f' and labels.ndim == 1 and (labels == np.floor(labels)).all():
    labels = labels.astype(np.int64)
  if labels.dtype.kind not in 'biuUS' or labels.shape != (n,):
    found = f'labels {labels.dtype} {list(labels.shape)} for {n:,} examples'
    raise UserError(f'{given}: {found}; give one integer or name each, or --labels=none')
  if labels.dtype.kind == 'S':
    return [label.decode('utf-8', 'replace') for label in labels.tolist()]
  return [int(label) if labels.dtype.kind in 'bui' else label for label in labels.tolist()]


def _is_one_hot(labels: np.ndarray) -> bool:
  return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
