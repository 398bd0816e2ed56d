"""The processes of one run: how they find one another, agree on what comes next, and end together.

Everything small that they tell each other goes through the key-value store of JAX's coordination service,
which process 0 hosts, and never through a device: it works while programs run, and after they broke.
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

EXIT_PEER_LOST = 4  # exit code of a process whose peers are gone
PEER_TIMEOUT = 30.0  # seconds without a sign of life after which a process counts as lost
SHUTDOWN_GRACE = (
  10.0  # seconds that process 0 keeps the store open, at most, for what others read at the end
)
_START = 55.0  # seconds to wait for all processes at the start
_A_DAY = (
  24 * 3600 * 1000
)  # milliseconds: nothing that lives is given up, the watchdog finds what does not
T = TypeVar('T')


class ProcessGroup:
  """The processes of a run as one of them sees it; without a `client` it is alone."""

  def __init__(self, index: int = 0, count: int = 1, client: Any = None):
    self.index, self.count, self.client = index, count, client
    self._meetings = 0

  @property
  def is_first(self) -> bool:
    """Whether this process writes files for all."""
    return self.index == 0

  def allgather(self, value: str) -> list[str]:
    """What every process says, in their order; each has to ask for it at the same point of its program."""
    if self.count == 1:
      return [value]
    folder, self._meetings = f'meetings/{self._meetings}/', self._meetings + 1
    self.client.key_value_set(f'{folder}{self.index}', f'"{value}')  # no value may be empty
    self.client.wait_at_barrier(folder, _A_DAY)
    told = {key.rsplit('/', 1)[1]: text for key, text in self.client.key_value_dir_get(folder)}
    if self.is_first and self._meetings > 1:  # nobody reads what was said before this barrier
      self.client.key_value_delete(f'meetings/{self._meetings - 2}/')
    return [told[str(i)][1:] for i in range(self.count)]

  def broadcast_from_first(self, fn: Callable[[], T]) -> T:
    """What `fn` gives in process 0, in every process; it has to be fit for JSON."""
    if self.count == 1:
      return fn()
    told = self.allgather(json.dumps(fn()) if self.is_first else '')
    found: T = json.loads(told[0])
    return found

  def run_on_all(self, fn: Callable[[], T]) -> T:
    """What `fn` gives here; where it raises UserError in any process, every process raises it."""
    if self.count == 1:
      return fn()
    result, refusal = None, ''
    try:
      result = fn()
    except UserError as error:
      refusal = str(error)
    told = self.allgather(refusal)
    if refusal:
      raise AllProcessesError(refusal)
    for i, text in enumerate(told):
      if text:
        raise AllProcessesError(f'process {i}: {text}')
    return cast(T, result)

  def require_same(self, facts: dict[str, Any]) -> None:
    """Raise UserError, in every process, where one of them differs from process 0, naming each difference."""
    told = [json.loads(text) for text in self.allgather(json.dumps(facts, default=str))]
    for i, other in enumerate(told):
      odd = [
        f'{name} is {other.get(name)} there and {told[0].get(name)} in process 0'
        for name in dict.fromkeys([*told[0], *other])
        if other.get(name) != told[0].get(name)
      ]
      if odd:
        raise AllProcessesError(
          f'process {i} differs from process 0: {"; ".join(odd)}; '
          'start all processes with the same flags, data and versions'
        )


SINGLE_PROCESS = ProcessGroup()


class ProcessSpec(NamedTuple):
  """Where a process stands among the others, as the command line says it; the defaults let JAX find out."""

  coordinator: str = ''
  num_processes: int = 0
  process_id: int = -1


def join_group(place: ProcessSpec, say: Callable[[str], None]) -> ProcessGroup:
  """Find the other processes, before anything asks for a device; raises UserError.

  Without a coordinator JAX looks for a cluster (Cloud TPU, Slurm, Open MPI, Kubernetes); where there is
  none the process is alone, as with num_processes = 1. If not all processes are there after a minute
  the process ends with code 2, having said so through `say`.
  """
  if place.num_processes == 1 or (place == ProcessSpec() and not _may_be_cluster()):
    return SINGLE_PROCESS
  _check(place)
  # On a CPU programs of many processes need this; other platforms do not look at it.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  jax.config.update('jax_enable_preemption_service', False)  # the loop asks all processes itself
  late = threading.Timer(_START, _give_up, (place, say))
  late.daemon = True
  late.start()
  try:
    jax.distributed.initialize(
      coordinator_address=place.coordinator or None,
      num_processes=place.num_processes or None,
      process_id=None if place.process_id < 0 else place.process_id,
      initialization_timeout=600,  # at its own end JAX would abort the process
      heartbeat_timeout_seconds=600,  # likewise: the watchdog is sooner
      shutdown_timeout_seconds=20,
    )
  except ValueError as error:
    if 'coordinator_address should be defined' not in str(error):
      raise UserError(f'--coordinator={place.coordinator}: {error}') from error
    return SINGLE_PROCESS
  except RuntimeError as error:
    raise UserError(
      f'--coordinator={place.coordinator}: the processes cannot meet ({error})'
    ) from error
  finally:
    late.cancel()
  state = distributed.global_state
  return ProcessGroup(state.process_id, state.num_processes, state.client)


def _may_be_cluster() -> bool:
  """Whether looking for one makes sense: a pod of Kubernetes that is no job is none, and asking warns."""
  return 'KUBERNETES_SERVICE_HOST' not in os.environ or 'JOB_COMPLETION_INDEX' in os.environ


def _check(place: ProcessSpec) -> None:
  host, colon, port = place.coordinator.rpartition(':')
  if place.coordinator and not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
    raise UserError(
      f'--coordinator={place.coordinator}: give HOST:PORT of process 0, as in 10.0.0.1:1234'
    )
  if place.num_processes < 0:
    raise UserError(f'--num_processes={place.num_processes}: give a number of processes')
  if place.num_processes and place.process_id >= place.num_processes:
    raise UserError(
      f'--process_id={place.process_id}: with --num_processes={place.num_processes} '
      f'they are 0 to {place.num_processes - 1}'
    )
  given = (bool(place.coordinator), place.num_processes > 0, place.process_id >= 0)
  if place.coordinator and not all(given):
    raise UserError(
      f'--coordinator={place.coordinator}: give --num_processes and --process_id with it'
    )
  if not place.coordinator and any(given):
    raise UserError('--num_processes and --process_id: give --coordinator=HOST:PORT with them')


def _give_up(place: ProcessSpec, say: Callable[[str], None]) -> None:
  """End this process, whose start waits for others that do not come."""
  where = place.coordinator or 'of the cluster'
  if place.process_id == 0:
    what = f'not all of the {place.num_processes} processes have come'
  else:
    what = f'no answer from the coordinator {where}, or not all processes have come'
  say(
    f'error: --coordinator={place.coordinator}: {what} within {_START:.0f} s; '
    'start all processes within a minute, and see that their hosts reach that address'
  )
  os._exit(2)


def leave_group(group: ProcessGroup) -> None:
  """Let go of the others when all have come to the same end."""
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
  time.sleep(0.5)  # until those who are about to go do not look at the store any more
