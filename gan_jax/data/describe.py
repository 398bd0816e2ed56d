"""Describes a data set in words: sizes, modes, classes, splits, duplicates, and what was left out."""

import hashlib
from collections.abc import Iterator

import numpy as np

from gan_jax.data.dataset import Dataset
from gan_jax.data.reader.options import SPLITS
from gan_jax.data.reader.summary import ReadSummary, common_counts, enumerate_names, shown

_MAX_CLASSES = 50  # listed one by one
GRID_IMAGES = 64


def describe_dataset(dataset: Dataset, summary: ReadSummary | None = None) -> str:
  """Returns several lines on a data set; `summary` tells what was read where it comes from files."""
  shape = 'x'.join(map(str, dataset.shape))
  counts = ', '.join(f'{len(getattr(dataset, split)):,} {split}' for split in SPLITS)
  lines = [f'{dataset.name}', f'  images      {shape}, uint8', f'  splits      {counts}']
  if summary is None:
    return '\n'.join([*lines, *_duplicate_lines(dataset), *_class_lines(dataset)])
  lines += [
    f'  read        {summary.n_images:,} of {summary.n_files:,} {summary.noun}s',
    f'  formats     {common_counts(summary.formats)}',
    f'  modes       {common_counts(summary.modes)}',
    f'  sizes       {common_counts(summary.sizes)}',
  ]
  if summary.conversions:
    lines.append(f'  converted   {common_counts(summary.conversions, 20)}')
  for reason, n in sorted(summary.n_left_out.items()):
    names = enumerate_names(name for name in summary.left_out[reason] if name)
    lines.append(f'  left out    {n:,} {reason}{f": {names}" if names else ""}')
  lines += [f'  note        {note}' for note in summary.notes]
  return '\n'.join([*lines, *_duplicate_lines(dataset), *_class_lines(dataset)])


def _duplicate_lines(dataset: Dataset) -> Iterator[str]:
  """Yields the number of images that equal another one, and of those in two splits."""
  hashes = {
    split: [
      hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in getattr(dataset, split)
    ]
    for split in SPLITS
  }
  n = sum(map(len, hashes.values()))
  sets = {split: set(each) for split, each in hashes.items()}
  shared = (sets['train'] & sets['validation']) | (
    sets['test'] & (sets['train'] | sets['validation'])
  )
  distinct = len(set.union(*sets.values()))
  yield f'  duplicates  {n - distinct:,} images equal an earlier one; {len(shared):,} stand in two splits'


def _class_lines(dataset: Dataset) -> Iterator[str]:
  """Yields the number of images of each class by split."""
  if dataset.train_labels is None:
    yield '  classes     none'
    return
  n = dataset.n_classes
  names = dataset.class_names or tuple(map(str, range(n)))
  yield f'  classes     {n:,}'
  labels = {split: getattr(dataset, f'{split}_labels') for split in SPLITS}
  by_split = {
    split: np.bincount(each if each is not None else np.zeros(0, np.int64), minlength=n)
    for split, each in labels.items()
  }
  for i in range(min(n, _MAX_CLASSES)):
    parts = ', '.join(f'{by_split[split][i]:,} {split}' for split in SPLITS)
    total = sum(int(by_split[split][i]) for split in SPLITS)
    yield f'    {shown(names[i])}: {total:,} ({parts})'
  if n > _MAX_CLASSES:
    yield f'    and {n - _MAX_CLASSES:,} more'


def example_images(dataset: Dataset) -> np.ndarray:
  """Returns 64 training images at regular distances, or all if there are fewer."""
  n = min(GRID_IMAGES, len(dataset.train))
  return dataset.train[np.linspace(0, len(dataset.train) - 1, n).astype(int)]
