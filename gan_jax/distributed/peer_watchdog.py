"""A thread that ends this process, with a clear line, when another process of the run is gone.

A collective operation waits for a dead or frozen peer without end and cannot be interrupted; the
coordination service of JAX would abort the process after minutes. So each process shows every second
that it lives, by counting in the key-value store, and looks whether the others count. Clocks are
compared with nothing but themselves.
"""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Set
from types import TracebackType
from typing import Any

from gan_jax.distributed import processes
from gan_jax.distributed.processes import EXIT_PEER_LOST, PEER_TIMEOUT, SHUTDOWN_GRACE, ProcessGroup
from gan_jax.utils.errors import AllProcessesError, DivergedError, UserError

_BEAT = 1.0  # seconds between two signs of life
_NOTHING: Mapping[str, str] = {}

Say = Callable[[str], None]


class PeerWatchdog:
  """Watches the other processes of `group` from `__enter__` to `__exit__`.

  A peer that says it failed ends this process at once, one that does not count for `patience`
  seconds after that time, both with code 4. An exception that leaves the block is told to the others.
  """

  def __init__(self, group: ProcessGroup, say: Say, patience: float = PEER_TIMEOUT):
    self._group, self._say, self._patience = group, say, patience
    self._over = threading.Event()
    self._answered = time.monotonic()
    self._threads = [
      threading.Thread(target=target, daemon=True) for target in (self._watch, self._watch_store)
    ]

  def __enter__(self) -> 'PeerWatchdog':
    """Begin to watch."""
    if self._group.count > 1:
      _on_abort(lambda: self._end('the coordinator (process 0), or the way to it, is gone'))
      self._answered = time.monotonic()
      for thread in self._threads:
        thread.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Stop watching: at the common end, or after the others were told of the error that comes through."""
    del kind, trace
    if self._group.count == 1:
      return
    if error is None or isinstance(error, (AllProcessesError, DivergedError)):
      processes.leave_group(self._group)
    else:
      if not isinstance(error, (UserError, OSError, KeyboardInterrupt)):
        # An operation with a peer that is gone? Then the watch ends this process in this time.
        time.sleep(self._patience + 6 * _BEAT)
      line = ' '.join(f'{error}'.split())[:300] or type(error).__name__
      teller = threading.Thread(target=self._tell, args=(line,), daemon=True)
      teller.start()
      teller.join(SHUTDOWN_GRACE)
    self._over.set()

  def _tell(self, line: str) -> None:
    client, group = self._group.client, self._group
    try:
      client.key_value_set(f'failed/{group.index}', line)
      others = set(range(group.count)) - {group.index}
      self._wait_for(others)
    except Exception:  # nobody is there to be told
      return

  def _wait_for(self, others: set[int]) -> None:
    """Keep the store open, which ends with process 0, until these have read why the run ends, or too long."""
    client, deadline = self._group.client, time.monotonic() + SHUTDOWN_GRACE
    while self._group.is_first and others and time.monotonic() < deadline:
      time.sleep(0.2)
      for name in ('heard/', 'failed/'):  # who says the same has no need to hear it
        others = others - set(_numbered(client.key_value_dir_get(name)))

  def _watch(self) -> None:
    group, client = self._group, self._group.client
    seen: dict[int, tuple[str, float]] = {}
    beat, began = 0, time.monotonic()
    while not self._over.is_set():
      beat += 1
      try:
        client.key_value_set(f'alive/{group.index}', str(beat), True)
        alive = _numbered(client.key_value_dir_get('alive/'))
        failed = _numbered(client.key_value_dir_get('failed/'))
        left = _numbered(client.key_value_dir_get('left/'))
      except Exception as error:  # whatever the client raises, there is no store any more
        self._end(
          f'the coordinator (process 0) does not answer ({str(error).splitlines()[0][:80]})'
        )
        return
      now = self._answered = time.monotonic()
      for i in set(range(group.count)) - {group.index} - set(left):
        count, since = seen.get(i, ('', began))
        seen[i] = (count, since) if alive.get(i, '') == count else (alive[i], now)
      silent = {i: now - since for i, (_, since) in seen.items() if i not in left}
      others = {i for i, seconds in silent.items() if seconds < self._patience / 2} - set(failed)
      for i in sorted(set(failed) - {group.index}):
        self._end(f'process {i} ended: {failed[i]}', {f'heard/{group.index}': '1'}, others)
      for i, seconds in silent.items():
        if seconds > self._patience:
          lost = f'process {i} has given no sign of life for {seconds:.0f} s'
          note = {f'failed/{group.index}': f'{lost}, says process {group.index}'}
          self._end(f'{lost}: it was killed, or its host is frozen or cut off', note, others)
      self._over.wait(_BEAT)

  def _watch_store(self) -> None:
    """The other thread waits for answers; this one notices when none comes."""
    before = time.monotonic()
    while not self._over.wait(_BEAT):
      now = time.monotonic()
      if now - before > self._patience:  # this process was frozen itself: let it ask again first
        self._answered = now
      before = now
      if now - self._answered > self._patience:
        self._end(f'the coordinator (process 0) has not answered for {self._patience:.0f} s')

  def _end(
    self, reason: str, notes: Mapping[str, str] = _NOTHING, others: Set[int] = frozenset()
  ) -> None:
    """End this process, once it has said why, has left `notes` in the store, and `others` know.

    In this order: the first process goes as soon as the others have left theirs, and the store with it,
    and what they say after that would be that the store is gone.
    """
    if self._over.is_set():
      return
    self._over.set()
    self._say(
      f'error: {reason}; this process ({self._group.index} of {self._group.count}) ends. '
      'The last complete checkpoint is safe: give the same command to all processes again'
    )
    with contextlib.suppress(Exception):  # the store is gone
      for name, value in notes.items():
        self._group.client.key_value_set(name, value, True)
      self._wait_for(set(others))
    os._exit(EXIT_PEER_LOST)


def _numbered(pairs: list[tuple[str, str]]) -> dict[int, str]:
  return {int(key.rsplit('/', 1)[1]): value for key, value in pairs}


_HANDLERS: list[Any] = []  # keeps what C code calls


def _on_abort(end: Callable[[], None]) -> None:
  """Call `end` where native code aborts this process: JAX does when the coordinator's host is gone.

  Python's own handlers run too late for that: an abort does not come back to the interpreter.
  """

  def handler(number: int) -> None:
    del number
    signal.alarm(5)  # should the interpreter be stuck, this ends the process all the same
    end()
    time.sleep(4)  # another thread is about to end it, with what it has to say

  wrapped = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
  _HANDLERS.append(wrapped)
  ctypes.CDLL(None).signal(signal.SIGABRT, wrapped)
