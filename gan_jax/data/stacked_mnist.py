"""Stacked MNIST: random triples of digits as red, green and blue, 1000 modes (Metz et al., 2017)."""

import numpy as np

from gan_jax.data import dataset as dataset_lib

N_STACKED = 3
N_HELD_OUT = 10_000  # triples to validate with, and as many to test with


def stack_dataset(base: dataset_lib.Dataset, name: str, n: int = N_HELD_OUT) -> dataset_lib.Dataset:
  """The data set of triples of one-channel images: its parts to train on, n fixed triples held out.

  A split's triples are made of that split's images only, by a seed that never changes.
  """
  arrays = {'train': base.train}
  if base.train_labels is not None:
    arrays['train_labels'] = base.train_labels
  for seed, split in enumerate(('validation', 'test')):
    images, labels = getattr(base, split), getattr(base, f'{split}_labels')
    # A bit generator's stream is the same in every version of NumPy; its Generator's is not.
    bits = np.random.PCG64(seed).random_raw(N_STACKED * n)
    indices = (bits % np.uint64(len(images))).astype(np.int64).reshape(N_STACKED, n)
    arrays[split] = np.concatenate([images[row] for row in indices], axis=-1)
    if labels is not None:
      digits = labels[indices]
      arrays[f'{split}_labels'] = np.ravel_multi_index(tuple(digits), (base.n_classes,) * N_STACKED)
  return dataset_lib.from_arrays(name, arrays, N_STACKED)
