"""Makes random folders of images with damage, odd names, links and nesting, and says what they hold."""

import collections
import dataclasses
import io
import os
import pathlib

import numpy as np
import PIL.Image

from gan_jax.data.reader.summary import HIDDEN, NOT_IMAGES, OTHER

NAMES = (
  'plain',
  'with space',
  'Übung',
  'zeilen\numbruch',
  'tab\there',
  "quo'te",
  '日本',
  'a.b.c',
  '-dash',
  'x' * 90,
)
WHITE = np.full(3, 255, np.uint8)


@dataclasses.dataclass
class MadeFolder:
  """Holds a folder, the pixels of each image in it, and the number of other files by reason."""

  path: pathlib.Path
  images: list[np.ndarray] = dataclasses.field(default_factory=list)  # uint8 [h, w] or [h, w, 3]
  left_out: collections.Counter = dataclasses.field(default_factory=collections.Counter)

  @property
  def n_files(self) -> int:
    return len(self.images) + sum(self.left_out.values())


def make_folder(path: pathlib.Path, seed: int) -> MadeFolder:
  """Writes 12 to 30 images of one size, or of several in a third of the folders, and other files."""
  rng = np.random.default_rng(seed)
  made = MadeFolder(path)
  path.mkdir(parents=True)
  folders = [path]
  for _ in range(rng.integers(0, 4)):
    parent = folders[rng.integers(len(folders))]
    folders.append(parent / f'{rng.choice(NAMES)} {len(folders)}')
    folders[-1].mkdir()
  sizes = rng.integers(2, 20, (1 if seed % 3 else 4, 2))
  grey_only = rng.random() < 0.2
  for i in range(rng.integers(12, 31)):
    folder = folders[rng.integers(len(folders))]
    h, w = sizes[rng.integers(len(sizes))]
    content, suffix, pixels = _WRITERS[rng.integers(len(_GREY) if grey_only else len(_WRITERS))](
      rng, h, w
    )
    if rng.random() < 0.15:
      suffix = str(rng.choice(['', '.dat', '.jpg', '.txt', '.PNG']))
    (folder / f'{rng.choice(NAMES)}{i}{suffix}').write_bytes(content)
    made.images.append(pixels)
  for i in range(rng.integers(0, 8)):
    _STRANGERS[rng.integers(len(_STRANGERS))](rng, folders[rng.integers(len(folders))], i, made)
  if rng.random() < 0.3:
    _link_images(rng, path, made)
  return made


def _noise(rng, *shape):
  return rng.integers(0, 256, shape, np.uint8)


