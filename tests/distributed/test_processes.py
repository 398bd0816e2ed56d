"""Process groups, and runs of two processes: equal to one process, stopped together, ended on a lost peer."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gan_jax.distributed import peer_watchdog, processes
from gan_jax.distributed.processes import ProcessGroup, ProcessSpec
from gan_jax.utils.errors import AllProcessesError, UserError
from tests.helpers import commands, process_groups
from tests.helpers.tiny_gan import assert_trees_close

COMPILE_OPTIMIZED = True  # compares bits of the programs that users run


class Store:
  """Imitates JAX's key-value store for process groups whose members are threads."""

  def __init__(self, count):
    self._values, self._count, self._barriers = {}, count, {}
    self._lock = threading.Lock()

  def key_value_set(self, key, value, allow_overwrite=False):
    with self._lock:
      assert value
      assert allow_overwrite or key not in self._values
      self._values[key] = value

  def key_value_dir_get(self, folder):
    with self._lock:
      return [(key, value) for key, value in self._values.items() if key.startswith(folder)]

  def key_value_delete(self, folder):
    with self._lock:
      self._values = {k: v for k, v in self._values.items() if not k.startswith(folder)}

  def wait_at_barrier(self, name, timeout):
    with self._lock:
      barrier = self._barriers.setdefault(name, threading.Barrier(self._count))
    barrier.wait(timeout / 1000)


