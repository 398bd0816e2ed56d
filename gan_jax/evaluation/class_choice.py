"""Chooses the classes of samples: by name or number, equally often or as often as in the training data."""

import re
from collections.abc import Sequence

import numpy as np

from gan_jax.utils.errors import UserError

FREQUENCIES = ('equal', 'training')


def parse_classes(flag: str, text: str, names: Sequence[str], n_classes: int) -> list[int]:
  """Returns the classes that `text` lists, with commas between; all for 'all'.

  A word is the name of a class or, where no class has that name, its number. Raises UserError, which
  starts with `--flag=text`.
  """
  if text == 'all' and 'all' not in names:
    return list(range(n_classes))
  words = [text] if text in names else [word.strip() for word in text.split(',')]
  classes = [_parse_class(word, names, n_classes) for word in words]
  unknown = [word for word, each in zip(words, classes, strict=True) if each is None]
  if unknown:
    known = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    listed = f'one of {known}, or ' if names else ''
    raise UserError(
      f'--{flag}={text}: {unknown[0] or "(empty)"} is no class; give {listed}a number from 0 to {n_classes - 1}'
    )
  return [each for each in classes if each is not None]


def _parse_class(word: str, names: Sequence[str], n_classes: int) -> int | None:
  if word in names:
    return list(names).index(word)
  is_number = word.isascii() and word.isdecimal() and len(word) < 10
  return int(word) if is_number and int(word) < n_classes else None


def class_labels(classes: Sequence[int], n: int, counts: Sequence[int] | None = None) -> np.ndarray:
  """Returns the labels int32 [n] of n samples of `classes`, in turn.

  With `counts`, the number of training examples of each class of the data, each class occurs in proportion to
  its count, rounded by the largest remainders, and evenly spread. Raises UserError where no class has examples.
  """
  if counts is None:
    return np.asarray(classes, np.int32)[np.arange(n) % len(classes)]
  weights = np.asarray([counts[each] for each in classes], float)
  if not weights.sum():
    raise UserError('--frequencies=training: there are no training examples of these classes')
  exact = n * weights / weights.sum()
  whole = np.floor(exact).astype(int)
  largest = np.argsort(whole - exact, kind='stable')[: n - whole.sum()]
  whole[largest] += 1
  labels = np.repeat(np.asarray(classes, np.int32), whole)
  places = np.concatenate([(np.arange(m) + 0.5) / m for m in whole if m] or [[]])
  return labels[np.argsort(places, kind='stable')]


def folder_names(names: Sequence[str]) -> list[str]:
  """Returns a name of a folder for each class: unique, and without characters that lead elsewhere."""
  cleaned: list[str] = []
  for i, name in enumerate(names):
    clean = re.sub(r'[/\\\0-\x1f]', '_', name).strip('. ') or f'class_{i}'
    clean = clean[:100]
    cleaned.append(f'{clean}_{i}' if clean in cleaned else clean)
  return cleaned
