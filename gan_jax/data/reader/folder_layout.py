"""Finds splits and classes in the paths of images: train/ and test/, one folder for each class, shards."""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

from gan_jax.data.reader.entries import natural_key, split_of_word
from gan_jax.data.reader.summary import enumerate_names, plural
from gan_jax.utils.errors import UserError

# Names of shards: at least five digits of one length, as ImageNet and StyleGAN tools write them, or a
# word for a part with a number.
_SHARD = re.compile(
  r'(0[0-9]{4,}|[1-9][0-9]{4,}|(shard|part|chunk|bucket)[-_ ]?[0-9]+)', re.IGNORECASE
)
LEFT_OUT = 'beside the folders of splits'


class FolderLayout(NamedTuple):
  """Holds for each path: the split ('' for none), the folder of its class or None, and whether it is kept."""

  splits: list[str]
  classes: list[str | None]
  keep: list[bool]
  split_notes: list[str]
  class_notes: list[str]


def find_layout(
  given: str, paths: Sequence[str], splits: Sequence[str], labels: str, has_labels: bool
) -> FolderLayout:
  """Returns splits and classes of images by their paths.

  Args:
    given: names the source in errors.
    paths: of the images, relative to the source.
    splits: that the containers of the images give, '' for none.
    labels: `auto`, `none` or `folders`: whether folders are classes.
    has_labels: whether the source has labels of its own, so that folders are not asked.

  Raises UserError where --labels=folders fits no folders.
  """
  parts = _strip_common(paths, 2 if labels == 'folders' else 1)
  found, keep, notes = list(splits), [True] * len(paths), []
  if not any(splits):
    found, keep = _split_folders(parts)
    if any(found):
      parts = [each[1:] if split else each for each, split in zip(parts, found, strict=True)]
      parts = _strip_wrappers(parts, found)
  counts = collections.Counter(found)
  if any(found):
    shown = [f'{name} {counts[name]:,}' for name in ('train', 'validation', 'test') if counts[name]]
    notes.append('splits by folder or file: ' + ', '.join(shown))
  if labels == 'none' or has_labels:
    return FolderLayout(found, [None] * len(paths), keep, notes, [])
  classes, told = _class_folders(given, parts, found, keep, labels == 'folders')
  return FolderLayout(found, classes, keep, notes, told)


def _strip_common(paths: Sequence[str], least: int) -> list[list[str]]:
  """Returns the parts of each path below the folder that holds all of them, at least `least` parts."""
  parts = [path.split('/') for path in paths]
  while all(len(p) > least and p[0] == parts[0][0] for p in parts):
    parts = [p[1:] for p in parts]
  return parts


def _strip_wrappers(parts: list[list[str]], splits: list[str]) -> list[list[str]]:
  """Strips a folder that holds all images of each split, such as train/images/."""
  stripped = list(parts)
  for split in {*splits} - {''}:
    rows = [i for i, each in enumerate(splits) if each == split]
    firsts = {parts[i][0] if len(parts[i]) > 1 else None for i in rows}
    if firsts != {'images'}:
      return parts
    for i in rows:
      stripped[i] = parts[i][1:]
  return stripped


def _split_folders(parts: list[list[str]]) -> tuple[list[str], list[bool]]:
  """Returns the split of each image by its first folder, if one is for training and one is held out."""
  firsts = {p[0] for p in parts if len(p) > 1}
  known = {split_of_word(name) for name in firsts} - {''}
  if 'train' not in known or len(known) < 2:
    return [''] * len(parts), [True] * len(parts)
  splits = [split_of_word(p[0]) if len(p) > 1 else '' for p in parts]
  return splits, [bool(split) for split in splits]


def _class_folders(
  given: str, parts: list[list[str]], splits: list[str], keep: list[bool], forced: bool
) -> tuple[list[str | None], list[str]]:
  """Returns the folder of each image's class, or None for all; and notes that say why."""
  folders = [p[0] if len(p) > 1 else '' for p in parts]
  counts = collections.Counter(f for f, kept in zip(folders, keep, strict=True) if kept)
  n_beside, names = counts.pop('', 0), sorted(counts, key=natural_key)
  nothing: list[str | None] = [None] * len(parts)
  if forced and (n_beside or not names):
    found = f'{plural(n_beside, "image")} in no subfolder' if names else 'there are no subfolders'
    raise UserError(f'{given}: --labels=folders, and {found}; give --labels=none or move them')
  if not forced and len(names) >= 2 and all(map(_SHARD.fullmatch, names)):
    shown = f'{len(names):,} folders {enumerate_names(names)} are shards and no classes'
    return nothing, [f'{shown} (--labels=folders makes them classes)']
  if not forced and len(names) < 2:
    return nothing, []
  if n_beside and _is_unlabelled_split(folders, splits, keep):
    return _without_unlabelled_splits(folders, splits, keep)
  if n_beside:
    reason = f'{n_beside:,} images are beside the subfolders {enumerate_names(names, 1)}'
    return nothing, [f'no labels, since {reason}']
  return list(folders), []


def _is_unlabelled_split(folders: list[str], splits: list[str], keep: list[bool]) -> bool:
  """Returns whether every image beside the classes belongs to a held-out split without any class."""
  rows = [i for i in range(len(folders)) if keep[i]]
  without = {splits[i] for i in rows if not folders[i]}
  labelled = {splits[i] for i in rows if folders[i]}
  return 'train' in labelled and '' not in without and not without & labelled


def _without_unlabelled_splits(
  folders: list[str], splits: list[str], keep: list[bool]
) -> tuple[list[str | None], list[str]]:
  left_out = [i for i in range(len(folders)) if keep[i] and not folders[i]]
  for i in left_out:
    keep[i] = False
  name = splits[left_out[0]]
  return list(folders), [
    f'{name} has no folders of classes: its {len(left_out):,} images are left out'
  ]
