"""Measures memory: free bytes of the host and of devices, and the peak of a compiled program."""

import os
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
  """Returns the free bytes of each of this process's `devices`; virtual CPU devices share the host's."""
  limits = devices[0].memory_stats() if devices[0].platform != 'cpu' else None
  if limits and 'bytes_limit' in limits:
    return int(limits['bytes_limit'] - limits.get('bytes_in_use', 0))
  return available_host_bytes() // len(devices)


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
