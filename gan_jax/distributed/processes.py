"""Joins the processes of one run into a group that exchanges small strings and ends together.

Messages go through the key-value store of JAX's coordination service, hosted by process 0, and not through
devices: they work while programs run and after a program failed.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
from jax._src import distributed  # the key-value store has no public name (jax 0.10 to 0.12)

from gan_jax.utils.errors import AllProcessesError, UserError

EXIT_PEER_LOST = 4  # exit code of a process that lost another process
PEER_TIMEOUT = 30.0  # seconds without a heartbeat after which a process counts as lost
SHUTDOWN_GRACE = 10.0  # most seconds that process 0 keeps the store open at the end
_JOIN_TIMEOUT = 55.0  # seconds to wait for all processes at the start
_BARRIER_TIMEOUT_MS = 24 * 3600 * 1000  # a day: lost processes are found by the watchdog
T = TypeVar('T')


class ProcessGroup:
  """Holds this process's index in the run, the number of processes, and their key-value store.

  Every process must call the methods in the same order. A group of one process needs no `client`.
  """

  def __init__(self, index: int = 0, count: int = 1, client: Any = None):
    self.index, self.count, self.client = index, count, client
    self._n_exchanges = 0

  @property
  def is_first(self) -> bool:
    """Tells whether this is process 0, which writes the files of the run."""
    return self.index == 0

  def allgather(self, value: str) -> list[str]:
    """Returns the `value` of every process, by process index."""
    if self.count == 1:
      return [value]
    folder, self._n_exchanges = f'meetings/{self._n_exchanges}/', self._n_exchanges + 1
    # The quotation mark: the store takes no empty value.
    self.client.key_value_set(f'{folder}{self.index}', f'"{value}')
    self.client.wait_at_barrier(folder, _BARRIER_TIMEOUT_MS)
    values = {key.rsplit('/', 1)[1]: text for key, text in self.client.key_value_dir_get(folder)}
    if self.is_first and self._n_exchanges > 1:  # all have read the exchange before this barrier
      self.client.key_value_delete(f'meetings/{self._n_exchanges - 2}/')
    return [values[str(i)][1:] for i in range(self.count)]

  def broadcast_from_first(self, fn: Callable[[], T]) -> T:
    """Calls `fn` in process 0 only and returns its result, which must be JSON, in every process."""
    if self.count == 1:
      return fn()
    return cast(T, json.loads(self.allgather(json.dumps(fn()) if self.is_first else '')[0]))

  def run_on_all(self, fn: Callable[[], T]) -> T:
    """Calls `fn` in every process and returns the local result.

    Raises AllProcessesError in every process if `fn` raises UserError in any.
    """
    if self.count == 1:
      return fn()
    result, message = None, ''
    try:
      result = fn()
    except UserError as error:
      message = str(error)
    messages = self.allgather(message)
    if message:
      raise AllProcessesError(message)
    for i, text in enumerate(messages):
      if text:
        raise AllProcessesError(f'process {i}: {text}')
    return cast(T, result)

  def run_on_first(self, fn: Callable[[], None]) -> None:
    """Calls `fn` in process 0 only; raises AllProcessesError in every process if it raises UserError."""
    self.run_on_all(fn if self.is_first else lambda: None)

  def require_same(self, facts: dict[str, Any]) -> None:
    """Raises AllProcessesError in every process, naming the differences, unless all pass equal `facts`."""
    first, *others = [json.loads(x) for x in self.allgather(json.dumps(facts, default=str))]
    for i, other in enumerate(others, 1):
      differences = [
        f'{name} is {other.get(name)} there and {first.get(name)} in process 0'
        for name in dict.fromkeys([*first, *other])
        if other.get(name) != first.get(name)
      ]
      if differences:
        raise AllProcessesError(
          f'process {i} differs from process 0: {"; ".join(differences)}; '
          'start all processes with the same flags, data and versions'
        )


SINGLE_PROCESS = ProcessGroup()


class ProcessSpec(NamedTuple):
  """Holds the arguments of `jax.distributed.initialize`; the defaults let JAX detect a cluster."""

  coordinator: str = ''
  num_processes: int = 0
  process_id: int = -1


def join_group(spec: ProcessSpec, print_line: Callable[[str], None]) -> ProcessGroup:
  """Connects the processes of a run, before the first use of a device; raises UserError.

  Without a coordinator JAX detects the cluster (Cloud TPU, Slurm, Open MPI, Kubernetes). Returns
  `SINGLE_PROCESS` without a cluster or with num_processes = 1. Prints a line and exits with code 2 if
  processes are missing after a minute.
  """
  if spec.num_processes == 1 or (spec == ProcessSpec() and not _may_be_cluster()):
    return SINGLE_PROCESS
  _check_spec(spec)
  # Collectives between processes on CPUs; ignored on other platforms.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  # The training loop exchanges signals itself.
  jax.config.update('jax_enable_preemption_service', False)
  timer = threading.Timer(_JOIN_TIMEOUT, _exit_incomplete, (spec, print_line))
  timer.daemon = True
  timer.start()
  try:
    jax.distributed.initialize(
      coordinator_address=spec.coordinator or None,
      num_processes=spec.num_processes or None,
      process_id=None if spec.process_id < 0 else spec.process_id,
      initialization_timeout=600,  # at its timeout JAX aborts the process
      heartbeat_timeout_seconds=600,  # likewise; the watchdog acts earlier
      shutdown_timeout_seconds=20,
    )
  except ValueError as error:
    if 'coordinator_address should be defined' not in str(error):
      raise UserError(f'--coordinator={spec.coordinator}: {error}') from error
    return SINGLE_PROCESS
  except RuntimeError as error:
    line = f'--coordinator={spec.coordinator}: cannot connect the processes ({error})'
    raise UserError(line) from error
  finally:
    timer.cancel()
  state = distributed.global_state
  return ProcessGroup(state.process_id, state.num_processes, state.client)


def _may_be_cluster() -> bool:
  """Tells whether JAX should look for a cluster: in a Kubernetes pod outside an indexed job it warns."""
  return 'KUBERNETES_SERVICE_HOST' not in os.environ or 'JOB_COMPLETION_INDEX' in os.environ


def _check_spec(spec: ProcessSpec) -> None:
  host, colon, port = spec.coordinator.rpartition(':')
  flag = f'--coordinator={spec.coordinator}'
  if spec.coordinator and not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
    raise UserError(f'{flag}: give HOST:PORT of process 0, as in 10.0.0.1:1234')
  if spec.num_processes < 0:
    raise UserError(f'--num_processes={spec.num_processes}: give a number of processes')
  if spec.num_processes and spec.process_id >= spec.num_processes:
    raise UserError(
      f'--process_id={spec.process_id}: with --num_processes={spec.num_processes} '
      f'they are 0 to {spec.num_processes - 1}'
    )
  given = (bool(spec.coordinator), spec.num_processes > 0, spec.process_id >= 0)
  if spec.coordinator and not all(given):
    raise UserError(f'{flag}: give --num_processes and --process_id with it')
  if not spec.coordinator and any(given):
    raise UserError('--num_processes and --process_id: give --coordinator=HOST:PORT with them')


def _exit_incomplete(spec: ProcessSpec, print_line: Callable[[str], None]) -> None:
  """Prints which processes are missing and exits with code 2."""
  what = f'not all of the {spec.num_processes} processes have come'
  if spec.process_id != 0:
    where = spec.coordinator or 'of the cluster'
    what = f'no answer from the coordinator {where}, or not all processes have come'
  print_line(
    f'error: --coordinator={spec.coordinator}: {what} within {_JOIN_TIMEOUT:.0f} s; '
    'start all processes within a minute, and see that their hosts reach that address'
  )
  os._exit(2)


def leave_group(group: ProcessGroup) -> None:
  """Waits until all processes end their run, then lets process 0 close the store after the others."""
  if group.count == 1:
    return
  group.client.key_value_set(f'left/{group.index}', 'done')
  group.allgather('')
  group.client.key_value_set(f'gone/{group.index}', 'done')
  if not group.is_first:
    return
  deadline = time.monotonic() + SHUTDOWN_GRACE
  while len(group.client.key_value_dir_get('gone/')) < group.count and time.monotonic() < deadline:
    time.sleep(0.1)
  time.sleep(0.5)  # for the last reads of processes that are ending
