"""Reads the image files of a source: pixels, splits, and labels from the first place that has them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_jax.data.progress import Progress
from gan_jax.data.reader import class_labels, folder_layout
from gan_jax.data.reader.decode_pool import DecodePool, ImageRecord
from gan_jax.data.reader.entries import Source
from gan_jax.data.reader.folders import FolderSource
from gan_jax.data.reader.image_set import ImageSet, Pixels
from gan_jax.data.reader.options import ReadOptions
from gan_jax.data.reader.summary import ReadSummary, enumerate_names, plural
from gan_jax.utils.errors import UserError


def read_files(
  given: str,
  source: Source,
  options: ReadOptions,
  progress: Progress,
  image_size: int,
  work: Path | None,
) -> ImageSet:
  """Decodes the images of a source into an unnamed file in `work`; raises UserError if there is none."""
  summary = ReadSummary()
  with tempfile.TemporaryFile(dir=work) as spool:
    pool = DecodePool(spool, summary, image_size, options.background_color())
    records = pool.decode(source, progress)
    if 'transparent' in summary.conversions:
      summary.conversions[f'transparent, on {options.background}'] = summary.conversions.pop(
        'transparent'
      )
    if not records:
      what = 'this folder' if isinstance(source, FolderSource) else 'it'
      raise _nothing_error(f'{given}: {what} holds no image', given, summary, pool.damaged)
    mapped = np.memmap(spool, np.uint8, 'r').view(np.ndarray)
  offsets = np.fromiter((record.offset for record in records), np.int64, len(records))
  pixels = Pixels(mapped, offsets, [record.shape for record in records])
  labels, where, names = _source_labels(given, source, options, records, pool.side_files, summary)
  layout = folder_layout.find_layout(
    given,
    [record.path for record in records],
    [record.split for record in records],
    options.labels if options.labels in ('none', 'folders') else 'auto',
    where != '',
  )
  if options.split_fractions and any(layout.splits):
    summary.notes.append('--split_fractions puts the splits of the folders or files together')
  else:
    summary.notes += layout.split_notes
  summary.notes += layout.class_notes
  if layout.classes[0] is not None or any(layout.classes):
    labels, where = [str(each) for each in layout.classes], 'folder'
  rows = [i for i, keep in enumerate(layout.keep) if keep]
  for i, record in enumerate(records):
    if not layout.keep[i]:
      summary.leave_out(folder_layout.LEFT_OUT, record.name)
      summary.n_images -= 1
  numbers = None
  if labels is not None:
    numbers, names = class_labels.index_labels([labels[i] for i in rows], names)
    summary.notes.append(class_labels.classes_note(names, where))
  splits = [layout.splits[i] for i in rows]
  if options.split_fractions:
    splits = [''] * len(rows)
  return ImageSet(
    pixels.select(rows),
    [records[i].name for i in rows],
    splits,
    numbers,
    names if numbers is not None else (),
    summary,
    pool.damaged,
  )


def _nothing_error(
  start: str, given: str, summary: ReadSummary, damaged: Sequence[str]
) -> UserError:
  if not summary.n_files:
    return UserError(f'{start}; name another')
  if damaged:
    reason = f'none of {plural(len(damaged), "file")} is an image that Pillow can read'
    first = f'{enumerate_names(damaged[:1])} cannot be read as an image'
    return UserError(f'{given}: {reason}: {first}; take it out')
  return UserError(f'{start}: {summary.line()}; name another')


def _source_labels(
  given: str,
  source: Source,
  options: ReadOptions,
  records: Sequence[ImageRecord],
  side_files: dict[str, bytes],
  summary: ReadSummary,
) -> tuple[Sequence[class_labels.Label] | None, str, tuple[str, ...]]:
  """Returns the labels that a file or the source gives, where they are from ('' to ask folders), and names."""
  names = [record.name for record in records]
  if options.labels in ('none', 'folders'):
    return None, '', ()
  if options.labels != 'auto':
    return class_labels.labels_of_file(given, names, options.labels), 'file of labels', ()
  labels = [record.label for record in records]
  if all(label is not None for label in labels):
    return [label for label in labels if label is not None], 'column of labels', source.class_names
  found = class_labels.labels_of_webdataset(names, side_files)
  if found is not None:
    return found, '.cls files', ()
  jsons = [path for path in side_files if not path.endswith('.cls')]
  if jsons:
    path = min(jsons, key=lambda each: each.count('/'))
    root = path[: len(path) - len('dataset.json')]
    below = [each.removeprefix(root) for each in names]
    is_stylegan, found = class_labels.labels_of_dataset_json(given, below, side_files[path])
    if is_stylegan:
      if found is None:
        summary.notes.append('dataset.json says that there are no labels')
      return found, 'dataset.json', ()
  return None, '', ()
