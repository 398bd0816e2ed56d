"""Lists the files of a .zip archive, whose content is read in place and never unpacked."""

import functools
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gan_jax.data.reader.entries import (
  Entry,
  UnreadableFileError,
  clean_path,
  file_stamp,
  is_hidden,
  short_reason,
)
from gan_jax.data.reader.options import MAX_FILE_BYTES
from gan_jax.data.reader.summary import HIDDEN, TOO_LARGE, ReadSummary
from gan_jax.utils.errors import UserError

_HEADER = struct.Struct('<4s22xHH')  # signature, and lengths of the name and the extra fields


class ZipSource:
  """Lists the files of a .zip archive; raises UserError if its directory cannot be read."""

  class_names: tuple[str, ...] = ()
  n_files: int | None = None

  def __init__(self, given: str, path: Path) -> None:
    self._path = path
    try:
      with zipfile.ZipFile(path) as archive:
        self._members = sorted(archive.infolist(), key=lambda info: info.filename)
      self.n_files = len(self._members)
    except Exception as error:  # zipfile raises many kinds on damaged archives
      raise UserError(
        f'{given}: it cannot be read as a .zip ({short_reason(error)}); copy it again'
      ) from None

  def stamp(self) -> str:
    """Returns the SHA-256 of the archive's size and modification time."""
    return file_stamp(self._path)

  def entries(self, summary: ReadSummary) -> Iterator[Entry]:
    """Yields the files in alphabetical order."""
    for info in self._members:
      path = clean_path(info.filename)
      if not path or info.filename.endswith('/'):
        continue
      if any(map(is_hidden, path.split('/'))):
        summary.leave_out(HIDDEN, path)
      elif info.flag_bits & 1:
        summary.leave_out('encrypted', path)
      elif (info.external_attr >> 16) & 0o170000 == 0o120000:
        summary.leave_out('links of an archive', path)
      elif info.file_size > MAX_FILE_BYTES:
        summary.leave_out(TOO_LARGE, path)
      else:
        yield Entry(path, functools.partial(_read_member, self._path, info), info.file_size, path)


def _read_member(path: Path, info: zipfile.ZipInfo) -> bytes:
  """Returns the content of a member of a .zip; raises UnreadableFileError.

  It is read at its offset, at a quarter of the cost of `ZipFile.open`.
  """
  try:
    content = _read_compressed(path, info)
    if info.compress_type == zipfile.ZIP_DEFLATED:
      content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size + 1)
    elif info.compress_type != zipfile.ZIP_STORED:
      with zipfile.ZipExtFile(io.BytesIO(content), 'r', info) as file:
        content = file.read(info.file_size)
  except Exception as error:  # of zipfile and of its decompressors
    raise UnreadableFileError(short_reason(error)) from error
  if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
    raise UnreadableFileError('its checksum is wrong')
  return content


def _read_compressed(path: Path, info: zipfile.ZipInfo) -> bytes:
  """Returns the bytes of a member, which follow a header of 30 bytes, a name and extra fields."""
  if info.compress_size > MAX_FILE_BYTES:
    raise ValueError('too large')
  guess = len(info.filename.encode('utf-8', 'surrogateescape')) + len(info.extra)
  file = os.open(path, os.O_RDONLY)
  try:
    block = os.pread(file, _HEADER.size + guess + info.compress_size, info.header_offset)
    signature, name_length, extra_length = _HEADER.unpack_from(block)
    if signature != b'PK\3\4':
      raise ValueError('a wrong header')
    start = _HEADER.size + name_length + extra_length
    if start + info.compress_size > len(block):
      return os.pread(file, info.compress_size, info.header_offset + start)
    return block[start : start + info.compress_size]
  finally:
    os.close(file)
