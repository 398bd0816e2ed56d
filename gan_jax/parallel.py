"""One pure step on one device or on all of them; this module knows no GAN."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

AXIS = 'data'


def pmap(
  fn: Callable[..., Any], devices: Sequence[jax.Device], n_args: int, donate_argnum: int
) -> Callable[..., Any]:
  """`fn(*args, axis_name=...)` on every device: arguments and results unmapped, one of them donated.

  The devices tell themselves apart by `lax.axis_index` alone, so the state has no device axis and a
  checkpoint can be read on any number of devices.
  """

  def on_device(device: jax.Array, *args: Any) -> Any:
    del device  # pmap wants one mapped argument
    return fn(*args, axis_name=AXIS)

  mapped = jax.pmap(
    on_device,
    AXIS,
    in_axes=(0, *(None for _ in range(n_args))),
    out_axes=None,
    donate_argnums=1 + donate_argnum,
    devices=devices,
  )
  call = functools.partial(mapped, np.arange(len(devices)))
  if len(devices) > 1 and devices[0].platform == 'cpu':
    # Virtual CPU devices share a few threads: programs with collectives that queue up behind one
    # another can starve each other for good, so let each end before the next begins.
    return lambda *args: jax.block_until_ready(call(*args))
  return call


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same arrays with a copy on every device, so that no call has to copy them again."""
  mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
  return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
