"""Reports the progress of data preparation on stderr: lines, and bars where stderr is a terminal."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


class Progress:
  """Prints lines and draws progress bars on stderr; subclasses redirect both by overriding the methods."""

  def log(self, line: str) -> None:
    """Prints one line."""
    print(line, file=sys.stderr, flush=True)

  def track(self, items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Yields the items while a terminal shows a progress bar of `total` steps."""
    if not sys.stderr.isatty():
      yield from items
      return
    import tqdm

    columns = shutil.get_terminal_size().columns
    yield from tqdm.tqdm(items, total=total, desc=label, leave=False, ncols=columns)