def run_threads(count, fn):
  """Returns the result or UserError of `fn(group)` in each of `count` threads."""
  store, found = Store(count), [None] * count

  def member(i):
    try:
      found[i] = fn(ProcessGroup(i, count, store))
    except UserError as error:
      found[i] = error

  threads = [threading.Thread(target=member, args=(i,)) for i in range(count)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(20)
  return found


def test_allgather_returns_the_values_of_all_processes_every_time():
  def talk(group):
    return [group.allgather(f'{group.index}:{i}') for i in range(20)]

  expected = [[f'{i}:{round_}' for i in range(3)] for round_ in range(20)]
  assert run_threads(3, talk) == [expected] * 3


def test_broadcast_returns_the_value_of_process_0():
  assert (
    run_threads(3, lambda group: group.broadcast_from_first(lambda: [group.index, 'x']))
    == [[0, 'x']] * 3
  )
  assert processes.SINGLE_PROCESS.broadcast_from_first(lambda: 5) == 5


def test_an_error_in_one_process_is_raised_in_all():
  def act(group):
    def fn():
      if group.index == 1:
        raise UserError('--x=1: no')
      return group.index

    return group.run_on_all(fn)

  found = run_threads(3, act)
  assert all(isinstance(error, AllProcessesError) for error in found)
  assert [str(error) for error in found] == [
    'process 1: --x=1: no',
    '--x=1: no',
    'process 1: --x=1: no',
  ]
  assert processes.SINGLE_PROCESS.run_on_all(lambda: 3) == 3


def test_what_differs_between_processes_is_named():
  facts = lambda group: {'--k': 2 if group.index == 1 else 1, 'jax': '0.10', '--r1': 1.0}
  found = run_threads(2, lambda group: group.require_same(facts(group)))
  assert all('process 1 differs from process 0: --k is 2 there and 1' in str(x) for x in found)
  assert all('--r1' not in str(x) for x in found)
  assert run_threads(2, lambda group: group.require_same({'jax': '0.10'})) == [None, None]


@pytest.mark.parametrize(
  ('spec', 'words'),
  [
    (ProcessSpec('host', 2, 0), '--coordinator=host: give HOST:PORT'),
    (ProcessSpec('host:x', 2, 0), '--coordinator=host:x: give HOST:PORT'),
    (ProcessSpec('host:99999', 2, 0), 'give HOST:PORT'),
    (ProcessSpec('host:1', 2), 'give --num_processes and --process_id'),
    (ProcessSpec('', 2, 1), 'give --coordinator'),
    (ProcessSpec('host:1', 2, 2), '--process_id=2: with --num_processes=2 they are 0 to 1'),
    (ProcessSpec('host:1', -2, 0), '--num_processes=-2'),
  ],
)
def test_inconsistent_process_flags_are_refused(spec, words):
  with pytest.raises(UserError, match=words.replace('(', r'\(')):
    processes.join_group(spec, print)


def test_one_process_needs_no_coordinator():
  assert processes.join_group(ProcessSpec(num_processes=1), print) is processes.SINGLE_PROCESS


JOIN = """
import sys
from gan_jax.distributed import processes
processes._JOIN_TIMEOUT = 3
spec = processes.ProcessSpec(f'localhost:{sys.argv[1]}', 2, int(sys.argv[2]))
processes.join_group(spec, lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize(
  ('process', 'words'), [(1, 'no answer from the coordinator localhost'), (0, 'not all of the 2')]
)
def test_a_process_without_peers_exits_in_time(process, words):
  ended = subprocess.run(
    [sys.executable, '-c', JOIN, str(process_groups.free_port()), str(process)],
    cwd=commands.ROOT, capture_output=True, text=True, timeout=60,
  )  # fmt: skip
  assert ended.returncode == 2, ended
  assert words in ended.stdout


def watch(monkeypatch, count=2, timeout=0.4, index=1):
  """Returns a watchdog, its store, the lines it prints, and an event set when it would exit."""
  lines, over = [], threading.Event()
  monkeypatch.setattr(peer_watchdog, '_HEARTBEAT_SECONDS', 0.05)
  monkeypatch.setattr(peer_watchdog, '_on_abort', lambda end: None)
  monkeypatch.setattr(peer_watchdog.os, '_exit', lambda code: over.set())
  store = Store(count)
  watchdog = peer_watchdog.PeerWatchdog(ProcessGroup(index, count, store), lines.append, timeout)
  return watchdog, store, lines, over


def test_a_silent_peer_ends_the_process_after_the_timeout(monkeypatch):
  watchdog, store, lines, over = watch(monkeypatch)
  watchdog.__enter__()
  for i in range(20):
    store.key_value_set('alive/0', str(i), True)
    time.sleep(0.05)
  assert not lines
  assert over.wait(5)
  assert 'process 0 has sent no heartbeat' in lines[0]


def test_a_failed_peer_ends_the_process_and_a_finished_one_does_not(monkeypatch):
  watchdog, store, lines, over = watch(monkeypatch, count=3)
  store.key_value_set('left/2', 'done')
  store.key_value_set('alive/0', '1')
  watchdog.__enter__()
  time.sleep(0.1)
  store.key_value_set('failed/0', 'the disk is full')
  assert over.wait(5)
  assert 'process 0 ended: the disk is full' in lines[0]
  assert store.key_value_dir_get('heard/') == [('heard/1', '1')]


@pytest.mark.parametrize('told', [False, True])
def test_process_0_keeps_the_store_open_until_the_others_have_read_the_reason(told, monkeypatch):
  watchdog, store, lines, over = watch(monkeypatch, count=4 if told else 3, index=0)
  watchdog.__enter__()
  for i in range(200):
    for process in (1, 3) if told else (1,):
      store.key_value_set(f'alive/{process}', str(i), True)
    time.sleep(0.02)
    if told and i == 10:  # one of the others was sooner to notice
      store.key_value_set('failed/3', 'process 2 has sent no heartbeat, says process 3')
    if lines:
      break
  assert 'process 2 has sent no heartbeat' in lines[0]
  assert not over.wait(0.5)
  store.key_value_set('heard/1', '1')
  assert over.wait(5)


def test_a_store_without_answers_ends_the_process(monkeypatch):
  watchdog, store, lines, over = watch(monkeypatch)
  stuck = threading.Event()
  store.key_value_dir_get = lambda folder: stuck.wait(20) or []
  watchdog.__enter__()
  assert over.wait(5)
  assert 'the coordinator (process 0) has not answered' in lines[0]
  stuck.set()


# Real processes


@pytest.fixture(scope='module')
def env(tmp_path_factory, pytestconfig):
  return process_groups.environment(pytestconfig.cache.mkdir('scripts'))


@pytest.fixture(scope='module')
def unbroken(env, tmp_path_factory):
  run = tmp_path_factory.mktemp('unbroken') / 'run'
  process_groups.train(run, env)
  return run


def test_two_processes_equal_one(unbroken, env, tmp_path):
  run = tmp_path / 'one'
  ended = commands.finish(commands.start('train', *process_groups.RING, f'--run={run}', env=env))
  assert ended.code == 0, ended
  assert_trees_close(commands.load_state(unbroken), commands.load_state(run), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_the_run_resumes_bit_for_bit(unbroken, env, tmp_path):
  run = tmp_path / 'run'
  pair = process_groups.start(run, env)
  process_groups.wait_for_step(run, 20, pair)
  pair[1].send_signal(signal.SIGTERM)
  ended = process_groups.finish(pair)
  assert [each.code for each in ended] == [143, 143], ended
  for each in ended:
    assert 'stopped by SIGTERM and saved at step' in each.out
    assert 'go on with:' in each.out
  resumed = process_groups.train(run, env)
  assert 'going on from step' in resumed.err
  commands.assert_same_run(run, unbroken)


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_processes(unbroken, env, tmp_path):
  run = tmp_path / 'run'
  pair = process_groups.start(run, env)
  process_groups.wait_for_step(run, 20, pair)
  pair[0].send_signal(signal.SIGTERM)
  assert [each.code for each in process_groups.finish(pair)] == [143, 143]
  alone = ('--devices=4', '--map=shard_map')
  ended = commands.finish(
    commands.start('train', *process_groups.RING, *alone, f'--run={run}', env=env)
  )
  assert ended.code == 0, ended
  assert_trees_close(commands.load_state(run), commands.load_state(unbroken), rtol=1e-5, atol=1e-6)


def test_other_flags_in_one_process_are_refused(env, tmp_path):
  pair = process_groups.start(tmp_path / 'run', env, each={1: ('--seed=3',)})
  for ended in process_groups.finish(pair):
    assert ended.code == 2, ended
    assert 'process 1 differs from process 0: --seed is 3 there and 0' in process_groups.last_line(
      ended
    )
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
  ('victim', 'fault'), [(1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)]
)
def test_a_lost_process_ends_the_others(victim, fault, env, tmp_path):
  run = tmp_path / 'run'
  pair = process_groups.start(run, env, '--steps=100000', '--eval_every=100000')
  process_groups.wait_for_step(run, 10, pair)
  os.kill(pair[victim].pid, fault)
  began = time.monotonic()
  (survivor,) = process_groups.finish([pair[1 - victim]], timeout=60)
  assert time.monotonic() - began < 40
  process_groups.end(pair[victim])
  assert survivor.code == process_groups.EXIT_PEER_LOST, survivor
  assert 'error: ' in survivor.err
  assert f'process {victim}' in survivor.err
  assert 'give the same command to all processes again' in survivor.err
