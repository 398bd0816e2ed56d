"""Prepares the emoji pictures of Twemoji: 3,781 small colour images in nine classes, from a package of npm.

The pictures are Twemoji, by Twitter and contributors, under CC-BY 4.0: name them where you show them. The
package `emoji-datasource-twitter` that collects them is under the MIT licence.
"""

import collections
import hashlib
import io
import json
import pathlib
import re
import tarfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
from etils import epath
from scipy.sparse import csgraph, csr_array

from gan_jax.data import array_cache, dataset as dataset_lib, downloads, image_files, preparation
from gan_jax.data.progress import Progress
from gan_jax.data.reader import ReadOptions

LICENCE = 'Twemoji by Twitter and contributors, CC-BY 4.0'
ARCHIVE = downloads.OriginalFile(
  'https://registry.npmjs.org/emoji-datasource-twitter/-/emoji-datasource-twitter-16.0.0.tgz',
  'emoji-datasource-twitter-16.0.0.tgz',
  61_683_754,
  'f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877',
)
SOURCES: Mapping[str, downloads.DownloadSource] = {
  'originals': downloads.copy_originals,
  'package mirror': downloads.rebuild_from_package,
}
_NAME = 'emoji'
_BACKGROUND = 'white'  # behind transparent pixels
_LIST, _IMAGES = 'package/emoji.json', 'package/img/twitter/64/'
_LEFT_OUT = 'Component'  # category of five swatches of skin tones
_HELD_OUT = {'test': 0.1, 'validation': 0.1}  # of each class
_MAX_DIFFERENCE = 0.06  # root mean square, in [0, 1], of near-duplicates at 16x16 pixels
_VARIATIONS = {'FE0F', '200D', '2640', '2642', '1F3FB', '1F3FC', '1F3FD', '1F3FE', '1F3FF'}
_PEOPLE = {  # code points of one person, child or old person, whatever the gender
  **dict.fromkeys(('1F468', '1F469'), '1F9D1'),
  **dict.fromkeys(('1F466', '1F467'), '1F9D2'),
  **dict.fromkeys(('1F474', '1F475'), '1F9D3'),
}


class _Picture(NamedTuple):
  """Describes one picture of the package; the file is a PNG."""

  file: str
  category: str
  code_points: str  # hexadecimal, joined by -


def load_emoji(
  data_dir: epath.Path, progress: Progress, image_size: int = 0
) -> dataset_lib.Dataset:
  """Loads the emoji, 64x64 or of `image_size` pixels a side, and prepares them first; raises UserError.

  Classes are the categories in alphabetical order; transparent pixels are white. About a tenth of each class is
  for validation and a tenth for test. Pictures of one emoji in several skin tones or genders, and others that
  hardly differ, such as flags and clocks, stand in one split.
  """
  path = array_cache.cache_path(data_dir, _NAME, image_size)
  try:
    cached = array_cache.read_cache(path)
  except array_cache.DamagedCacheError as error:
    progress.log(f'{_NAME}: {path} is damaged ({error}), preparing again')
    cached = None
  if cached is None:
    with preparation.locked_work_dir(data_dir, _NAME, progress) as work:
      _unpack(_fetch(data_dir, work, progress), work / _NAME)
      progress.log(f'{_NAME}: {LICENCE}')
      read = image_files.load_image_files(
        f'folder:{work / _NAME}',
        epath.Path(work / 'cache'),
        progress,
        image_size,
        options=ReadOptions(background=_BACKGROUND),
      )
      cached = array_cache.CachedDataset(read._replace(name=_NAME), _NAME, ARCHIVE.sha256)
      array_cache.write_cache(work / path.name, cached)
      preparation.move_into_place(work / path.name, path)
  return cached.dataset


