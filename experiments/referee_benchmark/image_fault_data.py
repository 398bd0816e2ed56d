"""Loads the image sets of the benchmark of image faults: data sets, folders of pictures, crops, and text."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from gan_jax import data

Rng = np.random.Generator


class ImageSet(NamedTuple):
  """Holds where a set of images comes from, and whether left and right differ in them."""

  load: Callable[['Sources', Rng, int], np.ndarray]  # uint8 [n, h, w, c], of at most n
  has_direction: bool = False


class Sources(NamedTuple):
  """Holds the folders of data."""

  data_dir: str
  pictures: str  # folder of pictures, each one example; '' for none
  photos: str  # folder of photographs, which are cut into crops; '' for none


def _dataset(name: str) -> Callable[[Sources, Rng, int], np.ndarray]:
  def load(sources: Sources, rng: Rng, n: int) -> np.ndarray:
    images = data.load_dataset(name, sources.data_dir).train
    return images[rng.permutation(len(images))[:n]]

  return load


def _files(folder: str) -> list[Path]:
  found = sorted(
    x for x in Path(folder).rglob('*') if x.suffix.lower() in ('.png', '.jpg', '.jpeg')
  )
  return found if folder else []


def _on_white(path: Path) -> Image.Image:
  image = Image.open(path).convert('RGBA')
  return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')


def _pictures(side: int, grey: bool = False) -> Callable[[Sources, Rng, int], np.ndarray]:
  """Returns a loader of pictures on white, each once, resized to `side` pixels by Lanczos' filter."""

  def load(sources: Sources, rng: Rng, n: int) -> np.ndarray:
    files = _files(sources.pictures)
    seen: dict[bytes, Image.Image] = {}
    for i in rng.permutation(len(files)):
      image = _on_white(files[i])
      seen.setdefault(image.tobytes(), image)
      if len(seen) == n:
        break
    resized = [image.resize((side, side), Image.Resampling.LANCZOS) for image in seen.values()]
    return _stack([image.convert('L') if grey else image for image in resized])

  return load


def _photos(side: int) -> Callable[[Sources, Rng, int], np.ndarray]:
  """Returns a loader of crops that do not overlap."""

  def crops(image: np.ndarray, rng: Rng) -> Iterator[np.ndarray]:
    y0, x0 = (int(rng.integers(0, size % side + 1)) for size in image.shape[:2])
    for y in range(y0, image.shape[0] - side + 1, side):
      for x in range(x0, image.shape[1] - side + 1, side):
        crop = image[y : y + side, x : x + side]
        if crop.std() > 8:
          yield crop

  def load(sources: Sources, rng: Rng, n: int) -> np.ndarray:
    images = [np.asarray(_on_white(path)) for path in _files(sources.photos)]
    found = [crop for image in images for crop in crops(image, rng)]
    return np.stack([found[i] for i in rng.permutation(len(found))[:n]])

  return load


def _text(side: int, colour: bool) -> Callable[[Sources, Rng, int], np.ndarray]:
  """Returns a loader of rendered words of three letters, of several sizes and colours."""

  def load(sources: Sources, rng: Rng, n: int) -> np.ndarray:
    del sources
    path = font_manager.findfont('DejaVu Sans')
    letters = list('abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPRSTUVZ234567')
    fonts = [ImageFont.truetype(path, round(side * scale)) for scale in (0.4, 0.45, 0.5)]
    images = []
    for _ in range(n):
      # Paper is yellowish and ink bluish: with equal channels their order could not be seen.
      paper, ink = np.sort(rng.integers(180, 256, 3))[::-1], np.sort(rng.integers(0, 90, 3))
      image = Image.new('RGB', (side, side), tuple(int(x) for x in paper))
      at = (int(rng.integers(0, max(side // 10, 1))), int(rng.integers(side // 6, side // 2)))
      word = ''.join(rng.choice(letters, 3))
      ImageDraw.Draw(image).text(
        at, word, fill=tuple(int(x) for x in ink), font=fonts[rng.integers(3)]
      )
      images.append(image if colour else image.convert('L'))
    return _stack(images)

  return load


def _stack(images: list[Image.Image]) -> np.ndarray:
  arrays = np.stack([np.asarray(image) for image in images])
  return arrays if arrays.ndim == 4 else arrays[..., None]


IMAGE_SETS = {
  'MNIST, 28': ImageSet(_dataset('mnist'), True),
  'Fashion-MNIST, 28': ImageSet(_dataset('fashion_mnist')),
  'text, 32, grey': ImageSet(_text(32, False), True),
  'text, 64': ImageSet(_text(64, True), True),
  'pictures, 32': ImageSet(_pictures(32)),
  'pictures, 64': ImageSet(_pictures(64)),
  'pictures, 64, grey': ImageSet(_pictures(64, grey=True)),
  'pictures, 128': ImageSet(_pictures(128)),
  'photographs, 32': ImageSet(_photos(32)),
  'photographs, 64': ImageSet(_photos(64)),
}
