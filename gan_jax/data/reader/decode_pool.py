"""Decodes the images of a source in threads into one file, so that memory holds a few images at a time."""

import collections
import concurrent.futures
import functools
import os
import threading
import warnings
from collections.abc import Iterator
from typing import IO, NamedTuple

from gan_jax.data.progress import Progress
from gan_jax.data.reader.entries import Entry, Source, UnreadableFileError
from gan_jax.data.reader.image_decoding import (
  DecodedImage,
  NotAnImageError,
  decode_image,
  suffix_of,
)
from gan_jax.data.reader.summary import NOT_IMAGES, OTHER, ReadSummary, common_counts

_CHUNK_FILES, _CHUNK_BYTES = 64, 2**22  # of one task
_MAX_BYTES = 2**28  # of files that are read and not yet decoded
_BUFFER = 2**22  # bytes of pixels that are written at once
_MAX_SIDE_FILE = 2**28  # bytes of a file of labels


class ImageRecord(NamedTuple):
  """Describes a decoded image: its names, and offset and shape of its pixels in the file."""

  name: str
  path: str
  split: str
  label: int | str | None
  offset: int
  shape: tuple[int, ...]


class _Result(NamedTuple):
  entry: Entry
  image: DecodedImage | None  # without its content
  offset: int
  reason: str


def n_cores() -> int:
  """Returns the number of cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class DecodePool:
  """Decodes the files of a source into `spool`, and counts them in `summary`.

  `side_files` holds the content of files of labels by name: dataset.json, and the .cls of WebDatasets.
  """

  def __init__(
    self, spool: IO[bytes], summary: ReadSummary, image_size: int, background: tuple[int, int, int]
  ) -> None:
    self._spool, self._summary = spool, summary
    self._decode = functools.partial(decode_image, image_size=image_size, background=background)
    self._end, self._lock = 0, threading.Lock()
    self.side_files: dict[str, bytes] = {}
    self.damaged: list[str] = []  # names of image files that cannot be read
    self._suffixes: collections.Counter[str] = collections.Counter()

  def decode(self, source: Source, progress: Progress) -> list[ImageRecord]:
    """Decodes all files, in their order; raises UserError where the source cannot be listed."""
    records: list[ImageRecord] = []
    entries = progress.track(source.entries(self._summary), source.n_files, 'decoding images')
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
      warnings.simplefilter('ignore')  # about large images and unusual metadata
      waiting: collections.deque[tuple[int, concurrent.futures.Future[list[_Result]]]] = (
        collections.deque()
      )
      n_bytes = 0
      for chunk, size in self._chunks(entries):
        waiting.append((size, threads.submit(self._decode_chunk, chunk)))
        n_bytes += size
        while len(waiting) > 2 * n_cores() or n_bytes > _MAX_BYTES:
          size, future = waiting.popleft()
          n_bytes -= size
          self._collect(future.result(), records)
          if not waiting:
            break
      for _, future in waiting:
        self._collect(future.result(), records)
    self._spool.flush()
    if self._suffixes:
      self._summary.notes.append(f'other files: {common_counts(self._suffixes, 4)}')
    return records

  def _chunks(self, entries: Iterator[Entry]) -> Iterator[tuple[list[Entry], int]]:
    chunk: list[Entry] = []
    n_bytes = 0
    for entry in entries:
      if entry.path.endswith('.cls') or entry.path.endswith('dataset.json'):
        self._read_side_file(entry)
        continue
      chunk.append(entry)
      n_bytes += entry.size
      if len(chunk) == _CHUNK_FILES or n_bytes > _CHUNK_BYTES:
        yield chunk, n_bytes
        chunk, n_bytes = [], 0
    if chunk:
      yield chunk, n_bytes

  def _read_side_file(self, entry: Entry) -> None:
    try:
      if entry.size > (64 if entry.path.endswith('.cls') else _MAX_SIDE_FILE):
        raise UnreadableFileError
      self.side_files[entry.name] = entry.load()
      self._summary.leave_out('files of labels', entry.name)
    except (OSError, UnreadableFileError):
      self._summary.leave_out(NOT_IMAGES, entry.name)

  def _decode_chunk(self, chunk: list[Entry]) -> list[_Result]:
    """Decodes files and writes their pixels; runs in a thread."""
    results: list[_Result] = []
    buffer: list[bytes] = []
    pending, n_bytes = 0, 0  # results and bytes that are not written yet
    for entry in chunk:
      try:
        image = self._decode(entry.load(), entry.name)
      except NotAnImageError as error:
        results.append(_Result(entry, None, 0, error.reason))
        continue
      except (UnreadableFileError, OSError):
        results.append(_Result(entry, None, 0, NOT_IMAGES))
        continue
      buffer.append(image.content)
      results.append(_Result(entry, DecodedImage(b'', *image[1:]), n_bytes, ''))
      n_bytes += len(buffer[-1])
      if n_bytes > _BUFFER:
        self._write(buffer, results, pending)
        buffer, pending, n_bytes = [], len(results), 0
    self._write(buffer, results, pending)
    return results

  def _write(self, buffer: list[bytes], results: list[_Result], first: int) -> None:
    """Writes pixels at the end of the file, and makes the offsets of results from `first` on absolute."""
    content = b''.join(buffer)
    with self._lock:
      start, self._end = self._end, self._end + len(content)
    view, offset = memoryview(content), start
    while view:
      n = os.pwrite(self._spool.fileno(), view, offset)
      view, offset = view[n:], offset + n
    for i in range(first, len(results)):
      entry, image, offset_in_buffer, reason = results[i]
      results[i] = _Result(entry, image, start + offset_in_buffer, reason)

  def _collect(self, results: list[_Result], records: list[ImageRecord]) -> None:
    """Counts decoded and other files in the order of the source."""
    summary = self._summary
    for entry, image, offset, reason in results:
      if image is None:
        summary.leave_out(reason, entry.name)
        if reason == OTHER:
          self._suffixes[suffix_of(entry.name) or 'no suffix'] += 1
        else:
          self.damaged.append(entry.name)
        continue
      summary.n_images += 1
      summary.formats[image.format] += 1
      summary.modes[image.mode] += 1
      summary.sizes[f'{image.size[0]}x{image.size[1]}'] += 1
      summary.conversions.update(image.conversions)
      records.append(
        ImageRecord(entry.name, entry.path, entry.split, entry.label, offset, image.shape)
      )