def _saved(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def _grey(rng, h, w):
  pixels = _noise(rng, h, w)
  kind = str(rng.choice(['PNG', 'BMP', 'TIFF', 'PPM']))
  return _saved(PIL.Image.fromarray(pixels), kind), f'.{kind.lower()}', pixels


def _deep(rng, h, w):
  pixels = _noise(rng, h, w)
  kind = str(rng.choice(['PNG', 'TIFF']))
  return (
    _saved(PIL.Image.fromarray(pixels.astype(np.uint16) * 257), kind),
    f'.{kind.lower()}',
    pixels,
  )


def _bits(rng, h, w):
  pixels = _noise(rng, h, w) // 128 * 255
  return _saved(PIL.Image.fromarray(pixels).convert('1'), 'PNG'), '.png', pixels


def _grey_alpha(rng, h, w):
  pixels, alpha = _noise(rng, h, w), _noise(rng, h, w) // 128 * 255
  image = PIL.Image.fromarray(np.dstack([pixels, alpha]), 'LA')
  return _saved(image, 'PNG'), '.png', np.where(alpha > 0, pixels, 255).astype(np.uint8)


def _rgb(rng, h, w):
  pixels = _noise(rng, h, w, 3)
  kind = str(rng.choice(['PNG', 'BMP', 'TIFF', 'PPM', 'TGA', 'WEBP', 'QOI']))
  options = {'lossless': True} if kind == 'WEBP' else {}
  if kind == 'QOI':  # which Pillow reads, and of which it writes RGB only in later versions
    kind = 'PNG'
  return _saved(PIL.Image.fromarray(pixels), kind, **options), f'.{kind.lower()}', pixels


def _rgba(rng, h, w):
  pixels, alpha = _noise(rng, h, w, 3), _noise(rng, h, w) // 128 * 255
  image = PIL.Image.fromarray(np.dstack([pixels, alpha]))
  kind = str(rng.choice(['PNG', 'WEBP']))
  options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
  flat = np.where(alpha[..., None] > 0, pixels, WHITE).astype(np.uint8)
  return _saved(image, kind, **options), f'.{kind.lower()}', flat


def _palette(rng, h, w):
  indices, table = _noise(rng, h, w) // 16, _noise(rng, 16, 3)
  image = PIL.Image.fromarray(indices, 'P')
  image.putpalette(table.ravel().tolist())
  kind = str(rng.choice(['PNG', 'GIF']))
  return _saved(image, kind), f'.{kind.lower()}', table[indices]


def _cmyk(rng, h, w):
  image = PIL.Image.fromarray(_noise(rng, h, w, 4), 'CMYK')
  return _saved(image, 'TIFF'), '.tif', np.asarray(image.convert('RGB'))


def _jpeg(rng, h, w):
  content = _saved(PIL.Image.fromarray(_noise(rng, h, w, 3)), 'JPEG')
  return content, '.jpeg', np.asarray(PIL.Image.open(io.BytesIO(content)))


def _rotated(rng, h, w):
  pixels, turn = _noise(rng, h, w, 3), int(rng.integers(0, 4))
  exif = PIL.Image.Exif()
  exif[0x0112] = (1, 8, 3, 6)[turn]  # the display rotates by 0, 90, 180, 270 degrees to the left
  kind = str(rng.choice(['PNG', 'WEBP']))
  options = {'lossless': True} if kind == 'WEBP' else {}
  stored = np.ascontiguousarray(np.rot90(pixels, -turn))
  return _saved(PIL.Image.fromarray(stored), kind, exif=exif, **options), f'.{kind.lower()}', pixels


def _broken_exif(rng, h, w):
  pixels = _noise(rng, h, w, 3)
  exif = b'Exif\0\0II*\0\xff\xff\xff' + rng.bytes(8)
  return _saved(PIL.Image.fromarray(pixels), 'PNG', exif=exif), '.png', pixels


def _animation(rng, h, w):
  frames = [PIL.Image.fromarray(_noise(rng, h, w, 3)) for _ in range(3)]
  kind = str(rng.choice(['WEBP', 'PNG']))
  options = {'lossless': True} if kind == 'WEBP' else {}
  content = _saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
  return content, f'.{kind.lower()}', np.asarray(frames[0])


_GREY = (_grey, _deep, _bits, _grey_alpha)
_WRITERS = (*_GREY, _rgb, _rgb, _rgba, _palette, _cmyk, _jpeg, _rotated, _broken_exif, _animation)


def _cut(rng, folder, i, made):
  content = _saved(PIL.Image.fromarray(_noise(rng, 9, 9, 3)), 'PNG')
  (folder / f'cut{i}.png').write_bytes(content[: rng.integers(0, len(content) - 40)])
  made.left_out[NOT_IMAGES] += 1


def _text_named_png(rng, folder, i, made):
  (folder / f'text{i}.png').write_text('no image')
  made.left_out[NOT_IMAGES] += 1


def _note(rng, folder, i, made):
  (folder / f'note{i}{rng.choice([".txt", ".md", ""])}').write_text(
    'a note of the people who made this'
  )
  made.left_out[OTHER] += 1


def _hidden_file(rng, folder, i, made):
  name = str(rng.choice([f'._{i}.png', f'.hidden{i}.png', 'Thumbs.db', 'desktop.ini']))
  if not (folder / name).exists():
    made.left_out[HIDDEN] += 1
  (folder / name).write_bytes(_saved(PIL.Image.fromarray(_noise(rng, 4, 4, 3)), 'PNG'))


def _hidden_folder(rng, folder, i, made):
  hidden = folder / str(rng.choice(['.ipynb_checkpoints', '__MACOSX', '.git', '@eaDir']))
  if not hidden.exists():
    made.left_out[HIDDEN] += 1
  hidden.mkdir(exist_ok=True)
  (hidden / f'{i}.png').write_bytes(_saved(PIL.Image.fromarray(_noise(rng, 4, 4, 3)), 'PNG'))


def _dangling_link(rng, folder, i, made):
  (folder / f'nowhere{i}.png').symlink_to('is-not-there')
  made.left_out[NOT_IMAGES] += 1


def _loop(rng, folder, i, made):
  (folder / f'loop{i}').symlink_to(made.path)


def _pipe(rng, folder, i, made):
  os.mkfifo(folder / f'pipe{i}.png')
  made.left_out['pipes, sockets or devices'] += 1


_STRANGERS = (
  _cut,
  _text_named_png,
  _note,
  _hidden_file,
  _hidden_folder,
  _dangling_link,
  _loop,
  _pipe,
)


def _link_images(rng, path, made):
  """Links a second folder with two images, and one of them a second time."""
  outside = path.with_name(f'{path.name} elsewhere')
  outside.mkdir()
  h, w = made.images[0].shape[:2]
  for i in range(2):
    content, _, pixels = (
      _rgb(rng, h, w) if any(x.ndim == 3 for x in made.images) else _grey(rng, h, w)
    )
    (outside / f'{i}.png').write_bytes(content)
    made.images.append(pixels)
  (path / 'linked').symlink_to(outside)
  (path / 'again.png').symlink_to(outside / '1.png')
  made.images.append(pixels)
