"""A run gives the same result on any number of devices and with any step map."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import commands, device_layouts, process_groups

FAST = ('k2-batch_norm', 'simultaneous-dropout')


def assert_equal_runs(found, tolerance=1e-5):
  for name, distance in found.items():
    if name.startswith('twins'):
      assert distance == 0, (name, distance)
    else:
      assert distance <= tolerance, (name, distance)


@pytest.mark.slow
@pytest.mark.parametrize('case', FAST)
def test_four_devices_equal_one_and_step_maps_agree(case):
  assert_equal_runs(device_layouts.distances(case, (4,), steps=20))


@pytest.mark.slow
@pytest.mark.parametrize('case', device_layouts.CASES)
def test_200_steps_on_1_2_4_and_8_devices(case):
  ended = subprocess.run(
    [sys.executable, '-m', 'tests.helpers.device_layouts', case],
    cwd=commands.ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': device_layouts.FLAGS},
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stderr[-3000:]
  found = json.loads(ended.stdout)
  found.pop('case')
  print(found)
  assert len(found) == 13
  assert_equal_runs(found)


def run_in_processes(n, cases, timeout):
  """Returns the distances of every case, from process 0 of n processes with two devices each."""
  coordinator = f'localhost:{process_groups.free_port()}'
  env = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': device_layouts.FLAGS}
  members = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.helpers.device_layouts', f'--{coordinator},{n},{i}', *cases],
      cwd=commands.ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    for i in range(n)
  ]  # fmt: skip
  ended = process_groups.finish(members, timeout)
  assert [each.code for each in ended] == [0] * n, ended[0].err[-3000:]
  lines = [line for line in ended[0].out.splitlines() if line.startswith('{')]
  return {found.pop('case'): found for found in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.parametrize('update', device_layouts.UPDATES)
@pytest.mark.parametrize('n', [2, 4])
def test_200_steps_in_processes_of_two_devices(n, update):
  cases = [case for case in device_layouts.CASES if case.startswith(f'{update}-')]
  found = run_in_processes(n, cases, 3600)
  print(found)
  assert set(found) == set(cases)
  for case, distances in found.items():
    assert distances.pop('processes') == n
    assert distances.pop('twins') == 0, case
    assert max(distances.values()) <= 1e-5, (case, distances)
