"""What a long preparation says: lines on stderr, and bars where stderr is a terminal."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


class Progress:
  """Says lines on stderr and draws bars on a terminal; override both to say them elsewhere."""

  def log(self, line: str) -> None:
    """Say one line."""
    print(line, file=sys.stderr, flush=True)

  def track(self, items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Hand the items on, drawing a bar of `total` steps."""
    if not sys.stderr.isatty():
      yield from items
      return
    import tqdm

    columns = shutil.get_terminal_size().columns
    yield from tqdm.tqdm(items, total=total, desc=label, leave=False, ncols=columns)
