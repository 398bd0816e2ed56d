"""Catches the signals by which a scheduler or a user asks a process to stop."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[list[signal.Signals]]:
  """Yields a list to which the first stop signal is appended; a second signal ends the process at once."""
  received: list[signal.Signals] = []

  def receive(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(signal.Signals(number))
    restore_handlers()
    with contextlib.suppress(OSError):
      print(f'\n{signal.Signals(number).name}: saving; once more to stop at once', file=sys.stderr)

  def restore_handlers() -> None:
    for number, handler in previous.items():
      signal.signal(number, handler)

  previous = {number: signal.signal(number, receive) for number in STOP_SIGNALS}
  try:
    yield received
  finally:
    restore_handlers()
