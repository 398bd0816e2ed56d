"""Defines the options by which files are read, and checks them."""

import math
from typing import NamedTuple

import PIL.ImageColor

from gan_jax.utils.errors import UserError

LAYOUTS = ('auto', 'nhwc', 'nchw')  # choices of --layout
KINDS = ('auto', 'images', 'points')  # choices of --kind
MAX_PIXELS = 2**26  # of one image, 8192 x 8192: a larger one is left out before it is decoded
MAX_FILE_BYTES = 2**28  # of one image file
SPLITS = ('train', 'validation', 'test')
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)


class ReadOptions(NamedTuple):
  """Holds the options of reading; the fields are flags of the same names.

  Args:
    labels: `auto`, `none`, `folders`, or the path of a file of labels.
    background: the colour behind transparent pixels, by a name of CSS or as #rrggbb.
    layout: the axes of arrays of images, one of LAYOUTS.
    kind: what arrays hold, one of KINDS.
    split_fractions: fractions of training, validation and test images, as `0.8,0.1,0.1`; empty for the
      splits that the data bring, else for DEFAULT_FRACTIONS.
  """

  labels: str = 'auto'
  background: str = 'white'
  layout: str = 'auto'
  kind: str = 'auto'
  split_fractions: str = ''

  def background_color(self) -> tuple[int, int, int]:
    """Returns the background as (red, green, blue) in 0 to 255; raises UserError."""
    try:
      return PIL.ImageColor.getrgb(self.background)[:3]
    except ValueError:
      mend = 'give a name of CSS such as white, or #rrggbb'
      raise UserError(f'--background={self.background}: it is no colour; {mend}') from None

  def fractions(self) -> tuple[float, float, float]:
    """Returns the fractions of training, validation and test images; raises UserError."""
    if not self.split_fractions:
      return DEFAULT_FRACTIONS
    try:
      train, validation, test = (float(part) for part in self.split_fractions.split(','))
    except ValueError:
      train = validation = test = math.nan
    fractions = (train, validation, test)
    if not (all(part >= 0 for part in fractions) and train > 0 and abs(sum(fractions) - 1) < 1e-6):
      mend = 'give three numbers that add up to 1, as in 0.8,0.1,0.1; 1,0,0 trains on all'
      raise UserError(f'--split_fractions={self.split_fractions}: {mend}')
    return fractions

  def check(self) -> None:
    """Raises UserError for an invalid option."""
    self.background_color()
    self.fractions()
    for name, choices in (('layout', LAYOUTS), ('kind', KINDS)):
      if getattr(self, name) not in choices:
        raise UserError(f'--{name}={getattr(self, name)}: give one of {", ".join(choices)}')
