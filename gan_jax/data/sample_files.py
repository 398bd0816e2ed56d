"""Reads sets of examples from .npz or .npy files or folders of images, without unpickling."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from gan_jax.utils.errors import UserError

_ARRAY_NAMES = ('images', 'samples', 'x', 'arr_0')  # tried in order in an .npz of several arrays
_OVERSHOOT = 0.01  # of a range of pixels, by which rounding may exceed it
_SUFFIXES = {'.png', '.jpg', '.jpeg', '.bmp', '.webp'}


def load_example_sets(
  paths: Mapping[str, str], note: Callable[[str], None] = lambda line: None
) -> dict[str, np.ndarray]:
  """Reads the examples of each flag's path: points float32 [n, ...] or images uint8 [n, h, w, c].

  `note` receives a line for each conversion: clipped pixels, moved channels, samples that are not finite.

  Raises UserError if a file is missing, damaged, empty or of unknown format, if two sets differ in shape or
  dtype, or if two sets are equal.
  """
  sets = {flag: _read_examples(flag, path, note) for flag, path in paths.items()}
  first, *others = sets
  for flag in others:
    a, b = sets[first], sets[flag]
    if a.shape[1:] != b.shape[1:]:
      raise UserError(
        f'--{flag}={paths[flag]}: its examples are {_shape(b)}, those of --{first} {_shape(a)}; '
        'give sets of one shape'
      )
    if a.dtype != b.dtype:
      kinds = f'it holds {_kind(b)}, and --{first} {_kind(a)}'
      raise UserError(f'--{flag}={paths[flag]}: {kinds}; give one kind')
  flag_of_hash: dict[str, str] = {}
  for flag, x in sets.items():
    earlier = flag_of_hash.setdefault(hash_examples(x), flag)
    if earlier != flag:
      raise UserError(
        f'--{flag}={paths[flag]}: it holds the same examples as --{earlier}; '
        'training data, held-out data and samples are three different sets'
      )
  return sets


def hash_examples(examples: np.ndarray) -> str:
  """Returns the first 16 hex digits of the SHA-256 of dtype, shape and bytes."""
  digest = hashlib.sha256(f'{examples.dtype} {examples.shape}'.encode())
  digest.update(np.ascontiguousarray(examples).tobytes())
  return digest.hexdigest()[:16]


def _read_examples(flag: str, path: str, note: Callable[[str], None]) -> np.ndarray:
  source, given = Path(path), f'--{flag}={path}'
  if not source.exists():
    raise UserError(f'{given}: there is no such file or folder')
  examples = _read_image_folder(given, source) if source.is_dir() else _read_array(given, source)
  if examples.ndim < 2 or not examples.size:
    raise UserError(f'{given}: an array {list(examples.shape)}; give [n, ...] with n above 0')
  if examples.dtype.kind not in 'fiu':
    raise UserError(f'{given}: it holds {examples.dtype}; give numbers')
  examples = _without_nonfinite(flag, given, examples, note)
  return _convert(given, _channels_last(given, examples, note), note)


def _read_array(given: str, path: Path) -> np.ndarray:
  try:
    with path.open('rb') as file:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        return loaded
      names = loaded.files
      chosen = names[0] if len(names) == 1 else next((n for n in _ARRAY_NAMES if n in names), None)
      if chosen is None:
        content = ', '.join(names) or 'nothing'
        raise UserError(f'{given}: it holds {content}; name the array images or samples')
      return np.asarray(loaded[chosen])
  except (OSError, ValueError, EOFError, zipfile.BadZipFile):
    reason = 'it cannot be read as an .npz or .npy of numbers; write it with numpy.savez'
    raise UserError(f'{given}: {reason}') from None


def _read_image_folder(given: str, folder: Path) -> np.ndarray:
  files = sorted(path for path in folder.rglob('*') if path.suffix.lower() in _SUFFIXES)
  if not files:
    raise UserError(f'{given}: this folder holds no image ({", ".join(sorted(_SUFFIXES))})')
  images = []
  for path in files:
    try:
      with Image.open(path) as image:
        grey = image.mode in ('L', '1', 'I;16')
        pixels = np.asarray(image.convert('L' if grey else 'RGB'))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
      raise UserError(f'{given}: {path.name} cannot be read as an image; take it out') from None
    images.append(pixels.reshape(*pixels.shape[:2], -1))
    if images[-1].shape != images[0].shape:
      raise UserError(
        f'{given}: {path.name} is {_shape(images[-1][None])} and {files[0].name} '
        f'{_shape(images[0][None])}; give images of one size'
      )
  return np.stack(images)


def _without_nonfinite(
  flag: str, given: str, x: np.ndarray, note: Callable[[str], None]
) -> np.ndarray:
  """Leaves out samples of --fake that are not finite; raises UserError for other sets, or if none is left."""
  finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
  if finite.all():
    return x
  n = len(x) - int(finite.sum())
  if flag != 'fake' or n == len(x):
    raise UserError(f'{given}: {n:,} of {len(x):,} examples hold infinite or NaN numbers')
  note(f'{given}: {n:,} of {len(x):,} samples hold infinite or NaN numbers and are left out')
  return x[finite]


def _channels_last(given: str, x: np.ndarray, note: Callable[[str], None]) -> np.ndarray:
  """Moves the channels of images [n, c, h, w] to the end where the axes are certain."""
  channels = (1, 3, 4)
  if x.ndim != 4 or x.shape[1] not in channels or x.shape[3] in channels:
    return x
  note(f'{given}: read as images [n, c, h, w], {" x ".join(map(str, x.shape))}')
  return x.transpose(0, 2, 3, 1)


def _convert(given: str, x: np.ndarray, note: Callable[[str], None]) -> np.ndarray:
  """Converts examples to uint8 images or float32 points; clips pixels that rounding took out of their range."""
  if x.dtype == np.uint8:
    return x[..., None] if x.ndim == 3 else x
  if x.ndim < 3:
    return x.astype(np.float32)
  low, high = float(x.min()), float(x.max())
  for least, most, scale in ((0, 1, 255.0), (-1, 1, 127.5), (0, 255, 1.0)):
    margin = _OVERSHOOT * (most - least)
    if least - margin <= low and high <= most + margin and high > most / 100:
      if low < least or high > most:
        note(f'{given}: pixels from {low:.4g} to {high:.4g} are clipped to [{least}, {most}]')
      pixels = np.rint((np.clip(x, least, most) - least) * scale).astype(np.uint8)
      return pixels[..., None] if pixels.ndim == 3 else pixels
  if x.ndim == 3 and x.dtype.kind == 'f':
    note(f'{given}: read as series [n, t, d] of points, {" x ".join(map(str, x.shape))}')
    return x.astype(np.float32)
  mend = 'give uint8, or floats in [0, 1], [-1, 1] or [0, 255]'
  raise UserError(f'{given}: pixels from {low:.3g} to {high:.3g}; {mend}')


def _shape(x: np.ndarray) -> str:
  return ' x '.join(map(str, x.shape[1:]))


def _kind(x: np.ndarray) -> str:
  return 'images' if x.dtype == np.uint8 else 'points'
