"""Prepares a data set, so that training starts without delay, and describes it.

  python -m experiments.prepare_data --dataset=mnist --data_dir=data
  python -m experiments.prepare_data --dataset=folder:photos --image_size=64 --describe

Prints sizes and a fingerprint. --describe adds sizes and modes of the files, classes, duplicates
and what was left out, and writes a grid of 64 images.
"""

import io

import PIL.Image
from absl import flags
from etils import epath

from gan_jax import data
from gan_jax.data import describe, image_arrays, image_files, reader
from gan_jax.data.reader import ReadOptions

from . import command_line, reading_flags

_DATASET = flags.DEFINE_string(
  'dataset',
  'mnist',
  f'One of {", ".join(data.DATASETS)}, a TFDS image set, folder:PATH, zip:PATH or the like.',
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, 'Folder or bucket of the data; by default GAN_JAX_DATA_DIR, else `data`.'
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 0, 'Pixels a side to which images are cropped and resized; 0 keeps their size.'
)
_STRICT = flags.DEFINE_bool(
  'strict', False, 'Refuse an image file that cannot be read, instead of leaving it out.'
)
_DESCRIBE = flags.DEFINE_bool('describe', False, 'Describe the data and write a grid of images.')
_OPTIONS = reading_flags.define_reading_flags()
_DESCRIBED_SIZE = 64  # where images differ in size and --image_size is missing


class _SilentProgress(data.Progress):
  """Drops log lines, which the preparation has printed already."""

  def log(self, line: str) -> None:
    """Does nothing."""


def main(argv: list[str]) -> None:
  """Prepares the data set and prints its size and fingerprint; raises UserError."""
  del argv
  data_dir, options, size = (
    _DATA_DIR.value or data.default_data_dir(),
    _OPTIONS(),
    _IMAGE_SIZE.value,
  )
  try:
    dataset = _prepare(data_dir, size, options)
  except reader.MixedSizesError as error:
    if not _DESCRIBE.value:
      raise
    size = _DESCRIBED_SIZE
    dataset = _prepare(data_dir, size, options)
    print(f'note: {error}; described at --image_size={size}')
  if _DESCRIBE.value:
    _describe(dataset, data_dir, size, options)
  counts = (len(dataset.train), len(dataset.validation), len(dataset.test))
  shape = 'x'.join(str(side) for side in dataset.shape)
  print('{}: {} train, {} validation, {} test images of {}'.format(dataset.name, *counts, shape))
  print(f'{dataset.name}: sha256 of the decoded arrays {dataset.fingerprint}')


def _prepare(data_dir: epath.PathLike, size: int, options: ReadOptions) -> data.Dataset:
  name, strict = _DATASET.value, _STRICT.value
  data.prepare_dataset(name, data_dir, image_size=size, strict=strict, options=options)
  return data.load_dataset(name, data_dir, _SilentProgress(), size, strict, options)


def _describe(
  dataset: data.Dataset, data_dir: epath.PathLike, size: int, options: ReadOptions
) -> None:
  """Prints the description of a data set, and writes a grid of its images beside the prepared data."""
  folder, summary = epath.Path(data_dir), None
  if image_files.is_path_name(dataset.name):
    folder = image_files.image_files_cache(dataset.name, folder)
    summary = image_files.load_summary(dataset.name, epath.Path(data_dir), size, options)
  print(describe.describe_dataset(dataset, summary))
  images = image_arrays.image_grid(describe.example_images(dataset))
  file = io.BytesIO()
  PIL.Image.fromarray(images[..., 0] if images.shape[-1] == 1 else images[..., :3]).save(
    file, 'PNG'
  )
  path = folder / ('grid.png' if summary else f'{dataset.name.replace("/", "-")}-grid.png')
  path.write_bytes(file.getvalue())
  print(f'  grid        {path}')


if __name__ == '__main__':
  command_line.run_script(main)
