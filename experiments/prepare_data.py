"""Download, verify and prepare a data set once, so that training can start at once.

python -m experiments.prepare_data --dataset=mnist --data_dir=data
"""

from absl import flags

from experiments import launcher
from gan_jax import data

_DATASET = flags.DEFINE_string(
  'dataset',
  'mnist',
  f'One of {", ".join(data.DATASETS)}, an image set of TFDS by its name, or folder:PATH for a '
  'folder of PNG and JPEG files.',
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, 'Folder or bucket of the data; by default GAN_JAX_DATA_DIR, else `data`.'
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 0, 'Cut images square and resample them to so many pixels a side; 0: as they are.'
)
_STRICT = flags.DEFINE_bool(
  'strict', False, 'Refuse a folder with a file that is no image, instead of skipping it.'
)


class _Silent(data.Progress):
  """Leaves out what the preparation has said already."""

  def log(self, line: str) -> None:
    """Say nothing."""


def main(argv: list[str]) -> None:
  """Prepare the data set that the flags name; raises UserError."""
  del argv
  data_dir = _DATA_DIR.value or data.default_data_dir()
  size, strict = _IMAGE_SIZE.value, _STRICT.value
  data.prepare_dataset(_DATASET.value, data_dir, image_size=size, strict=strict)
  dataset = data.load_dataset(_DATASET.value, data_dir, _Silent(), size, strict)
  counts = (len(dataset.train), len(dataset.validation), len(dataset.test))
  shape = 'x'.join(str(size) for size in dataset.shape)
  print('{}: {} train, {} validation, {} test images of {}'.format(dataset.name, *counts, shape))
  print(f'{dataset.name}: sha256 of the decoded arrays {dataset.fingerprint}')


if __name__ == '__main__':
  launcher.run(main)
