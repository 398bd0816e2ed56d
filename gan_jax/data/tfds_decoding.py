"""Decodes a prepared TFDS folder of array_record files into arrays with train, validation and test splits."""

from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from gan_jax.data import dataset as dataset_lib, preparation, resizing
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

REMEDY = 'remove its folder and prepare it again, or name another --data_dir'
_CHUNK = 1000  # records read at once


def decode_splits(
  name: str, source: Path, folder: epath.Path, work: Path, progress: Progress, image_size: int = 0
) -> dict[str, np.ndarray]:
  """Decodes the images and labels of all splits, by the field names of `Dataset`; raises UserError.

  Without a validation split the last sixth of the training images becomes one; if there is only a training
  split, a fixed random tenth of it becomes the validation split and another tenth the test split.

  Reads the local folder `source`; error lines name the data set and `folder`, which may be the bucket that
  `source` was copied from. Images of unequal sizes are resized to `image_size` pixels a side, 0 refuses them.
  """
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(source)
    splits = builder.info.splits
  except Exception as error:  # of json, protobuf or TFDS
    raise UserError(f'{folder} cannot be read ({first_line(error)}): {REMEDY}') from error
  arrays: dict[str, np.ndarray] = {}
  for split in ('train', 'validation', 'test'):
    if split in splits:
      shape = _image_shape(name, builder.info.features, image_size)
      images, labels = _read_split(builder, split, shape, folder, work, progress)
      arrays[split] = images
      if labels is not None:
        arrays[f'{split}_labels'] = labels
  if 'train' in arrays and not {'validation', 'test'} & arrays.keys():
    return _divide_training_split(arrays, work)
  if not {'train', 'test'} <= arrays.keys():
    raise UserError(f'{name} has no train and test split: choose another --dataset')
  if 'validation' not in arrays:
    for key in [key for key in ('train', 'train_labels') if key in arrays]:
      n = len(arrays[key]) - len(arrays[key]) // 6
      arrays[key.replace('train', 'validation')] = arrays[key][n:]
      arrays[key] = arrays[key][:n]
  return arrays


def _divide_training_split(arrays: dict[str, np.ndarray], work: Path) -> dict[str, np.ndarray]:
  """Divides the training arrays 8 : 1 : 1 into three splits by a fixed permutation."""
  n = len(arrays['train'])
  # NumPy keeps the stream of a bit generator the same in all versions, that of `Generator` not.
  order, tenth = np.argsort(np.random.PCG64(0).random_raw(n), kind='stable'), max(n // 10, 2)
  parts = dict(train=order[2 * tenth :], validation=order[:tenth], test=order[tenth : 2 * tenth])
  divided = {}
  for split, indices in parts.items():
    images = preparation.disk_backed_zeros(work, (len(indices), *arrays['train'].shape[1:]))
    # In its default mode `take` would buffer the result in memory.
    divided[split] = np.take(arrays['train'], indices, axis=0, out=images, mode='clip')
    if 'train_labels' in arrays:
      divided[f'{split}_labels'] = arrays['train_labels'][indices]
  return divided


def _image_shape(name: str, features: Any, image_size: int) -> tuple[int, ...]:
  """Returns the shape (h, w, c) of decoded images; raises UserError without 8-bit images of one size."""
  shape = features['image'].shape if 'image' in features else (None,)
  if shape[-1] is None or features['image'].np_dtype != np.uint8:
    raise UserError(f'--dataset={name} holds no 8-bit images: choose another')
  if None not in shape:
    return tuple(shape)
  if not image_size:
    raise UserError(
      f'--dataset={name} holds images of unequal sizes: give --image_size, such as --image_size=64'
    )
  return image_size, image_size, shape[-1]


def _read_split(
  builder: Any,
  split: str,
  shape: tuple[int, ...],
  folder: epath.Path,
  work: Path,
  progress: Progress,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Reads images [n, *shape] and labels [n] (None unless there is one per image) of a split, in file order."""
  features = builder.info.features
  unequal = None in features['image'].shape
  labelled = 'label' in features and features['label'].shape == ()
  n = builder.info.splits[split].num_examples
  images, labels = preparation.disk_backed_zeros(work, (n, *shape)), np.empty(n, np.int64)
  starts = range(0, n, _CHUNK)
  try:
    records = builder.as_data_source(split=split)
    for start in progress.track(starts, len(starts), f'decoding {split}'):
      chunk = range(start, min(start + _CHUNK, n))
      for i, record in zip(chunk, records.__getitems__(chunk), strict=True):
        image = record['image']
        images[i] = resizing.crop_and_resize_array(image, shape[0]) if unequal else image
        if labelled:
          labels[i] = record['label']
  except Exception as error:  # of array_record, protobuf or Pillow
    files = ', '.join(str(folder / path.name) for path in builder.info.splits[split].filepaths)
    raise UserError(f'{files} cannot be read ({first_line(error)}): {REMEDY}') from error
  return images, labels if labelled else None


def resize_dataset(
  decoded: dataset_lib.Dataset, image_size: int, progress: Progress, work: Path
) -> dataset_lib.Dataset:
  """Returns the data set with images cropped and resized to `image_size` pixels a side."""
  arrays = decoded.arrays()
  for split in ('train', 'validation', 'test'):
    images = arrays[split]
    if images.shape[1:3] != (image_size, image_size):
      n, tracked = len(images), progress.track(images, len(images), f'resizing {split}')
      shape = (n, image_size, image_size, images.shape[-1])
      arrays[split] = preparation.disk_backed_zeros(work, shape)
      for row, image in zip(arrays[split], tracked, strict=True):
        row[:] = resizing.crop_and_resize_array(image, image_size)
  return dataset_lib.from_arrays(decoded.name, arrays)


def first_line(error: Exception) -> str:
  """Returns class and first message line of an exception."""
  return f'{type(error).__name__}: {error}'.strip().partition('\n')[0]
