"""Embeds the pictures of a report: samples, the places that betray them, and the closest training examples."""

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from gan_jax.training.report.run_charts import ScoreCurve
from gan_jax.utils.files import write_atomically

_MAX_BYTES = 600_000  # of a picture that is embedded unchanged
_MAX_SIDE = 900  # pixels of a picture that is made smaller
_SAMPLE_PICTURES = ('grid', 'points')  # of image data, of a synthetic distribution
_NEIGHBOURS_NOTE = (
  'Samples in odd columns, each with its nearest training image to the right. A generator that memorises '
  'shows pairs of equal images.'
)
# {kind: (caption, note)}
_OF_VERDICT = {
  'difference': (
    'Where samples and data differ',
    'Top: held-out images. Bottom: samples. Below each is its copy in grey: orange marks the pixels by which a '
    'fresh discriminator tells the two sets apart.',
  ),
  'copies': (
    'Samples beside the training examples closest to them',
    'A sample, and to its right the training example closest to it. Only a pair that looks like one picture '
    'twice is a copy.',
  ),
}


class Picture(NamedTuple):
  """Holds an embedded picture with its caption."""

  caption: str
  source: str  # a data URI
  width: int  # pixels
  height: int
  note: str = ''


def sample_pictures(folder: Path, curve: ScoreCurve | None) -> list[Picture]:
  """Embeds samples of the best step (else the first) and the last step, and the newest nearest neighbours."""
  paths: dict[str, Path] = {}
  kind = next((kind for kind in _SAMPLE_PICTURES if _picture_paths(folder, kind)), '')
  if by_step := _picture_paths(folder, kind):
    first, last, best = min(by_step), max(by_step), curve.steps[curve.best_index] if curve else None
    if best in by_step and best != last:
      paths[f'best, step {best:,}'] = by_step[best]
    elif first != last:
      paths[f'first, step {first:,}'] = by_step[first]
    paths[f'{"best and last" if best == last else "last"}, step {last:,}'] = by_step[last]
  pictures = [_embed_file(path, f'Samples: {caption}') for caption, path in paths.items()]
  if by_step := _picture_paths(folder, 'neighbours'):
    caption = f'Nearest training images, step {max(by_step):,}'
    pictures.append(_embed_file(by_step[max(by_step)], caption, _NEIGHBOURS_NOTE))
  return [picture for picture in pictures if picture]


def verdict_pictures(folder: Path, step: Any) -> list[Picture]:
  """Embeds samples/KIND_STEP.png of each kind that explains a verdict on the checkpoint at `step`."""
  files = ((_picture_paths(folder, kind).get(step), *words) for kind, words in _OF_VERDICT.items())
  pictures = [_embed_file(path, *words) for path, *words in files if path]
  return [picture for picture in pictures if picture]


def save_verdict_pictures(folder: Path, step: int, images: Mapping[str, Image.Image]) -> None:
  """Writes samples/KIND_STEP.png of `images` by kind, and removes those of an earlier verdict at `step`."""
  for kind in _OF_VERDICT:
    path = folder / 'samples' / f'{kind}_{step:08d}.png'
    if kind in images:
      path.parent.mkdir(exist_ok=True)
      write_atomically(path, _png(images[kind]))
    else:
      path.unlink(missing_ok=True)


def embed_images(images: Mapping[str, Image.Image]) -> list[Picture]:
  """Embeds images by kind, 'difference' or 'copies', with the captions that a run's report gives them."""
  pictures = []
  for kind, (caption, note) in _OF_VERDICT.items():
    if kind in images:
      pictures.append(_embed(_png(images[kind]), caption, note))
  return pictures


def _png(image: Image.Image) -> bytes:
  file = io.BytesIO()
  image.save(file, 'png')
  return file.getvalue()


def _picture_paths(folder: Path, kind: str) -> dict[int, Path]:
  """Returns {step: path} of samples/KIND_STEP.png."""
  matches = ((re.fullmatch(rf'{kind}_(\d+)', p.stem), p) for p in folder.glob('samples/*.png'))
  return {int(match[1]): path for match, path in matches if match}


def _embed_file(path: Path, caption: str, note: str = '') -> Picture | None:
  """Embeds the picture in a file; returns None for a damaged one."""
  try:
    return _embed(path.read_bytes(), caption, note)
  except (OSError, ValueError, SyntaxError):
    return None


def _embed(data: bytes, caption: str, note: str) -> Picture:
  """Embeds a PNG, a large one as a smaller JPEG."""
  with Image.open(io.BytesIO(data)) as image:
    image.load()
    kind, (width, height) = 'png', image.size
    if len(data) > _MAX_BYTES:
      small, file = image.convert('RGB'), io.BytesIO()
      small.thumbnail((_MAX_SIDE, _MAX_SIDE))
      small.save(file, 'jpeg', quality=88)
      kind, (width, height), data = 'jpeg', small.size, file.getvalue()
      note += ' Made smaller for this page.'
  source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  return Picture(caption, source, width, height, note)
