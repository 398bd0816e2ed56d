"""Predicts memory, arithmetic and communication of a run on TPUs or GPUs, on a machine without any.

  python -m experiments.pod --topology=v5e:16x16 --flagfile=... --batch_size=8192

Compiles the training step of experiments.train for a TPU slice, or for GPUs (--topology=h100:4x8:
four hosts of 8). Prints memory, FLOPs and collectives per chip, and the seconds of a step,
estimated from published peak rates. The compiler for TPUs comes with pip install 'jax[tpu]', for
GPUs with 'jax[cuda12]'. Exit codes: 0 the run fits; 1 it needs more memory than a chip has; 2 a
mistake in the flags.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path

import jax
from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.distributed import chip_specs, sharding
from gan_jax.distributed.chip_specs import Slice
from gan_jax.evaluation import plots
from gan_jax.training import ahead_of_time_compile, capacity_report, data_placement
from gan_jax.training.capacity_report import CapacityReport
from gan_jax.utils.errors import UserError

from . import command_line

_TOPOLOGY = flags.DEFINE_string('topology', 'v5e:2x4', 'TPU slice, or hosts x GPUs as h100:4x8.')
_SLICES = flags.DEFINE_integer('slices', 1, 'Number of slices, joined by network.', lower_bound=1)
_JSON = flags.DEFINE_bool('json', False, 'Print JSON instead of text.')
_PLOT = flags.DEFINE_string('plot', '', 'PNG for the predicted scaling to 8,192 chips.')
_QUICKLY = flags.DEFINE_bool('quickly', False, 'Optimise less: compiles in minutes, not hours.')
_LARGEST = flags.DEFINE_bool('largest_batch', True, 'Search the largest batch that fits.')
_SHAPE = flags.DEFINE_string(
  'shape', '', 'Shape of an example, as 64x64x3, where no data are prepared.'
)
_N_TRAIN = flags.DEFINE_integer('n_train', 0, 'Number of training examples, with --shape.')
_SHARD, _STREAM = command_line.define_placement_flags(data_placement.STREAM)
_SETTINGS = command_line.define_config_flags(Config, brief=False)
EXIT_DOES_NOT_FIT = 1


def main(argv: list[str]) -> int:
  """Prints the capacity report; raises UserError for a mistake in the flags."""
  del argv
  jax.config.update('jax_platforms', 'cpu')  # no device is used
  # A cached program for absent devices cannot be loaded.
  jax.config.update('jax_enable_compilation_cache', False)
  settings = Config(**{name: holder.value for name, holder in _SETTINGS.items()})
  slice_ = chip_specs.parse_topology(_TOPOLOGY.value, _SLICES.value)
  if slice_ is None:
    raise UserError(
      f'--topology={_TOPOLOGY.value}: known are {", ".join(chip_specs.topology_names())}'
    )
  examples = ahead_of_time_compile.data_spec_of(
    settings.dataset, _parse_shape(_SHAPE.value), _N_TRAIN.value
  )
  mapped = sharding.SHARDED_PARAMS if _SHARD.value else 'pmap'
  options = capacity_report.CompileOptions(mapped, _QUICKLY.value, _STREAM.value)
  try:
    report = capacity_report.measure_capacity(settings, examples, slice_, options)
  except ahead_of_time_compile.DoesNotFitError as error:
    print(_does_not_fit_line(error, settings, slice_), file=sys.stderr)
    return EXIT_DOES_NOT_FIT
  report = capacity_report.add_projections(
    report, settings, examples, slice_, options, _LARGEST.value
  )
  print(json.dumps(as_json(report, slice_), indent=2) if _JSON.value else as_text(report, slice_))
  if _PLOT.value:
    plots.plot_pod_scaling(Path(_PLOT.value), report.scaling, slice_.generation)
  return 0


def _parse_shape(text: str) -> tuple[int, ...]:
  if text and not all(side.isdecimal() and int(side) for side in text.split('x')):
    raise UserError(f'--shape={text}: write it as 64x64x3')
  return tuple(int(side) for side in text.split('x')) if text else ()


def _does_not_fit_line(
  error: ahead_of_time_compile.DoesNotFitError, settings: Config, slice_: Slice
) -> str:
  """Returns one line with the missing bytes and the settings that reduce memory."""
  advice = [f'a smaller --batch_size than {settings.batch_size}', 'more chips with the same batch']
  if not settings.remat:
    advice.append('--remat where the network has it')
  if not _SHARD.value:
    advice.append('--shard_params')
  advice.append(f'--accumulate={2 * settings.accumulate}')
  if settings.dtype != 'bfloat16':
    advice.append('--dtype=bfloat16')
  advice += ['smaller --g_width and --d_width']
  return (
    f'error: --topology={slice_.name}: does not fit: {error.needed:.0f} bytes per chip are needed and '
    f'{error.has:.0f} are available; {error.needed - error.has:.0f} bytes are missing. '
    f'Try {", or ".join(advice)}'
  )


def as_json(report: CapacityReport, slice_: Slice) -> dict[str, object]:
  """Returns the report with derived values and the peak rates assumed of a chip, for JSON."""
  derived = {
    'arithmetic_intensity': report.intensity,
    'binds': report.binds,
    'step_seconds': report.step_seconds,
    'assumed': slice_.chip._asdict(),
  }
  return dataclasses.asdict(report) | derived


def as_text(report: CapacityReport, slice_: Slice) -> str:
  """Returns the report as lines of text."""
  chip = slice_.chip
  mib = lambda n: f'{n / 2**20:,.1f} MiB'
  microseconds = [f'{1e6 * x:,.0f} us' for x in (*report.seconds, report.step_seconds)]
  n_collectives = sum(count for _, _, count in report.collectives)
  ridge = chip.flops / chip.hbm_bandwidth
  lines = [
    f'{report.topology}: {report.chips} chips, batch {report.batch_size} '
    f'({report.batch_size // report.chips} a chip)',
    'memory of a chip, from the compiler',
    f'  weights and their averages  {mib(report.parameters)}',
    f'  optimizers                  {mib(report.optimizer)}',
    f'  training images             {mib(report.data)}'
    + (', a window of a stream' if report.streamed else ''),
    f'  activations, temporaries    {mib(report.activations)}',
    f'  peak                        {mib(report.peak_memory)} of {mib(report.memory)}',
    'one step on one chip',
    f'  arithmetic                  {report.flops / 1e9:,.3f} GFLOP, loops counted by their length',
    f'  bytes moved, at most        {report.n_bytes / 1e6:,.1f} MB: what operations read and write',
    f'  intensity                   {report.intensity:.1f} FLOP per byte (the roofs meet at {ridge:.0f})',
    f'  collectives                 {n_collectives:g} per step: '
    + ', '.join(f'{count:g} x {kind} of {n:,} bytes' for kind, n, count in report.collectives),
    f'  transfers to the host       {len(report.host_transfers)}',
    'estimated from published peaks, not measured',
    f'  arithmetic, memory, links   {", ".join(microseconds[:3])}: bound by {report.binds}',
    f'  a step                      {microseconds[3]}',
  ]
  if report.chip_hours_per_epoch is not None:
    lines.append(f'  an epoch                    {report.chip_hours_per_epoch:.2g} chip-hours')
  if report.largest_batch is not None:
    lines.append(f'  largest batch (compiled)    {report.largest_batch}')
  lines += ['  same batch per chip         chips   pods    images/s  efficiency'] + [
    f'  {"":<26}{row["chips"]:>7}{row["pods"]:>7}{row["images_per_second"]:>12.3g}'
    f'{100 * row["efficiency"]:>10.1f} %'
    for row in report.scaling
    if math.log2(row['chips']) % 2 == 1 or row['chips'] == 1
  ]
  return '\n'.join([*lines, f'source: {chip.source}'])


if __name__ == '__main__':
  command_line.run_script(main)
