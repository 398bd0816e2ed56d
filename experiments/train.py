"""Train a GAN: every setting is a flag, a preset is a file of flags, a run is a folder.

  python -m experiments.train --flagfile=experiments/presets/mnist.flags --run=runs/mnist

The same command goes on where the run stopped. Exit codes: 0 finished, or saved after SIGTERM;
2 a mistake in the flags, the folder or the data; 3 a value was not finite; 4 another process of the
run is gone; 130 saved after Ctrl-C. On many hosts give it to each (experiments/launch/ shows how).
"""

import signal
import sys

from absl import flags

from experiments import launcher
from gan_jax.config.config import Config
from gan_jax.distributed import devices, peer_watchdog, pmap, processes, sharding
from gan_jax.distributed.processes import ProcessGroup, ProcessSpec
from gan_jax.training import input_pipeline, train

_RUN = flags.DEFINE_string(
  'run', None, 'Folder of the run; runs/ and the name of the data by default.'
)
_DEVICES = flags.DEFINE_integer(
  'devices', 0, 'Devices of each process: 0 for all; on a CPU, how many to simulate.'
)
_MAP = flags.DEFINE_enum('map', 'pmap', list(pmap.STEP_MAPS), 'How the step comes to the devices.')
_SHARD = flags.DEFINE_bool(
  'shard_params', False, 'Keep a part of weights and optimizers on each device.'
)
_STREAM = flags.DEFINE_enum(
  'stream',
  'auto',
  input_pipeline.STREAM,
  'Load images from the host as they are due; auto: where too many.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'HOST:PORT of process 0; empty where JAX finds the cluster, or for one process.',
)
_N_PROCESSES = flags.DEFINE_integer(
  'num_processes', 0, 'Processes of the run: 0 for what JAX finds, 1 for this one alone.'
)
_PROCESS_ID = flags.DEFINE_integer('process_id', -1, 'Number of this process, from 0.')
_PATIENCE = flags.DEFINE_float(
  'peer_timeout',
  processes.PEER_TIMEOUT,
  'Seconds after which a silent process counts as lost.',
  5,
  300,
)
_SETTINGS = launcher.define_fields(Config)


def join() -> ProcessGroup:
  """The processes of this run, as flags or the cluster tell; raises UserError."""
  return processes.join_group(
    ProcessSpec(_COORDINATOR.value, _N_PROCESSES.value, _PROCESS_ID.value), _say
  )


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
  """Train, and say how to go on."""
  del argv
  config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  folder = launcher.run_folder(_RUN.value, config.dataset)
  devices.simulate_cpu_devices(_DEVICES.value)
  group = join()
  with (
    launcher.ending_at_once(group.count > 1),
    peer_watchdog.PeerWatchdog(group, _say, _PATIENCE.value),
  ):
    mapped = sharding.SHARDED_PARAMS if _SHARD.value else _MAP.value
    outcome = train.train(
      config,
      folder,
      devices.choose_devices(_DEVICES.value),
      launcher.cache_dir(),
      mapped,
      group,
      _STREAM.value,
    )
  if not group.is_first and outcome.stopped_by is None:
    return launcher.ALARMED if outcome.alarm else 0
  if outcome.stopped_by is not None:
    print(f'stopped by {outcome.stopped_by.name} and saved at step {outcome.step}; go on with:')
    print(f'  {launcher.command("experiments.train", *sys.argv[1:])}')
    return launcher.INTERRUPTED if outcome.stopped_by == signal.SIGINT else 0
  if outcome.alarm is not None:
    print(
      f'ended by --stop_on={outcome.alarm.name} at step {outcome.step}: {outcome.alarm.message}'
    )
    print(f'  to judge   {launcher.command("experiments.referee", f"--run={folder}")}')
    return launcher.ALARMED
  print(f'{"already " if outcome.already else ""}finished: {outcome.step} steps in {folder}')
  print(f'  pictures   {folder / "samples"}\n  curves     {folder / "curves.png"}')
  run = f'--run={folder}'
  print(f'  to judge   {launcher.command("experiments.evaluate", run)}')
  print(f'  verdict    {launcher.command("experiments.referee", run)}')
  print(f'  to sample  {launcher.command("experiments.sample", run, "--output=samples.npz")}')
  return 0


if __name__ == '__main__':
  launcher.run(main)
