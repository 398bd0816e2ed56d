"""One run, however many devices share it and however the step comes to them."""

import json
import os
import subprocess
import sys

import pytest

from tests import commands, groups, layouts

FAST = ('k2-batch_norm', 'simultaneous-dropout')
SECOND = 12  # seed


def farthest(found):
  """The largest distance of a layout to one device; the maps have to be twins, bit for bit."""
  assert not any(distance for name, distance in found.items() if name.startswith('twins')), found
  return max(distance for name, distance in found.items() if name not in ('case', 'processes'))


def assert_equal_runs(run, cases):
  """Within 1e-5 with one seed or, for the few that meet a kink there, with another; prints what was found."""
  found = run(cases)
  print(found)
  assert list(found) == list(cases)
  jumped = [f'{case}@{SECOND}' for case in cases if farthest(found[case]) > 1e-5]
  assert len(jumped) <= max(1, len(cases) // 4), jumped
  if jumped:
    again = run(jumped)
    print('again, with another seed:', again)
    assert max(map(farthest, again.values())) <= 1e-5, again
  return found


@pytest.mark.slow
@pytest.mark.parametrize('case', FAST)
def test_four_devices_equal_one_and_the_maps_one_another(case):
  distances = lambda cases: {each: layouts.distances(each, (4,), steps=20) for each in cases}
  assert_equal_runs(distances, [case])


def alone(cases):
  """What one process of eight devices says of every case."""
  ended = subprocess.run(
    [sys.executable, '-m', 'tests.layouts', *cases],
    cwd=commands.ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': layouts.FLAGS},
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stderr[-3000:]
  return by_case(ended.stdout)


def by_case(output):
  lines = [line for line in output.splitlines() if line.startswith('{')]
  return {found.pop('case'): found for found in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.parametrize('case', layouts.CASES)
def test_200_steps_on_1_2_4_and_8_devices(case):
  found = assert_equal_runs(alone, [case])
  assert len(found[case]) == 13


def together(n, cases, timeout):
  """What the first of n processes with two devices each says of every case."""
  coordinator = f'localhost:{groups.free_port()}'
  env = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': layouts.FLAGS}
  members = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.layouts', f'--{coordinator},{n},{i}', *cases],
      cwd=commands.ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    for i in range(n)
  ]  # fmt: skip
  ended = groups.finish(members, timeout)
  assert [each.code for each in ended] == [0] * n, ended[0].err[-3000:]
  return by_case(ended[0].out)


@pytest.mark.slow
@pytest.mark.parametrize('update', layouts.UPDATES)
@pytest.mark.parametrize('n', [2, 4])
def test_200_steps_in_processes_of_two_devices(n, update):
  cases = [case for case in layouts.CASES if case.startswith(f'{update}-')]
  found = assert_equal_runs(lambda cases: together(n, cases, 3600), cases)
  assert {each['processes'] for each in found.values()} == {n}
