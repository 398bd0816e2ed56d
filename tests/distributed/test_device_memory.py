"""Tests that memory which other jobs hold of a GPU counts as taken."""

import os
import stat
from types import SimpleNamespace

import pytest

from gan_jax.distributed import device_memory

GIB = 2**30


def gpu(index=0, **stats):
  return SimpleNamespace(platform='gpu', local_hardware_id=index, memory_stats=lambda: stats)


@pytest.fixture
def smi(tmp_path, monkeypatch):
  """Puts a stand-in for nvidia-smi on the PATH, which tells the free MiB of the GPU that -i names."""

  def install(**free):
    script = tmp_path / 'nvidia-smi'
    cases = '\n'.join(f'  {name}) echo {mib};;' for name, mib in free.items())
    script.write_text(
      f'#!/bin/sh\nfor last; do :; done\ncase "$last" in\n{cases}\n  *) exit 6;;\nesac\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')

  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  return install


def test_what_other_processes_hold_is_not_free(smi):
  smi(**{'0': 20 * 1024, '1': 70 * 1024})
  stats = {'bytes_limit': 60 * GIB, 'bytes_in_use': 4 * GIB}
  assert device_memory.free_device_bytes([gpu(0, **stats)]) == 20 * GIB
  assert device_memory.free_device_bytes([gpu(1, **stats)]) == 56 * GIB
  assert device_memory.free_device_bytes([gpu(1, **stats), gpu(0, **stats)]) == 20 * GIB
  held = stats | {'pool_bytes': 10 * GIB}  # 6 GiB of them are free for this process only
  assert device_memory.free_device_bytes([gpu(0, **held)]) == 26 * GIB


def test_devices_are_those_that_the_process_sees(smi, monkeypatch):
  smi(**{'3': 7 * 1024, 'GPU-abc': 9 * 1024})
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,GPU-abc')
  found = [device_memory.free_device_bytes([gpu(i, bytes_limit=60 * GIB)]) for i in range(2)]
  assert found == [7 * GIB, 9 * GIB]


def test_without_nvidia_smi_the_limit_of_the_process_counts(smi):
  smi()
  stats = {'bytes_limit': 60 * GIB, 'bytes_in_use': 4 * GIB}
  assert device_memory.free_device_bytes([gpu(**stats)]) == 56 * GIB


@pytest.mark.parametrize(
  ('error', 'is_memory'),
  [
    (RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes'), True),
    (MemoryError(), True),
    (device_memory.OutOfDeviceMemoryError('not even one member fits'), True),
    (OSError('RESOURCE_EXHAUSTED: ... No space left on device'), False),
    (ValueError('shapes differ'), False),
  ],
)
def test_errors_of_memory_are_told_from_others(error, is_memory):
  assert device_memory.is_out_of_memory(error) == is_memory
  wrapped = RuntimeError('a thread failed')
  wrapped.__cause__ = error
  assert device_memory.is_out_of_memory(wrapped) == is_memory