def _fetch(data_dir: epath.Path, work: pathlib.Path, progress: Progress) -> pathlib.Path:
  """Returns the package, which is kept in the folder of original files."""
  folder = work / 'package'
  folder.mkdir()
  source = downloads.fetch_originals(
    downloads.DownloadRequest(_NAME, (ARCHIVE,), data_dir, folder, progress), SOURCES
  )
  if source != 'originals':
    kept = downloads.originals_dir(data_dir, _NAME) / ARCHIVE.filename
    preparation.copy_files(epath.Path(folder / ARCHIVE.filename), kept)
  return folder / ARCHIVE.filename


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
  """Writes the pictures of the package to SPLIT/CATEGORY/FILE below `folder`."""
  content: dict[str, bytes] = {}
  listed = b''
  with tarfile.open(archive) as tar:
    for member in tar:
      is_picture = member.name.startswith(_IMAGES)
      if (is_picture or member.name == _LIST) and (file := tar.extractfile(member)):
        if is_picture:
          content[member.name.removeprefix(_IMAGES)] = file.read()
        else:
          listed = file.read()
  pictures = [x for x in _list_pictures(json.loads(listed)) if x.file in content]
  groups = group_pictures(
    [x.code_points for x in pictures], _miniatures([content[x.file] for x in pictures])
  )
  splits = split_groups(groups, [x.category for x in pictures], [x.file for x in pictures])
  for picture, split in zip(pictures, splits, strict=True):
    category = re.sub(r'\W+', '_', picture.category.replace('&', 'and')).lower()
    path = folder / split / category / picture.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[picture.file])


def _list_pictures(entries: list[dict]) -> list[_Picture]:
  pictures = []
  for entry in entries:
    if entry['category'] != _LEFT_OUT:
      for each in (entry, *entry.get('skin_variations', {}).values()):
        pictures.append(_Picture(each['image'], entry['category'], each['unified']))
  return sorted(pictures)


def _miniatures(files: Sequence[bytes]) -> np.ndarray:
  """Decodes pictures to float32 [n, 16 16 3] in [0, 1], on white."""
  rows = []
  for file in files:
    image = PIL.Image.open(io.BytesIO(file)).convert('RGBA')
    flat = PIL.Image.alpha_composite(PIL.Image.new('RGBA', image.size, _BACKGROUND), image)
    small = flat.convert('RGB').resize((16, 16), PIL.Image.Resampling.BOX)
    rows.append(np.asarray(small, np.float32).ravel() / 255)
  return np.stack(rows)


def group_pictures(code_points: Sequence[str], rows: np.ndarray) -> np.ndarray:
  """Returns the number of each picture's group, int [n]: one emoji, or pictures that hardly differ.

  Code points are one emoji if they are equal but for skin tones, genders, and how often each occurs. Rows
  [n, d] in [0, 1] hardly differ if the root mean square of their difference is below .06.
  """
  names = [
    '-'.join(sorted({_PEOPLE.get(x, x) for x in each.split('-') if x not in _VARIATIONS}))
    for each in code_points
  ]
  first = {name: i for i, name in reversed([*enumerate(names)])}
  squares = np.sum(rows**2, axis=1)
  distances = squares[:, None] + squares[None] - 2 * rows @ rows.T
  alike = distances < _MAX_DIFFERENCE**2 * rows.shape[1]
  alike[np.arange(len(names)), [first[name] for name in names]] = True
  return csgraph.connected_components(csr_array(alike), directed=False)[1]


def split_groups(groups: np.ndarray, categories: Sequence[str], names: Sequence[str]) -> list[str]:
  """Returns 'train', 'validation' or 'test' of each picture, the same within a group.

  Of each category about a tenth is for test and a tenth for validation: the groups of the first hashes of
  their first names that still fit. A group counts to the category of its first picture.
  """
  members: dict[int, list[int]] = collections.defaultdict(list)
  for i in sorted(range(len(names)), key=lambda i: names[i]):
    members[int(groups[i])].append(i)
  sizes = collections.Counter(categories)
  left = {
    (c, split): round(part * n) for c, n in sizes.items() for split, part in _HELD_OUT.items()
  }
  splits = ['train'] * len(names)
  for group in sorted(
    members.values(), key=lambda group: hashlib.sha256(names[group[0]].encode()).digest()
  ):
    category = categories[group[0]]
    for split in _HELD_OUT:
      if len(group) <= left[category, split]:
        left[category, split] -= len(group)
        for i in group:
          splits[i] = split
        break
  return splits
