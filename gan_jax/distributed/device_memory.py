"""How many bytes are free, on this machine and on its devices."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax


def available() -> int:
  """Bytes that a process may take without swapping."""
  try:
    lines = Path('/proc/meminfo').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return int(fields['MemAvailable'].split()[0]) * 1024
  except (OSError, KeyError):  # not Linux: all of it, as far as anybody says
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def free_on(devices: Sequence[jax.Device]) -> int:
  """Bytes that are free on each of these devices of this process."""
  limits = devices[0].memory_stats() if devices[0].platform != 'cpu' else None
  if limits and 'bytes_limit' in limits:
    return int(limits['bytes_limit'] - limits.get('bytes_in_use', 0))
  return available() // len(devices)
