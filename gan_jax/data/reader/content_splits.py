"""Splits images by the hash of their content, so that duplicates never stand on both sides."""

import collections
from collections.abc import Sequence

import numpy as np

from gan_jax.data.reader.options import SPLITS
from gan_jax.utils.errors import UserError

_MIN_HELD_OUT = 2  # images of a held-out split: the fewest with a covariance
_MIN_IMAGES = 10  # distinct ones, out of which held-out splits are taken


def split_by_content(
  given: str,
  hashes: Sequence[bytes],
  splits: Sequence[str],
  fractions: tuple[float, float, float],
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Returns the indices of the images of each split in the order of their hashes, and notes on what was done.

  Args:
    given: names the source in errors.
    hashes: of the content of each image; images of one hash go to one split.
    splits: the split that the data bring for each image, '' for none.
    fractions: of training, validation and test images, for splits that the data do not bring. Where a
      fraction of 0 leaves a split empty, that split holds training images.

  Raises UserError where there are too few distinct images.
  """
  notes: list[str] = []
  order = sorted(range(len(hashes)), key=lambda i: (hashes[i], splits[i], i))
  members: dict[str, list[int]] = {
    split: [i for i in order if splits[i] == split] for split in SPLITS
  }
  _remove_leaks(hashes, members, notes)
  pool = [i for i in order if not splits[i]] + members['train']
  pool.sort(key=lambda i: (hashes[i], i))
  sizes = _held_out_sizes(len(pool), fractions, members)
  members['train'] = []
  groups: dict[bytes, list[int]] = collections.defaultdict(list)
  for i in pool:
    groups[hashes[i]].append(i)
  for group in reversed(groups.values()):
    target = next((s for s, n in sizes.items() if len(members[s]) + len(group) <= n), 'train')
    members[target] += group
  too_few = any(len(members[split]) < _MIN_HELD_OUT for split in (*sizes, 'train'))
  if too_few or len(groups) < (_MIN_IMAGES if sizes else _MIN_HELD_OUT):
    n = f'{len(groups):,} distinct images' if len(groups) < len(pool) else f'{len(pool):,} images'
    raise UserError(f'{given}: {n} are too few to split; give at least {_MIN_IMAGES}')
  for split in SPLITS[1:]:
    if not members[split]:
      members[split] = sorted(members['train'], key=lambda i: (hashes[i], i))[
        : max(2, len(pool) // 10)
      ]
      notes.append(f'{split} holds training images')
  arrays = {s: np.array(sorted(members[s], key=lambda i: (hashes[i], i)), np.int64) for s in SPLITS}
  return arrays, notes


def _held_out_sizes(
  n: int, fractions: tuple[float, float, float], members: dict[str, list[int]]
) -> dict[str, int]:
  """Returns the number of images of the held-out splits that are taken out of n images, test first."""
  wanted = {'test': fractions[2], 'validation': fractions[1]}
  return {
    split: max(int(n * fraction + 1e-9), _MIN_HELD_OUT)
    for split, fraction in wanted.items()
    if fraction and not members[split]
  }


def _remove_leaks(hashes: Sequence[bytes], members: dict[str, list[int]], notes: list[str]) -> None:
  """Leaves out training and validation images that also stand in a later split of the data."""
  later = {hashes[i] for i in members['test']}
  for split in ('validation', 'train'):
    kept = [i for i in members[split] if hashes[i] not in later]
    if n := len(members[split]) - len(kept):
      notes.append(f'left out of {split}: {n:,} that also stand in a held-out split')
    members[split] = kept
    later |= {hashes[i] for i in kept}
