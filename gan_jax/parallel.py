"""One pure step on one device or on all of them; this module knows no GAN."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

AXIS = 'data'


def pmap(
  fn: Callable[..., Any], devices: Sequence[jax.Device], donate_argnum: int
) -> Callable[..., Any]:
  """`fn(*args, axis_name=...)` on every device: arguments and results unmapped, one argument donated.

  The devices tell themselves apart by `lax.axis_index` alone, so the state has no device axis and a
  checkpoint can be read on any number of devices.
  """
  if len(devices) > 1 and devices[0].platform == 'cpu':
    # Virtual CPU devices share a few threads: programs with collectives that queue up behind one
    # another can starve each other for good, so let each end before the next begins.
    return _blocking(_pmap(fn, devices, donate_argnum))
  return _pmap(fn, devices, donate_argnum)


def _pmap(
  fn: Callable[..., Any], devices: Sequence[jax.Device], donate_argnum: int
) -> Callable[..., Any]:
  def on_device(device: jax.Array, *args: Any) -> Any:
    del device  # pmap wants one mapped argument
    return fn(*args, axis_name=AXIS)

  indices = np.arange(len(devices))
  compiled: dict[int, Callable[..., Any]] = {}

  def call(*args: Any) -> Any:
    if len(args) not in compiled:
      compiled[len(args)] = jax.pmap(
        on_device,
        AXIS,
        in_axes=(0, *(None for _ in args)),
        out_axes=None,
        donate_argnums=1 + donate_argnum,
        devices=devices,
      )
    return compiled[len(args)](indices, *args)

  return call


def _blocking(fn: Callable[..., Any]) -> Callable[..., Any]:
  return lambda *args: jax.block_until_ready(fn(*args))


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same arrays with a copy on every device, so that no call has to copy them again."""
  mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
  return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
