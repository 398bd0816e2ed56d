"""Counts what was read, converted and left out, and tells it in one line."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

_MAX_NAMES = 3  # files named for each reason
_MAX_SIZES = 8  # sizes and modes kept, the most frequent

NOT_IMAGES = 'not images that Pillow can read'
TOO_LARGE = 'too large (limits: 67,108,864 pixels, 256 MiB)'
OTHER = 'other files'
HIDDEN = 'hidden'
# Reasons whose files a user would miss, and which are therefore named.
_NAMED = (NOT_IMAGES, TOO_LARGE)


def shown(name: str) -> str:
  """Returns a file name on one line of valid Unicode: control characters are escaped."""
  name = name.encode('utf-8', 'backslashreplace').decode()
  return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in name)


def enumerate_names(names: Iterable[str], n: int = _MAX_NAMES) -> str:
  """Returns the first n names, and an ellipsis if there are more."""
  given = [shown(name) for name in names]
  return ', '.join([*given[:n], *['...'] * (len(given) > n)])


def common_counts(counts: dict[str, int], n: int = _MAX_SIZES) -> str:
  """Returns the n most frequent keys with their counts, as `80 PNG, 3 GIF`."""
  ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  parts = [f'{count:,} {shown(key)}' for key, count in ordered[:n]]
  if len(ordered) > n:
    parts.append(f'{sum(count for _, count in ordered[n:]):,} of {len(ordered) - n:,} other kinds')
  return ', '.join(parts)


def plural(n: int, noun: str) -> str:
  """Returns `1 image`, `2 images`."""
  return f'{n:,} {noun}{"" if n == 1 else "s"}'


@dataclasses.dataclass
class ReadSummary:
  """Counts the files of a source: images by format, mode and size, conversions, and what was left out.

  `left_out` maps each reason to the names of its files (at most four), `n_left_out` to their number, so that
  `n_images` and the numbers left out add up to `n_files`.
  """

  n_images: int = 0
  formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  modes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  sizes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  conversions: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  n_left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  notes: list[str] = dataclasses.field(default_factory=list)
  n_duplicates: int = 0
  noun: str = 'file'  # what is counted: files, or rows of an array

  @property
  def n_files(self) -> int:
    """Returns the number of files found, images and others."""
    return self.n_images + sum(self.n_left_out.values())

  @property
  def n_damaged(self) -> int:
    """Returns the number of image files that were left out as unreadable or too large."""
    return sum(self.n_left_out[reason] for reason in _NAMED)

  def leave_out(self, reason: str, name: str, n: int = 1) -> None:
    """Counts a file, or a folder of n files, that is left out for a reason."""
    self.n_left_out[reason] += n
    names = self.left_out.setdefault(reason, [])
    if len(names) <= _MAX_NAMES:
      names.append(name)

  def line(self) -> str:
    """Returns one line: what was read, what was converted, and what was left out and why."""
    verb = 'is an image' if self.n_files == 1 else 'are images'
    read = f'{self.n_images:,} of {plural(self.n_files, self.noun)} {verb}'
    if self.formats:
      read += f' ({common_counts(self.formats)})'
    parts = [read]
    if self.conversions:
      parts.append('converted: ' + common_counts(self.conversions, 20))
    if self.n_left_out:
      parts.append('left out: ' + ', '.join(map(self._left_out_text, sorted(self.n_left_out))))
    return '; '.join([*parts, *self.notes])

  def _left_out_text(self, reason: str) -> str:
    text = f'{self.n_left_out[reason]:,} {reason}'
    return f'{text} ({enumerate_names(self.left_out[reason])})' if reason in _NAMED else text

  def as_json(self) -> dict[str, Any]:
    """Returns the counts as JSON values, with the most frequent sizes and modes only."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    for key in ('modes', 'sizes'):
      counts = getattr(self, key)
      rest = sum(counts.values()) - sum(n for _, n in counts.most_common(_MAX_SIZES))
      values[key] = dict(counts.most_common(_MAX_SIZES)) | ({'other': rest} if rest else {})
    return values


def from_json(values: dict[str, Any]) -> ReadSummary:
  """Returns the summary that `as_json` wrote."""
  counters = ('formats', 'modes', 'sizes', 'conversions', 'n_left_out')
  typed: dict[str, Any] = {
    key: collections.Counter(each) if key in counters else each for key, each in values.items()
  }
  return ReadSummary(**typed)
