"""Gives images the labels of folders, of a file, of WebDataset or of StyleGAN's dataset.json."""

import collections
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gan_jax.data.reader.entries import natural_key
from gan_jax.data.reader.summary import enumerate_names, plural
from gan_jax.utils.errors import UserError

_PATH_COLUMNS = ('file', 'filename', 'file_name', 'path', 'image', 'name', 'id', 'image_id')
_LABEL_COLUMNS = ('label', 'labels', 'class', 'category', 'target', 'y', 'cls')
_MAX_BYTES = 2**28  # of a file of labels
Label = int | str
Labels = tuple[np.ndarray | None, tuple[str, ...]]


def index_labels(
  labels: Sequence[Label], known: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns labels int64 [n] from 0 on, and the names of classes in natural order.

  Integers 0 to K - 1 that all occur stay as they are; `known` names them.
  """
  numbers = all(isinstance(label, int) for label in labels)
  if numbers and known and all(0 <= int(label) < len(known) for label in labels):
    return np.array(labels, np.int64), tuple(known)
  names = sorted({str(label) for label in labels}, key=natural_key)
  index = {name: i for i, name in enumerate(names)}
  return np.array([index[str(label)] for label in labels], np.int64), tuple(names)


def classes_note(names: Sequence[str], where: str) -> str:
  """Returns the note that tells the classes."""
  return f'{len(names):,} classes by {where}: {enumerate_names(names, 5)}'


def labels_of_webdataset(paths: Sequence[str], sides: Mapping[str, bytes]) -> list[Label] | None:
  """Returns the label of each image by the .cls file of the same key, None if any image has none."""
  by_key: dict[str, Label] = {}
  for path, content in sides.items():
    if path.endswith('.cls'):
      text = content.decode('utf-8', 'replace').strip()
      by_key[_key(path)] = int(text) if _is_integer(text) else text
  labels = [by_key.get(_key(path)) for path in paths]
  return None if None in labels else labels  # type: ignore


def _key(path: str) -> str:
  """Returns the key of a WebDataset's sample: the path up to the first dot of its last part."""
  folder, _, name = path.rpartition('/')
  return f'{folder}/{name.partition(".")[0]}'


def labels_of_dataset_json(
  given: str, paths: Sequence[str], content: bytes
) -> tuple[bool, list[Label] | None]:
  """Returns whether a dataset.json is that of StyleGAN's tools, and its labels, None for none.

  Raises UserError where images lack a label.
  """
  try:
    values = json.loads(content)
  except (ValueError, RecursionError):
    return False, None
  if not isinstance(values, dict) or 'labels' not in values:
    return False, None
  if not values['labels']:
    return True, None
  pairs = _checked(f'{given}: dataset.json', values['labels'])
  return True, _match(given, paths, pairs, 'dataset.json')


def labels_of_file(given: str, paths: Sequence[str], file: str) -> list[Label]:
  """Returns labels by a file of pairs of path and label: .json, or text with commas, tabs or semicolons.

  A path is relative to the source; a bare file name or stem serves where it is unique. Raises UserError.
  """
  path = Path(file).expanduser()
  shown = f'--labels={file}'
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise UserError(f'{shown}: it is larger than 256 MiB; give one line for each image')
    text = path.read_text('utf-8-sig')
  except (OSError, UnicodeDecodeError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise UserError(
      f'{shown}: {reason}; give none, folders, or a file of paths and labels'
    ) from None
  pairs = _json_pairs(shown, text) if text.lstrip()[:1] in ('{', '[') else _text_pairs(shown, text)
  return _match(given, paths, pairs, shown)


def _json_pairs(shown: str, text: str) -> dict[str, Label]:
  try:
    values = json.loads(text)
  except (ValueError, RecursionError):
    raise UserError(f'{shown}: it is no valid JSON; give {{"path": label, ...}}') from None
  if isinstance(values, dict) and isinstance(values.get('labels'), list):
    values = values['labels']
  return _checked(shown, values.items() if isinstance(values, dict) else values)


def _checked(shown: str, pairs: Iterable[Any]) -> dict[str, Label]:
  labels: dict[str, Label] = {}
  try:
    for path, label in pairs:
      if isinstance(label, bool) or not isinstance(label, (int, str)):
        raise UserError(
          f'{shown}: the label {json.dumps(label)[:40]} is no integer and no name; give one class each'
        )
      labels[str(path)] = label
  except (TypeError, ValueError):
    raise UserError(f'{shown}: it holds no pairs of path and label; give them') from None
  return labels


def _text_pairs(shown: str, text: str) -> dict[str, Label]:
  lines = [line for line in text.splitlines() if line.strip() and not line.startswith('#')]
  if not lines:
    raise UserError(f'{shown}: it is empty; give one line for each image: path,label')
  delimiter = next((mark for mark in ('\t', ',', ';') if mark in lines[0]), None)
  try:
    if delimiter:
      rows = list(csv.reader(io.StringIO('\n'.join(lines)), delimiter=delimiter))
    else:
      rows = [line.strip().rsplit(None, 1) for line in lines]
    columns = _columns([cell.strip().lower() for cell in rows[0]])
    i, j = columns or (0, 1)
    pairs = [(row[i].strip(), row[j].strip()) for row in rows[1 if columns else 0 :]]
  except (csv.Error, IndexError):
    raise UserError(
      f'{shown}: a line has no label; give one line for each image: path,label'
    ) from None
  return {path: int(label) if _is_integer(label) else label for path, label in pairs}


def _is_integer(text: str) -> bool:
  return text.isascii() and text.isdecimal() and len(text) < 16


def _columns(header: list[str]) -> tuple[int, int] | None:
  """Returns the columns of paths and labels by their names, None where the first line is no header."""
  paths = [i for i, cell in enumerate(header) if cell in _PATH_COLUMNS]
  labels = [i for i, cell in enumerate(header) if cell in _LABEL_COLUMNS]
  return (paths[0], labels[0]) if paths and labels else None


def _match(given: str, paths: Sequence[str], pairs: Mapping[str, Label], shown: str) -> list[Label]:
  """Returns the label of each path: by the path, or by a file name or stem that is unique."""
  by_path = {path.removeprefix('./').replace('\\', '/'): label for path, label in pairs.items()}
  names = collections.Counter(PurePosixPath(path).name for path in paths)
  stems = collections.Counter(PurePosixPath(path).stem for path in paths)
  labels, missing = [], []
  for path in paths:
    name, stem = PurePosixPath(path).name, PurePosixPath(path).stem
    keys = [path, *([name] if names[name] == 1 else []), *([stem] if stems[stem] == 1 else [])]
    key = next((key for key in keys if key in by_path), None)
    if key is None:
      missing.append(path)
    else:
      labels.append(by_path[key])
  if missing:
    count = f'{len(missing):,} of {plural(len(paths), "image")} have no label in {shown}'
    raise UserError(
      f'{given}: {count} ({enumerate_names(missing)}); add them, or give --labels=none'
    )
  return labels
