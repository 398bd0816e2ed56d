"""Reads paths as training does, and writes small images."""

import io
import pathlib

import numpy as np
import PIL.Image
import pytest

from gan_jax.data import reader
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 8, 6, 3)).astype(np.uint8)
GREY = PIXELS[..., :1]


def read(path, image_size=0, drop_nonfinite=False, **options):
  """Returns the images or points of a path, as `DataPath.read` does."""
  data = reader.DataPath(f'--real={path}', reader.resolve_path(f'--real={path}', str(path)))
  return data.read(reader.ReadOptions(**options), Progress(), image_size, None, drop_nonfinite)


def stacked(images):
  """Returns the images of a set as uint8 [n, h, w, c]."""
  n, shape = len(images.pixels), images.common_shape('--real', 0)
  return images.stack(range(n), np.empty((n, *shape), np.uint8))


def refusal(path, **options):
  """Returns the line by which a path is refused."""
  with pytest.raises(UserError) as error:
    stacked(read(path, **options))
  message = str(error.value)
  assert '\n' not in message
  assert '; ' in message or ', or ' in message  # what was found, and the mend
  return message


def png(pixels, **options):
  """Returns pixels uint8 [h, w], [h, w, 1] or [h, w, 3] as a PNG file."""
  return encoded(
    PIL.Image.fromarray(np.squeeze(pixels, 2) if pixels.shape[2:] == (1,) else pixels), **options
  )


def encoded(image, kind='PNG', **options):
  """Returns an image of Pillow as the content of a file."""
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def write_tree(root, files):
  """Writes files by relative path: bytes, text, or the number of an image in PIXELS."""
  for name, content in files.items():
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, int):
      content = png(PIXELS[content])
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return pathlib.Path(root)
