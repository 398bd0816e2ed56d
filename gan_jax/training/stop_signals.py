"""Catches the signals by which a scheduler or a user asks a process to stop."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

# A scheduler repeats some of its warnings, so that a second one of these does not end the process:
# SIGXCPU comes each second of CPU time after the limit.
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *_WARNINGS)


@contextlib.contextmanager
def catch_stop_signals() -> Iterator[list[signal.Signals]]:
  """Yields a list to which the first stop signal is appended; a second one ends the process at once.

  After the first signal further ones by which schedulers warn of a limit, SIGUSR1, SIGUSR2 and SIGXCPU, have
  no effect.
  """
  received: list[signal.Signals] = []

  def receive(number: int, frame: FrameType | None) -> None:
    del frame
    received.append(signal.Signals(number))
    restore_handlers()
    for warning in _WARNINGS:
      signal.signal(warning, signal.SIG_IGN)
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
