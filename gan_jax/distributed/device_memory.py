"""Measures memory: free bytes of the host and of devices, and the peak of a compiled program."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from gan_jax.utils.errors import UserError


class OutOfDeviceMemoryError(UserError):
  """Reports a program that needs more memory than its device has free."""


def is_out_of_memory(error: BaseException | None) -> bool:
  """Returns whether an error, or one that caused it, says that the memory of device or host is exhausted."""
  while error is not None:
    text = str(error)
    if isinstance(error, (MemoryError, OutOfDeviceMemoryError)) or 'Out of memory' in text:
      return True
    if 'RESOURCE_EXHAUSTED' in text and 'No space left on device' not in text:
      return True
    error = error.__cause__
  return False


def available_host_bytes() -> int:
  """Returns the bytes that a process may take without swapping; outside Linux, all physical memory."""
  try:
    lines = Path('/proc/meminfo').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return int(fields['MemAvailable'].split()[0]) * 1024
  except (OSError, KeyError):  # not Linux
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def free_device_bytes(devices: Sequence[jax.Device]) -> int:
  """Returns the free bytes of the fullest of this process's `devices`; virtual CPU devices share the host's.

  What other processes hold of a GPU is not free.
  """
  limits = [x.memory_stats() for x in devices] if devices[0].platform != 'cpu' else []
  if limits and all(x and 'bytes_limit' in x for x in limits):
    return min(map(_free_bytes, devices, limits))
  return available_host_bytes() // len(devices)


def _free_bytes(device: jax.Device, stats: dict[str, int]) -> int:
  in_use = stats.get('bytes_in_use', 0)
  free = int(stats['bytes_limit'] - in_use)
  outside = _free_gpu_bytes(device.local_hardware_id) if device.platform == 'gpu' else None
  if outside is None:
    return free
  pool = max(0, stats.get('pool_bytes', in_use) - in_use)  # held by this process and not in use
  return min(free, outside + pool)


def _free_gpu_bytes(index: int | None) -> int | None:
  """Returns the bytes of a GPU that no process holds; None where nvidia-smi does not tell."""
  visible = [x for x in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if x.strip()]
  name = visible[index or 0].strip() if (index or 0) < len(visible) else str(index or 0)
  query = ['nvidia-smi', '--query-gpu=memory.free', '--format=csv,noheader,nounits', '-i', name]
  try:
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    return int(answer.stdout.split()[0]) * 2**20
  except (OSError, subprocess.SubprocessError, ValueError, IndexError):
    return None


def peak_bytes(compiled: Any) -> int:
  """Returns the bytes per device of a compiled program: arguments, results, temporaries and code.

  Donated arguments count once. `compiled` is what `lower(...).compile()` returns.
  """
  sizes = compiled.memory_analysis()
  return int(
    sizes.argument_size_in_bytes
    + sizes.output_size_in_bytes
    - sizes.alias_size_in_bytes
    + sizes.temp_size_in_bytes
    + sizes.generated_code_size_in_bytes
  )
