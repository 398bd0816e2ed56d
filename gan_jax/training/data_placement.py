"""Decides whether a data set is kept on the devices or streamed from the host."""

import jax

from gan_jax.distributed import device_memory, sharding
from gan_jax.distributed.sharding import Devices
from gan_jax.evaluation.tasks import Task
from gan_jax.utils.errors import UserError

STREAM = ('auto', 'yes', 'no')  # choices of --stream
_MAX_RESIDENT_SHARE = 0.25  # of a device's free memory: a larger data set is streamed


def should_stream(choice: str, task: Task, devices: Devices) -> bool:
  """Decides by --stream and by the free memory of the devices whether to stream; raises UserError."""
  needed = sum(x.nbytes for x in jax.tree.leaves(task.training_data(held_out=False)))
  free = device_memory.free_device_bytes(sharding.local_devices(devices))
  return should_stream_bytes(choice, task.name, task.streamable, needed, free)


def should_stream_bytes(
  choice: str, name: str, streamable: bool, n_bytes: int, free: float
) -> bool:
  """Decides whether to stream `n_bytes` of images to devices with `free` bytes each; raises UserError."""
  if choice == 'yes' and not streamable:
    reason = f'the examples of {name} are made on the device'
    raise UserError(f'--stream=yes: {reason}; give --stream=auto')
  if choice != 'auto' or not streamable:
    return choice == 'yes'
  return n_bytes > _MAX_RESIDENT_SHARE * free
