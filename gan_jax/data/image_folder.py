"""Loads a folder of PNG and JPEG files as a data set: labels by subfolder, splits by the hash of the path."""

import collections
import hashlib
import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from etils import epath

from gan_jax.data import array_cache, dataset as dataset_lib, preparation, resizing
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

_PREFIX = 'folder:'
_SUFFIXES = ('.png', '.jpg', '.jpeg')
_VERSION = 2  # increased when the same files give other arrays
_MIN_IMAGES = 10
_MIN_HELD_OUT = 2  # images of a held-out split: the fewest with a covariance


def is_image_folder_name(name: str) -> bool:
  """Returns whether a data set name is a path: `folder:PATH`, or a name that begins with / ./ ../ or ~."""
  return name.startswith((_PREFIX, '/', './', '../', '~')) or name in ('.', '..')


def image_folder_cache(name: str, data_dir: epath.Path) -> epath.Path:
  """Returns the folder that caches the decoded arrays of an image folder."""
  return data_dir / _cache_name(_resolve_folder(name))


def load_image_folder(
  name: str, data_dir: epath.Path, progress: Progress, image_size: int = 0, strict: bool = False
) -> dataset_lib.Dataset:
  """Loads the images below a folder from a cache, which is rebuilt if a file has changed.

  Images are rotated by their EXIF tag, composited on white if transparent, and cropped and resized if
  `image_size` is not 0; if one is coloured, all become RGB. The label is the index of the first-level
  subfolder in alphabetical order. Sorted by the SHA-256 of their relative paths, a tenth of the images (at
  least 2) is the validation split, as many are the test split, and the rest is the training split. `strict`
  refuses unreadable files. Raises UserError.
  """
  folder = _resolve_folder(name)
  files = _list_images(name, folder)
  contents, cached = _hash_file_list(folder, files), None
  file = array_cache.cache_path(data_dir, _cache_name(folder), image_size)
  try:
    cached = array_cache.read_cache(file)
  except array_cache.DamagedCacheError as error:
    progress.log(f'{name}: the decoded arrays in {file} are damaged ({error}), decoding again')
  if cached is None or cached.contents != contents:
    with preparation.locked_work_dir(data_dir, _cache_name(folder), progress) as work:
      images, skipped = _decode_files(name, folder, files, progress, image_size, strict, work)
      decoded = _build_dataset(name, images, progress, image_size, work)
      cached = array_cache.CachedDataset(decoded, str(folder), contents, skipped)
      array_cache.write_cache(work / file.name, cached)
      preparation.move_into_place(work / file.name, file)
  if skipped := cached.skipped:
    if strict:
      raise _unreadable_error(name, skipped[0])
    n, some = f'{len(skipped):,} of {len(files):,}', _enumerate(skipped, 3)
    progress.log(f'skipped {n} files that are not images Pillow can read: {some}')
  return cached.dataset._replace(name=name)


def _resolve_folder(name: str) -> Path:
  """Returns the absolute path of a data set name; raises UserError if it is no folder."""
  path = name.removeprefix(_PREFIX)
  folder = Path(path).expanduser()
  if not path or not folder.is_dir():
    reason = 'is no folder' if folder.exists() and path else 'does not exist'
    raise UserError(f'--dataset={name}: the folder {path or "PATH"} {reason}; name another folder')
  return folder.resolve()


def _cache_name(folder: Path) -> str:
  """Returns the cache folder, relative to the data folder, unique per absolute path of the image folder."""
  return f'folders/{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}'


def _list_images(name: str, folder: Path) -> list[str]:
  """Returns the sorted relative paths of the PNG and JPEG files below a folder, without hidden ones.

  Symbolic links are followed unless they lead to a folder that contains them. Raises UserError.
  """

  def raise_unreadable(error: OSError) -> None:
    reason = f'{error.filename} cannot be read ({error.strerror})'
    mend = 'change its permissions, or move it away'
    raise UserError(f'--dataset={name}: {reason}; {mend}') from error

  paths = []
  ancestors = {str(folder): {folder}}  # of each folder to visit: itself and its parents, resolved
  for parent, folders, files in os.walk(folder, onerror=raise_unreadable, followlinks=True):
    parents, names = ancestors.pop(parent), [each for each in folders if not each.startswith('.')]
    resolved = {each: Path(parent, each).resolve() for each in names}
    folders[:] = [each for each in names if resolved[each] not in parents]
    ancestors |= {str(Path(parent, each)): parents | {resolved[each]} for each in folders}
    for each in files:
      if each.lower().endswith(_SUFFIXES) and not each.startswith('.'):
        paths.append(Path(parent, each).relative_to(folder).as_posix())
  if not paths:
    raise UserError(f'--dataset={name}: no PNG or JPEG file is in {folder}; name another folder')
  return sorted(paths)


def _hash_file_list(folder: Path, files: Sequence[str]) -> str:
  """Returns the SHA-256 of path, size and modification time of each file."""
  digest = hashlib.sha256(f'version {_VERSION}\n'.encode())
  for file in files:
    status = (folder / file).stat() if (folder / file).exists() else None  # None: a dangling link
    about = (status.st_size, status.st_mtime_ns) if status else None
    digest.update(os.fsencode(f'{file!r} {about}\n'))
  return digest.hexdigest()


