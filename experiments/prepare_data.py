"""Download, verify and prepare a data set once, so that training can start at once.

python -m experiments.prepare_data --dataset=mnist --data_dir=data
"""

from absl import flags

from experiments import launcher
from gan_jax import data

_DATASET = flags.DEFINE_string(
  'dataset', 'mnist', f'One of {", ".join(data.DATASETS)}, or an image set of TFDS by its name.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir', None, 'Folder or bucket of the data; by default GAN_JAX_DATA_DIR, else `data`.'
)


def main(argv: list[str]) -> None:
  """Prepare the data set that the flags name; raises UserError."""
  del argv
  data_dir = _DATA_DIR.value or data.default_data_dir()
  data.prepare(_DATASET.value, data_dir)
  dataset = data.load(_DATASET.value, data_dir)
  counts = (len(dataset.train), len(dataset.validation), len(dataset.test))
  shape = 'x'.join(str(size) for size in dataset.train.shape[1:])
  print('{}: {} train, {} validation, {} test images of {}'.format(dataset.name, *counts, shape))
  print(f'{dataset.name}: sha256 of the decoded arrays {dataset.fingerprint}')


if __name__ == '__main__':
  launcher.run(main)
