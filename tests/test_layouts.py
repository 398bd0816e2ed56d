"""One run, however many devices share it and however the step comes to them."""

import json
import os
import subprocess
import sys

import pytest

from tests import commands, layouts

FAST = ('k2-batch_norm', 'simultaneous-dropout')


def assert_equal_runs(found, tolerance=1e-5):
  for name, distance in found.items():
    if name.startswith('twins'):
      assert distance == 0, (name, distance)
    else:
      assert distance <= tolerance, (name, distance)


@pytest.mark.parametrize('case', FAST)
def test_four_devices_equal_one_and_the_maps_one_another(case):
  assert_equal_runs(layouts.distances(case, (4,), steps=20))


@pytest.mark.slow
@pytest.mark.parametrize('case', layouts.CASES)
def test_200_steps_on_1_2_4_and_8_devices(case):
  ended = subprocess.run(
    [sys.executable, '-m', 'tests.layouts', case],
    cwd=commands.ROOT, env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': layouts.FLAGS},
    capture_output=True, text=True, timeout=600,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stderr[-3000:]
  found = json.loads(ended.stdout)
  found.pop('case')
  print(found)
  assert len(found) == 13
  assert_equal_runs(found)
