"""A folder of PNG and JPEG files as a data set: classes by subfolder, splits by path."""

import collections
import hashlib
import math
import os
import pathlib
import tempfile
import warnings
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps
from etils import epath

from gan_jax.data import array_cache, preparation, resizing
from gan_jax.data import dataset as dataset_lib
from gan_jax.data.progress import Progress
from gan_jax.utils.errors import UserError

_PREFIX = 'folder:'
_SUFFIXES = ('.png', '.jpg', '.jpeg')
_VERSION = 2  # to be raised when the same files come out as other arrays
_LEAST = 10  # images
_LEAST_HELD_OUT = 2  # images that validate, and that test: the fewest with a covariance


def is_image_folder_name(name: str) -> bool:
  """Whether a data set's name is a path: `folder:PATH`, or one that begins with / ./ ../ or ~."""
  return name.startswith((_PREFIX, '/', './', '../', '~')) or name in ('.', '..')


def image_folder_cache(name: str, data_dir: epath.Path) -> epath.Path:
  """The folder of the decoded arrays of an image folder."""
  return data_dir / _cache_name(_folder(name))


def load_image_folder(
  name: str, data_dir: epath.Path, progress: Progress, image_size: int = 0, strict: bool = False
) -> dataset_lib.Dataset:
  """The images below a folder, decoded once as long as its files stay as they are.

  Each is turned upright by its EXIF tag, laid on white where transparent, and fitted into a square
  by `resizing.fit` where `image_size` is not 0. All are grey or, if one is coloured, all RGB. The
  label is the first-level subfolder, counted in alphabetical order, where every image lies in one
  and there are two at least. Sorted by the sha256 of their paths, a tenth of the images, and never
  fewer than two, validates, as many test, and the others train. Raises UserError.
  """
  folder = _folder(name)
  files = _files(name, folder)
  contents = _contents(folder, files)
  file = array_cache.cache_path(data_dir, _cache_name(folder), image_size)
  try:
    cached = array_cache.read_cache(file)
  except array_cache.DamagedCacheError as error:
    progress.log(f'{name}: the decoded arrays in {file} are damaged ({error}), decoding again')
    cached = None
  if cached is None or cached.contents != contents:
    with preparation.locked_work_dir(data_dir, _cache_name(folder), progress) as work:
      images, skipped = _decode(name, folder, files, progress, image_size, strict, work)
      decoded = _split(name, images, progress, image_size, work)
      cached = array_cache.CachedDataset(decoded, str(folder), contents, skipped)
      array_cache.write_cache(work / file.name, cached)
      preparation.move_into_place(work / file.name, file)
  if cached.skipped:
    if strict:
      raise _refused(name, cached.skipped[0])
    progress.log(_skipped_line(cached.skipped, len(files)))
  return cached.dataset._replace(name=name)


def _folder(name: str) -> pathlib.Path:
  """The absolute path that a name stands for; raises UserError where no folder is there."""
  path = name.removeprefix(_PREFIX)
  folder = pathlib.Path(path).expanduser()
  if not path or not folder.is_dir():
    reason = 'is no folder' if folder.exists() and path else 'is not there'
    raise UserError(f'--dataset={name}: the folder {path or "PATH"} {reason}; name one of images')
  return folder.resolve()


def _cache_name(folder: pathlib.Path) -> str:
  """Where in the data folder an image folder's arrays lie: told apart by its absolute path."""
  return f'folders/{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}'


def _files(name: str, folder: pathlib.Path) -> list[str]:
  """Paths of PNG and JPEG files relative to the folder, sorted; hidden ones are left out.

  Links to folders are followed, but for those that lead back to a folder they lie in.
  """

  def refuse(error: OSError) -> None:
    raise UserError(
      f'--dataset={name}: {error.filename} cannot be read ({error.strerror}); allow it, or move it away'
    ) from error

  found = []
  above = {str(folder): {folder}}  # of each folder yet to come, what it lies in, links resolved
  for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
    here, names = above.pop(parent), [each for each in folders if not each.startswith('.')]
    real = {each: pathlib.Path(parent, each).resolve() for each in names}
    folders[:] = [each for each in names if real[each] not in here]
    above |= {str(pathlib.Path(parent, each)): here | {real[each]} for each in folders}
    for each in files:
      if each.lower().endswith(_SUFFIXES) and not each.startswith('.'):
        found.append(pathlib.Path(parent, each).relative_to(folder).as_posix())
  if not found:
    raise UserError(f'--dataset={name}: no PNG or JPEG file lies in {folder}; name another folder')
  return sorted(found)


def _contents(folder: pathlib.Path, files: Sequence[str]) -> str:
  """Sha256 over path, size and time of change of each file."""
  digest = hashlib.sha256(f'version {_VERSION}\n'.encode())
  for file in files:
    path = folder / file
    status = path.stat() if path.exists() else None  # else a link to nothing
    about = (status.st_size, status.st_mtime_ns) if status else None
    digest.update(os.fsencode(f'{file!r} {about}\n'))
  return digest.hexdigest()


