"""Reads images and points in folders, archives, arrays and tables: the same for training and diagnosis."""

from gan_jax.data.reader.image_set import ImageSet, MixedSizesError
from gan_jax.data.reader.options import KINDS, LAYOUTS, ReadOptions
from gan_jax.data.reader.read import PREFIXES, DataPath, resolve_path, strip_prefix
from gan_jax.data.reader.summary import ReadSummary

__all__ = [
  'KINDS',
  'LAYOUTS',
  'PREFIXES',
  'DataPath',
  'ImageSet',
  'MixedSizesError',
  'ReadOptions',
  'ReadSummary',
  'resolve_path',
  'strip_prefix',
]
