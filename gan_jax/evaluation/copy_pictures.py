"""Draws samples beside the training images that they are closest to, with the difference in words."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 3  # pairs in a row
_SIDE = 144  # pixels of each image
_GAP, _CAPTION = 8, 44  # pixels between images, and of the words below a pair
_LETTERS, _FONT_SIZE = 36, 16  # of a line of words; a report shows the picture at half its size
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)


def draw_copies(
  samples: np.ndarray, examples: np.ndarray, how: Sequence[str], distances: Sequence[float]
) -> Image.Image:
  """Draws each of `samples` with the one of `examples` at its place to the right, uint8 [n, h, w, c].

  Below a pair stand `how` the two differ, as `copy_search.CopyReport.pairs` says it, and their distance.
  """
  width, height = 2 * _SIDE + 3 * _GAP, _SIDE + _CAPTION + _GAP
  n_rows = -(-len(samples) // _COLUMNS)
  columns = min(len(samples), _COLUMNS)
  picture = Image.new('RGB', (columns * width, n_rows * height), _PAPER)
  draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_SIZE)
  for i, (sample, example) in enumerate(zip(samples, examples, strict=True)):
    left, top = i % _COLUMNS * width + _GAP, i // _COLUMNS * height + _GAP
    picture.paste(_square(sample), (left, top))
    picture.paste(_square(example), (left + _SIDE + 2, top))
    words = how[i] if len(how[i]) <= _LETTERS else f'{how[i][: _LETTERS - 3]}...'
    draw.text((left, top + _SIDE + 2), words, _INK, font)
    draw.text((left, top + _SIDE + 20), f'distance {distances[i]:.3f}', _FAINT, font)
  return picture


def _square(image: np.ndarray) -> Image.Image:
  """Enlarges or shrinks an image uint8 [h, w, c] to a square of colour."""
  colour = (
    image if image.shape[2] == 3 else np.rint(image.mean(axis=2, keepdims=True)).repeat(3, axis=2)
  )
  h, w = image.shape[:2]
  method = Image.Resampling.NEAREST if max(h, w) <= _SIDE else Image.Resampling.BOX
  return Image.fromarray(colour.astype(np.uint8)).resize((_SIDE, _SIDE), method)
