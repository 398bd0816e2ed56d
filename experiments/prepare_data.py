"""Downloads, verifies and prepares a data set, so that training starts without delay.

python -m experiments.prepare_data --dataset=mnist --data_dir=data
"""

from absl import flags

from gan_jax import data

from . import command_line

_DATASET = flags.DEFINE_string(
  'dataset', 'mnist', f'One of {", ".join(data.DATASETS)}, a TFDS image set, or folder:PATH.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, 'Folder or bucket of the data; by default GAN_JAX_DATA_DIR, else `data`.'
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 0, 'Pixels a side to which images are cropped and resized; 0 keeps their size.'
)
_STRICT = flags.DEFINE_bool(
  'strict', False, 'Refuse a folder with a file that is not an image, instead of skipping the file.'
)


class _SilentProgress(data.Progress):
  """Drops log lines, which the preparation has printed already."""

  def log(self, line: str) -> None:
    """Does nothing."""


def main(argv: list[str]) -> None:
  """Prepares the data set and prints its size and fingerprint; raises UserError."""
  del argv
  data_dir = _DATA_DIR.value or data.default_data_dir()
  size, strict = _IMAGE_SIZE.value, _STRICT.value
  data.prepare_dataset(_DATASET.value, data_dir, image_size=size, strict=strict)
  dataset = data.load_dataset(_DATASET.value, data_dir, _SilentProgress(), size, strict)
  counts = (len(dataset.train), len(dataset.validation), len(dataset.test))
  shape = 'x'.join(str(size) for size in dataset.shape)
  print('{}: {} train, {} validation, {} test images of {}'.format(dataset.name, *counts, shape))
  print(f'{dataset.name}: sha256 of the decoded arrays {dataset.fingerprint}')


if __name__ == '__main__':
  command_line.run_script(main)
