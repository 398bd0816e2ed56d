"""Train a GAN: every setting is a flag, a preset is a file of flags, a run is a folder.

  python -m experiments.train --flagfile=experiments/presets/mnist.flags --run=runs/mnist

The same command goes on where the run stopped. Exit codes: 0 finished, or saved after SIGTERM;
2 a mistake in the flags, the folder or the data; 3 a value was not finite; 130 saved after Ctrl-C.
"""

import signal
import sys
from collections.abc import Sequence

import jax
from absl import flags

from experiments import launcher
from gan_jax import train
from gan_jax.config import Config
from gan_jax.errors import UserError

_RUN = flags.DEFINE_string(
  'run', None, 'Folder of the run; runs/ and the name of the data by default.'
)
_DEVICES = flags.DEFINE_integer('devices', 0, 'Devices: 0 for all; on a CPU, how many to simulate.')
_SETTINGS = launcher.define_fields(Config)


def choose_devices(n: int) -> Sequence[jax.Device]:
  """The first n local devices, all for n = 0; CPU devices are simulated. Raises UserError."""
  if n < 0:
    raise UserError(f'--devices={n}: give a number of devices, or 0 for all')
  if n:
    jax.config.update('jax_num_cpu_devices', n)
  devices = jax.local_devices()
  if n > len(devices):
    raise UserError(f'--devices={n}: this machine has {len(devices)} ({devices[0].device_kind})')
  return devices[:n] if n else devices


def main(argv: list[str]) -> int:
  """Train, and say how to go on."""
  del argv
  config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  folder = launcher.run_folder(_RUN.value, config.dataset)
  outcome = train.train(config, folder, choose_devices(_DEVICES.value), launcher.cache_dir())
  if outcome.stopped_by is not None:
    print(f'stopped by {outcome.stopped_by.name} and saved at step {outcome.step}; go on with:')
    print(f'  {launcher.command("experiments.train", *sys.argv[1:])}')
    return launcher.INTERRUPTED if outcome.stopped_by == signal.SIGINT else 0
  print(f'{"already " if outcome.already else ""}finished: {outcome.step} steps in {folder}')
  print(f'  pictures   {folder / "samples"}\n  curves     {folder / "curves.png"}')
  run = f'--run={folder}'
  print(f'  to judge   {launcher.command("experiments.evaluate", run)}')
  print(f'  to sample  {launcher.command("experiments.sample", run, "--output=samples.npz")}')
  return 0


if __name__ == '__main__':
  launcher.run(main)
