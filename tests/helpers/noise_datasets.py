"""Makes data sets of random images."""

import numpy as np

from gan_jax.data import Dataset


def noise_dataset(n_train, n_held_out, shape=(6, 6, 1), n_classes=0):
  """Returns a data set of random images, with labels in turn where there are classes."""
  arrays = {}
  for i, (split, n) in enumerate(
    (('train', n_train), ('validation', n_held_out), ('test', n_held_out))
  ):
    arrays[split] = np.random.default_rng(i).integers(0, 200, (n, *shape), np.uint8)
    arrays[f'{split}_labels'] = np.arange(n) % n_classes if n_classes else None
  return Dataset(name='noise', fingerprint='f00d', **arrays)
