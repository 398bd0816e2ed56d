"""Chooses the devices of a run, and simulates several on a CPU."""

import jax

from gan_jax.utils.errors import UserError


def simulate_cpu_devices(n: int, default: int = 0) -> None:
  """Makes a CPU appear as `n` devices, or as `default` for n = 0 (one device for 0 of both).

  Takes effect only before the first use of a device. Raises UserError for n < 0.
  """
  if n < 0:
    raise UserError(f'--devices={n}: give a number of devices, or 0 for all')
  if n or default:
    jax.config.update('jax_num_cpu_devices', n or default)


def choose_devices(n: int) -> list[jax.Device]:
  """Returns the first `n` devices of each process, all for n = 0; raises UserError where there are fewer."""
  local = jax.local_devices()
  if n > len(local):
    raise UserError(f'--devices={n}: this machine has {len(local)} ({local[0].device_kind})')
  if not n:
    return jax.devices()
  return [x for i in range(jax.process_count()) for x in jax.local_devices(process_index=i)[:n]]
