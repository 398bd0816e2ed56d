"""Ends this process with a clear message when another process of the run fails or stops responding.

A collective waits for a dead or frozen peer without end and cannot be interrupted, and JAX's coordination
service aborts only after minutes. Each process therefore counts up a heartbeat in the key-value store every
second and reads the others'; only its own clock is used.
"""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Any

from gan_jax.distributed import processes
from gan_jax.distributed.processes import EXIT_PEER_LOST, PEER_TIMEOUT, SHUTDOWN_GRACE, ProcessGroup
from gan_jax.utils.errors import AllProcessesError, DivergedError, UserError

_HEARTBEAT_SECONDS = 1.0
_NO_NOTES: Mapping[str, str] = {}


class PeerWatchdog:
  """Watches the other processes of `group` inside a `with` block.

  Ends this process with code 4 at once when a peer reports a failure, and when a peer's heartbeat stands
  still for `timeout` seconds. Reports an exception that leaves the block to the peers.
  """

  def __init__(
    self, group: ProcessGroup, print_line: Callable[[str], None], timeout: float = PEER_TIMEOUT
  ):
    self._group, self._print_line, self._timeout = group, print_line, timeout
    self._stopped = threading.Event()
    self._last_answer = time.monotonic()
    targets = (self._watch_peers, self._watch_coordinator)
    self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

  def __enter__(self) -> 'PeerWatchdog':
    """Starts the two watching threads, unless there is a single process."""
    if self._group.count > 1:
      _on_abort(lambda: self._end_process('the coordinator (process 0), or the way to it, is gone'))
      self._last_answer = time.monotonic()
      for thread in self._threads:
        thread.start()
    return self

  def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
    """Stops watching, after all processes have ended or the peers have read this one's error."""
    del kind, trace
    if self._group.count == 1:
      return
    if error is None or isinstance(error, (AllProcessesError, DivergedError)):
      processes.leave_group(self._group)
    else:
      if not isinstance(error, (UserError, OSError, KeyboardInterrupt)):
        # The error may come from a collective with a lost peer: give the watchdog time to end the process.
        time.sleep(self._timeout + 6 * _HEARTBEAT_SECONDS)
      line = ' '.join(f'{error}'.split())[:300] or type(error).__name__
      reporter = threading.Thread(target=self._report_failure, args=(line,), daemon=True)
      reporter.start()
      reporter.join(SHUTDOWN_GRACE)
    self._stopped.set()

  def _report_failure(self, line: str) -> None:
    group = self._group
    with contextlib.suppress(Exception):  # the store is gone
      group.client.key_value_set(f'failed/{group.index}', line)
      self._wait_until_read(set(range(group.count)) - {group.index})

  def _wait_until_read(self, others: set[int]) -> None:
    """Keeps process 0 and its store alive until the processes `others` have read the reason, or a timeout."""
    client, deadline = self._group.client, time.monotonic() + SHUTDOWN_GRACE
    while self._group.is_first and others and time.monotonic() < deadline:
      time.sleep(0.2)
      for name in ('heard/', 'failed/'):  # a peer that reported a failure knows
        others = others - set(_by_process(client.key_value_dir_get(name)))

  def _watch_peers(self) -> None:
    group, client = self._group, self._group.client
    heartbeats: dict[int, tuple[str, float]] = {}  # by process: its count, and since when
    n_beats, began = 0, time.monotonic()
    while not self._stopped.is_set():
      n_beats += 1
      try:
        client.key_value_set(f'alive/{group.index}', str(n_beats), True)
        alive, failed, left = (
          _by_process(client.key_value_dir_get(name)) for name in ('alive/', 'failed/', 'left/')
        )
      except Exception as error:  # of any type: the store is gone
        reason = str(error).splitlines()[0][:80]
        self._end_process(f'the coordinator (process 0) does not answer ({reason})')
        return
      now = self._last_answer = time.monotonic()
      for i in set(range(group.count)) - {group.index} - set(left):
        count, since = heartbeats.get(i, ('', began))
        heartbeats[i] = (count, since) if alive.get(i, '') == count else (alive[i], now)
      silent = {i: now - since for i, (_, since) in heartbeats.items() if i not in left}
      others = {i for i, seconds in silent.items() if seconds < self._timeout / 2} - set(failed)
      for i in sorted(set(failed) - {group.index}):
        self._end_process(f'process {i} ended: {failed[i]}', {f'heard/{group.index}': '1'}, others)
      for i, seconds in silent.items():
        if seconds > self._timeout:
          lost = f'process {i} has sent no heartbeat for {seconds:.0f} s'
          note = {f'failed/{group.index}': f'{lost}, reported by process {group.index}'}
          reason = f'{lost}: it was killed, or its host is frozen or cut off'
          self._end_process(reason, note, others)
      self._stopped.wait(_HEARTBEAT_SECONDS)

  def _watch_coordinator(self) -> None:
    """Ends the process when `_watch_peers` has waited for the store longer than the timeout."""
    before = time.monotonic()
    while not self._stopped.wait(_HEARTBEAT_SECONDS):
      now = time.monotonic()
      if now - before > self._timeout:  # this process itself was frozen: let it ask again first
        self._last_answer = now
      before = now
      if now - self._last_answer > self._timeout:
        self._end_process(f'the coordinator (process 0) has not answered for {self._timeout:.0f} s')

  def _end_process(
    self, reason: str, notes: Mapping[str, str] = _NO_NOTES, others: Set[int] = frozenset()
  ) -> None:
    """Prints `reason`, writes `notes` to the store, waits until `others` have read them, and exits.

    The line comes first: once its note is written, process 0 may end and take the store with it.
    """
    if self._stopped.is_set():
      return
    self._stopped.set()
    self._print_line(
      f'error: {reason}; this process ({self._group.index} of {self._group.count}) ends. '
      'The last complete checkpoint is safe: give the same command to all processes again'
    )
    with contextlib.suppress(Exception):  # the store is gone
      for name, value in notes.items():
        self._group.client.key_value_set(name, value, True)
      self._wait_until_read(set(others))
    os._exit(EXIT_PEER_LOST)


def _by_process(pairs: list[tuple[str, str]]) -> dict[int, str]:
  return {int(key.rsplit('/', 1)[1]): value for key, value in pairs}


_HANDLERS: list[Any] = []  # keeps the callbacks of C code alive


def _on_abort(end: Callable[[], None]) -> None:
  """Calls `end` when native code aborts this process, as JAX does when the coordinator's host is gone.

  A handler of Python's `signal` would not run: an abort does not return to the interpreter.
  """

  def handler(number: int) -> None:
    del number
    signal.alarm(5)  # ends the process if the interpreter is stuck
    end()
    time.sleep(4)  # another thread may be ending the process with a better message

  wrapped = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
  _HANDLERS.append(wrapped)
  ctypes.CDLL(None).signal(signal.SIGABRT, wrapped)
