"""Trains a GAN: every setting is a flag, a preset is a file of flags, a run is a folder.

  python -m experiments.train --flagfile=experiments/presets/mnist.flags --run=runs/mnist

The same command resumes a run that stopped; --from starts a new one from the checkpoint of another.
Exit codes: 0 finished; 2 a mistake in the flags, the folder or the data; 3 a value was not finite;
4 another process of the run was lost; 5 an alarm of --stop_on; 128 + N saved after signal N (130
Ctrl-C, 143 SIGTERM). On several hosts, start it on each (see experiments/launch/).
"""

import sys
from pathlib import Path

from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.distributed import devices, peer_watchdog, pmap, processes, sharding
from gan_jax.distributed.processes import ProcessSpec
from gan_jax.training import data_placement, fork_run, train
from gan_jax.training.fork_run import ForkSource
from gan_jax.utils.errors import UserError

from . import command_line, exit_codes

_RUN = flags.DEFINE_string('run', None, 'Folder of the run; by default runs/ and the data set.')
_DEVICES = flags.DEFINE_integer('devices', 0, 'Devices per process; 0: all. A CPU simulates them.')
_MAP = flags.DEFINE_enum('map', 'pmap', list(pmap.STEP_MAPS), 'Map of the step over devices.')
_SHARD, _STREAM = command_line.define_placement_flags(data_placement.STREAM)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', '', 'HOST:PORT of process 0; empty to let JAX detect it.'
)
_N_PROCESSES = flags.DEFINE_integer(
  'num_processes', 0, 'Processes of the run: 0 to let JAX detect them, 1 for a single one.'
)
_PROCESS_ID = flags.DEFINE_integer('process_id', -1, 'Number of this process, from 0.')
_PEER_TIMEOUT = flags.DEFINE_float(
  'peer_timeout',
  processes.PEER_TIMEOUT,
  'Seconds without a heartbeat until a process counts as lost.',
  5,
  300,
)
_FROM = flags.DEFINE_string('from', None, 'Folder of a run to begin from, with changed settings.')
_FROM_CHECKPOINT = flags.DEFINE_string(
  'from_checkpoint', 'last', 'Checkpoint of --from: last, best, or a step.'
)
_SETTINGS = command_line.define_config_flags(Config)


def _print_line(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
  """Trains the run and prints what to do next."""
  del argv
  config, folder, fork = _read_settings()
  devices.simulate_cpu_devices(_DEVICES.value)
  spec = ProcessSpec(_COORDINATOR.value, _N_PROCESSES.value, _PROCESS_ID.value)
  group = processes.join_group(spec, _print_line)
  with (
    command_line.exit_at_once_on_error(group.count > 1),
    peer_watchdog.PeerWatchdog(group, _print_line, _PEER_TIMEOUT.value),
  ):
    outcome = train.train(
      config,
      folder,
      devices.choose_devices(_DEVICES.value),
      command_line.cache_dir(),
      sharding.SHARDED_PARAMS if _SHARD.value else _MAP.value,
      group,
      _STREAM.value,
      fork,
    )
  if group.is_first or outcome.stopped_by is not None:
    _print_outcome(outcome, folder)
  if outcome.stopped_by is not None:
    return exit_codes.after_signal(outcome.stopped_by)
  return exit_codes.EXIT_ALARM if outcome.alarm else 0


def _read_settings() -> tuple[Config, Path, ForkSource | None]:
  """Returns the settings of the run, its folder, and the checkpoint of another run that it begins from."""
  if _FROM.value is None:
    if _FROM_CHECKPOINT.present:
      raise UserError(
        f'--from_checkpoint={_FROM_CHECKPOINT.value}: of which run? give --from=FOLDER'
      )
    config = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
    return config, command_line.run_directory(_RUN.value, config.dataset), None
  if _RUN.value is None:
    raise UserError(f'--from={_FROM.value}: give --run=FOLDER, a folder for the new run')
  fork, folder = ForkSource(Path(_FROM.value), _FROM_CHECKPOINT.value), Path(_RUN.value)
  given = {name: holder.value for name, holder in _SETTINGS.items() if holder.present}
  return fork_run.fork_config(fork, folder, given), folder, fork


def _print_outcome(outcome: train.Outcome, folder: Path) -> None:
  """Prints how training ended, and the commands that come next."""
  run = f'--run={folder}'
  if outcome.stopped_by is not None:
    print(f'stopped by {outcome.stopped_by.name} and saved at step {outcome.step}; go on with:')
    print(f'  {command_line.shell_command("train", *sys.argv[1:])}')
    return
  if outcome.alarm is not None:
    alarm = outcome.alarm
    print(f'ended by --stop_on={alarm.name} at step {outcome.step}: {alarm.message}')
  else:
    print(f'{"already " if outcome.already else ""}finished: {outcome.step} steps in {folder}')
    print(f'  pictures   {folder / "samples"}\n  curves     {folder / "curves.png"}')
    print(f'  evaluate   {command_line.shell_command("evaluate", run)}')
  print(f'  verdict    {command_line.shell_command("referee", run)}')
  if outcome.alarm is None:
    sample = command_line.shell_command('sample', run, '--output=samples.npz')
    print(f'  sample     {sample}')


if __name__ == '__main__':
  command_line.run_script(main)
