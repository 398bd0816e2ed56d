"""Reads the arrays of a .npz or .npy file as images, with splits and labels, or as points."""

from pathlib import Path

import numpy as np

from gan_jax.data import preparation, resizing
from gan_jax.data.reader import array_conversion, array_files, class_labels
from gan_jax.data.reader.image_set import ImageSet, pixels_of_array
from gan_jax.data.reader.options import ReadOptions
from gan_jax.data.reader.summary import ReadSummary
from gan_jax.utils.errors import UserError


def read_arrays(
  given: str,
  path: Path,
  options: ReadOptions,
  image_size: int,
  work: Path | None,
  drop_nonfinite: bool,
) -> ImageSet | tuple[np.ndarray, ReadSummary]:
  """Returns images, or points float32 [n, ...] with a summary; raises UserError.

  `drop_nonfinite` leaves out rows with numbers that are not finite, which are an error otherwise.
  """
  summary = ReadSummary(noun='row')
  arrays, label_arrays, names = array_files.read_array_file(given, path)
  allocate = lambda shape: (
    np.empty(shape, np.uint8) if work is None else preparation.disk_backed_zeros(work, shape)
  )
  labels: list[class_labels.Label] = []
  converted, splits = [], []
  for i, (split, x) in enumerate(arrays):
    if x.ndim and label_arrays is not None and options.labels == 'auto':
      labels += array_files.check_labels(given, label_arrays[i], len(x))
    rows = _finite_rows(given, x, summary, drop_nonfinite)
    if rows is not None:
      x = x[rows]
      labels = (
        [label for label, keep in zip(labels, rows, strict=True) if keep] if labels else labels
      )
    note = summary.notes.append
    converted.append(array_conversion.convert_array(given, x, options, note, allocate))
    splits += [split] * len(x)
  examples = _join(given, converted)
  summary.n_images = len(examples)
  if examples.dtype != np.uint8:
    return examples, summary
  summary.formats[path.suffix.removeprefix('.').upper() or 'NPY'] = len(examples)
  summary.modes[str(arrays[0][1].dtype)] = len(examples)
  summary.sizes[f'{examples.shape[2]}x{examples.shape[1]}'] = len(examples)
  if image_size and examples.shape[1:3] != (image_size, image_size):
    shape = (len(examples), image_size, image_size, examples.shape[3])
    examples = _resize(examples, allocate(shape))
  if any(splits):
    counts = {split: splits.count(split) for split in dict.fromkeys(splits)}
    summary.notes.append('splits by array: ' + ', '.join(f'{s} {n:,}' for s, n in counts.items()))
  numbers = None
  if options.labels not in ('auto', 'none'):
    labels = _labels_of_file(given, options.labels, len(examples))
  if labels:
    numbers, names = class_labels.index_labels(labels, names)
    summary.notes.append(class_labels.classes_note(names, 'array of labels'))
  if options.split_fractions:
    splits = [''] * len(splits)
  return ImageSet(pixels_of_array(examples), [], splits, numbers, names if labels else (), summary)


def _finite_rows(
  given: str, x: np.ndarray, summary: ReadSummary, drop_nonfinite: bool
) -> np.ndarray | None:
  """Returns which rows are finite, None if all are; raises UserError where they may not be left out."""
  if x.ndim < 2 or not x.size or x.dtype.kind != 'f':
    return None
  finite = array_conversion.finite_rows(x)
  if finite.all():
    return None
  n = len(x) - int(finite.sum())
  if not drop_nonfinite or n == len(x):
    mend = 'take them out'
    raise UserError(f'{given}: {n:,} of {len(x):,} examples hold infinite or NaN numbers; {mend}')
  summary.leave_out('that hold infinite or NaN numbers', '', n)
  summary.notes.append(f'{n:,} of {len(x):,} samples hold infinite or NaN numbers and are left out')
  return finite


def _join(given: str, arrays: list[np.ndarray]) -> np.ndarray:
  kinds = {(x.dtype.name, x.shape[1:]) for x in arrays}
  if len(kinds) > 1:
    found = ', '.join(f'{x.dtype} {list(x.shape)}' for x in arrays)
    raise UserError(f'{given}: its splits differ ({found}); give arrays of one shape and kind')
  return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _resize(images: np.ndarray, out: np.ndarray) -> np.ndarray:
  for row, image in zip(out, images, strict=True):
    row[:] = resizing.crop_and_resize_array(np.ascontiguousarray(image), len(row))
  return out


def _labels_of_file(given: str, file: str, n: int) -> list[class_labels.Label]:
  """Returns the labels of the rows of an array by a .npy or .npz file of one label each."""
  path, shown = Path(file).expanduser(), f'--labels={file}'
  if file == 'folders' or not path.is_file():
    found = 'an array has no folders' if file == 'folders' else 'there is no such file'
    raise UserError(f'{given}: {shown}: {found}; give none, or a .npy of one label for each row')
  arrays, _, _ = array_files.read_array_file(shown, path)
  return array_files.check_labels(shown, arrays[0][1], n)