def _decode(
  name: str,
  folder: pathlib.Path,
  files: Sequence[str],
  progress: Progress,
  image_size: int,
  strict: bool,
  work: pathlib.Path,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Pixels uint8 [h, w] or [h, w, 3] by path, and the paths of files that are not images.

  They lie one behind another in a nameless file of the workspace: there may be more than fit into memory.
  """
  shapes: dict[str, tuple[int, ...]] = {}
  skipped: list[str] = []
  images: dict[str, np.ndarray] = {}
  with tempfile.TemporaryFile(dir=work) as spool:
    for file in progress.track(files, len(files), 'decoding images'):
      try:
        pixels = _pixels(folder / file, image_size)
      except MemoryError:
        raise
      except Exception as error:  # whatever a decoder makes of damaged bytes
        if strict:
          raise _refused(name, file) from error
        skipped.append(file)
      else:
        spool.write(pixels.tobytes())
        shapes[file] = pixels.shape
    spool.flush()
    if shapes:
      pages, end = np.memmap(spool, np.uint8, 'r').view(np.ndarray), 0
      for file, shape in shapes.items():
        start, end = end, end + math.prod(shape)
        images[file] = pages[start:end].reshape(shape)
  if not images:
    raise UserError(
      f'--dataset={name}: none of {len(files):,} files is an image Pillow can read, '
      f'such as {skipped[0]}; name another folder'
    )
  return images, tuple(skipped)


def _refused(name: str, file: str) -> UserError:
  return UserError(
    f'--dataset={name}: {file} is not an image Pillow can read; '
    'mend or remove it, or skip such files without --strict'
  )


def _skipped_line(skipped: Sequence[str], n: int) -> str:
  some = ', '.join(skipped[:3]) + (', ...' if len(skipped) > 3 else '')
  return f'skipped {len(skipped):,} of {n:,} files that are not images Pillow can read: {some}'


def _pixels(path: pathlib.Path, image_size: int) -> np.ndarray:
  """One file as uint8 [h, w] where it is grey, else [h, w, 3]."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # on large images and odd metadata
    with PIL.Image.open(path, formats=('PNG', 'JPEG')) as file:
      image = _grey_or_rgb(PIL.ImageOps.exif_transpose(file))
  return np.asarray(resizing.crop_and_resize(image, image_size) if image_size else image)


def _grey_or_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
  """The image in mode L or RGB."""
  if image.mode.startswith('I'):  # 16 bits, which Pillow would clip
    return PIL.Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
  if image.has_transparency_data:
    layer = image.convert('RGBA')
    white = PIL.Image.new('RGBA', image.size, 'white')
    flat = PIL.Image.alpha_composite(white, layer)
    return flat.convert('L' if image.mode in ('1', 'L', 'LA') else 'RGB')
  return image.convert('L' if image.mode in ('1', 'L') else 'RGB')


def _split(
  name: str,
  images: dict[str, np.ndarray],
  progress: Progress,
  image_size: int,
  work: pathlib.Path,
) -> dataset_lib.Dataset:
  """The data set of these images; raises UserError unless they are enough, and of one size."""
  if len(images) < _LEAST:
    raise UserError(
      f'--dataset={name}: {len(images)} images are too few to split; {_LEAST} are the least'
    )
  sizes = collections.Counter(image.shape[:2] for image in images.values())
  if len(sizes) > 1:
    (h, w), n = sizes.most_common(1)[0]
    other = next(file for file, image in images.items() if image.shape[:2] != (h, w))
    raise UserError(
      f'--dataset={name}: {n:,} of {len(images):,} images are {w}x{h} pixels, and {other} is not: '
      f'give --image_size={image_size or min(h, w)}, or another'
    )
  n_grey = sum(image.ndim == 2 for image in images.values())
  if 0 < n_grey < len(images):
    progress.log(f'{name}: {n_grey:,} of {len(images):,} images are grey; all are taken as RGB')
  files = sorted(images, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
  labels = _labels(name, files, progress)
  n_held_out = max(len(files) // 10, _LEAST_HELD_OUT)
  n_train = len(files) - 2 * n_held_out
  bounds = {
    'train': slice(n_train),
    'validation': slice(n_train, n_train + n_held_out),
    'test': slice(n_train + n_held_out, None),
  }
  n_channels = 1 if n_grey == len(images) else 3
  arrays = {}
  for split, part in bounds.items():
    stacked = preparation.disk_backed_zeros(
      work, (len(files[part]), *next(iter(sizes)), n_channels)
    )
    for row, file in zip(stacked, files[part], strict=True):
      row[:] = np.atleast_3d(images[file])
    arrays[split] = stacked
    if labels is not None:
      arrays[f'{split}_labels'] = labels[part]
  return dataset_lib.from_arrays(name, arrays)


def _labels(name: str, files: Sequence[str], progress: Progress) -> np.ndarray | None:
  """The label [n] of each file, None without two classes."""
  firsts = [file.partition('/')[0] if '/' in file else '' for file in files]
  classes = sorted({*firsts} - {''})
  if len(classes) < 2:
    return None
  if '' in firsts:
    n = firsts.count('')
    progress.log(
      f'{name}: no labels, since {n:,} images lie beside the subfolders {classes[0]}, ...'
    )
    return None
  shown = ', '.join(classes[:5]) + (', ...' if len(classes) > 5 else '')
  progress.log(f'{name}: {len(classes):,} classes by subfolder: {shown}')
  return np.array([classes.index(first) for first in firsts], np.int64)
