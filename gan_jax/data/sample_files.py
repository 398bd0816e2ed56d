"""Reads sets of examples from .npz or .npy files or folders of images, without unpickling."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from gan_jax.utils.errors import UserError

_ARRAY_NAMES = ('images', 'samples', 'x', 'arr_0')  # tried in order in an .npz of several arrays
_SUFFIXES = {'.png', '.jpg', '.jpeg', '.bmp', '.webp'}


def load_example_sets(paths: Mapping[str, str]) -> dict[str, np.ndarray]:
  """Reads the examples of each flag's path: points float32 [n, ...] or images uint8 [n, h, w, c].

  Raises UserError if a file is missing, damaged, empty or of unknown format, if two sets differ in shape or
  dtype, or if two sets are equal.
  """
  sets = {flag: _read_examples(flag, path) for flag, path in paths.items()}
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


def _read_examples(flag: str, path: str) -> np.ndarray:
  source, given = Path(path), f'--{flag}={path}'
  if not source.exists():
    raise UserError(f'{given}: there is no such file or folder')
  examples = _read_image_folder(given, source) if source.is_dir() else _read_array(given, source)
  if examples.ndim < 2 or not examples.size:
    raise UserError(f'{given}: an array {list(examples.shape)}; give [n, ...] with n above 0')
  return _normalize_dtype(flag, given, examples)


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


def _normalize_dtype(flag: str, given: str, x: np.ndarray) -> np.ndarray:
  """Converts examples to uint8 images or float32 points; only --fake may hold some non-finite values."""
  if x.dtype == np.uint8:
    return x[..., None] if x.ndim == 3 else x
  if x.dtype.kind not in 'fiu':
    raise UserError(f'{given}: it holds {x.dtype}; give numbers')
  finite = np.isfinite(x)
  if not finite.any() or (flag != 'fake' and not finite.all()):
    raise UserError(f'{given}: {1 - finite.mean():.1%} of its numbers are infinite or NaN')
  if x.ndim >= 3:
    low, high = float(x[finite].min()), float(x[finite].max())
    unit, signed = (low >= 0 and high <= 1), (low >= -1 and high <= 1)
    if not (unit or signed or (low >= 0 and high <= 255)):
      mend = 'give uint8, or floats in [0, 1] or [-1, 1]'
      raise UserError(f'{given}: pixels from {low:.3g} to {high:.3g}; {mend}')
    x = np.nan_to_num(x, nan=0.0, posinf=high, neginf=low)
    pixels = np.rint(x * 255 if unit else (x + 1) * 127.5 if signed else x).astype(np.uint8)
    return pixels[..., None] if pixels.ndim == 3 else pixels
  return x.astype(np.float32)


def _shape(x: np.ndarray) -> str:
  return ' x '.join(map(str, x.shape[1:]))


def _kind(x: np.ndarray) -> str:
  return 'images' if x.dtype == np.uint8 else 'points'
