"""Builds Stacked MNIST: random triples of digits as RGB channels, 1000 modes (Metz et al., 2017)."""

import numpy as np

from gan_jax.data import dataset as dataset_lib

N_STACKED = 3  # images per stack
N_HELD_OUT = 10_000  # stacks for validation, and as many for test


def stack_dataset(base: dataset_lib.Dataset, name: str, n: int = N_HELD_OUT) -> dataset_lib.Dataset:
  """Returns a data set of stacked triples of the one-channel images of `base`.

  Training stacks are drawn anew in each batch. The validation and test splits hold n fixed stacks each,
  drawn with constant seeds from the images of the same split.
  """
  arrays = {'train': base.train}
  if base.train_labels is not None:
    arrays['train_labels'] = base.train_labels
  for seed, split in enumerate(('validation', 'test')):
    images, labels = getattr(base, split), getattr(base, f'{split}_labels')
    # NumPy keeps the stream of a bit generator the same in all versions, that of `Generator` not.
    bits = np.random.PCG64(seed).random_raw(N_STACKED * n)
    indices = (bits % np.uint64(len(images))).astype(np.int64).reshape(N_STACKED, n)
    arrays[split] = np.concatenate([images[row] for row in indices], axis=-1)
    if labels is not None:
      digits = labels[indices]
      arrays[f'{split}_labels'] = np.ravel_multi_index(tuple(digits), (base.n_classes,) * N_STACKED)
  return dataset_lib.from_arrays(name, arrays, N_STACKED)