def _decode_files(
  name: str, folder: Path, files: list[str], progress: Progress, size: int, strict: bool, work: Path
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Decodes files to pixels uint8 [h, w] or [h, w, 3] by path, and lists the files that are not images.

  The pixels are memory-mapped from an unnamed file in `work`, since they may exceed the memory.
  """
  shapes: dict[str, tuple[int, ...]] = {}
  images, skipped = {}, []
  with tempfile.TemporaryFile(dir=work) as spool:
    for file in progress.track(files, len(files), 'decoding images'):
      try:
        pixels = _decode_image(folder / file, size)
      except MemoryError:
        raise
      except Exception as error:  # decoders raise many kinds on damaged files
        if strict:
          raise _unreadable_error(name, file) from error
        skipped.append(file)
      else:
        spool.write(pixels.tobytes())
        shapes[file] = pixels.shape
    spool.flush()
    if shapes:
      mapped, end = np.memmap(spool, np.uint8, 'r').view(np.ndarray), 0
      for file, shape in shapes.items():
        start, end = end, end + math.prod(shape)
        images[file] = mapped[start:end].reshape(shape)
  if not images:
    reason = f'none of {len(files):,} files is an image Pillow can read, such as {skipped[0]}'
    raise UserError(f'--dataset={name}: {reason}; name another folder')
  return images, tuple(skipped)


def _unreadable_error(name: str, file: str) -> UserError:
  mend = 'repair or remove it, or skip such files without --strict'
  return UserError(f'--dataset={name}: {file} is not an image Pillow can read; {mend}')


def _enumerate(names: Sequence[str], n: int) -> str:
  """Returns the first n names, and an ellipsis if there are more."""
  return ', '.join([*names[:n], *['...'] * (len(names) > n)])


def _decode_image(path: Path, image_size: int) -> np.ndarray:
  """Decodes an image file to uint8 [h, w] if it is grey, else [h, w, 3]."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # about large images and unusual metadata
    with PIL.Image.open(path, formats=('PNG', 'JPEG')) as file:
      image = _to_grey_or_rgb(PIL.ImageOps.exif_transpose(file))
  return np.asarray(resizing.crop_and_resize(image, image_size) if image_size else image)


def _to_grey_or_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
  """Converts an image to mode L or RGB."""
  if image.mode.startswith('I'):  # 16 bits: Pillow would clip to 255
    return PIL.Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
  if image.has_transparency_data:
    white = PIL.Image.new('RGBA', image.size, 'white')
    flat = PIL.Image.alpha_composite(white, image.convert('RGBA'))
    return flat.convert('L' if image.mode in ('1', 'L', 'LA') else 'RGB')
  return image.convert('L' if image.mode in ('1', 'L') else 'RGB')


def _build_dataset(
  name: str, images: dict[str, np.ndarray], progress: Progress, image_size: int, work: Path
) -> dataset_lib.Dataset:
  """Splits images into a data set; raises UserError if they are too few or differ in size."""
  if len(images) < _MIN_IMAGES:
    reason = f'{len(images)} images are too few to split'
    raise UserError(f'--dataset={name}: {reason}; give at least {_MIN_IMAGES}')
  h, w = _common_size(name, images, image_size)
  n_grey = sum(image.ndim == 2 for image in images.values())
  if 0 < n_grey < len(images):
    progress.log(f'{name}: {n_grey:,} of {len(images):,} images are grey; all are converted to RGB')
  n_channels = 1 if n_grey == len(images) else 3
  files = sorted(images, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
  labels = _subfolder_labels(name, files, progress)
  n = max(len(files) // 10, _MIN_HELD_OUT)
  splits = {'train': slice(-2 * n), 'validation': slice(-2 * n, -n), 'test': slice(-n, None)}
  arrays = {}
  for split, part in splits.items():
    arrays[split] = preparation.disk_backed_zeros(work, (len(files[part]), h, w, n_channels))
    for row, file in zip(arrays[split], files[part], strict=True):
      row[:] = np.atleast_3d(images[file])
    if labels is not None:
      arrays[f'{split}_labels'] = labels[part]
  return dataset_lib.from_arrays(name, arrays)


def _common_size(name: str, images: dict[str, np.ndarray], image_size: int) -> tuple[int, int]:
  """Returns the (h, w) of all images; raises UserError if they differ."""
  sizes = collections.Counter(image.shape[:2] for image in images.values())
  (h, w), n = sizes.most_common(1)[0]
  if len(sizes) > 1:
    other = next(file for file, image in images.items() if image.shape[:2] != (h, w))
    raise UserError(
      f'--dataset={name}: {n:,} of {len(images):,} images are {w}x{h} pixels, and {other} is not: '
      f'give --image_size={image_size or min(h, w)}, or another'
    )
  return h, w


def _subfolder_labels(name: str, files: Sequence[str], progress: Progress) -> np.ndarray | None:
  """Returns labels int64 [n], or None with fewer than two subfolders or with files beside them."""
  subfolders = [file.partition('/')[0] if '/' in file else '' for file in files]
  classes = sorted({*subfolders} - {''})
  if len(classes) < 2:
    return None
  if '' in subfolders:
    n = subfolders.count('')
    reason = f'{n:,} images are beside the subfolders {classes[0]}, ...'
    progress.log(f'{name}: no labels, since {reason}')
    return None
  progress.log(f'{name}: {len(classes):,} classes by subfolder: {_enumerate(classes, 5)}')
  return np.array([classes.index(each) for each in subfolders], np.int64)
