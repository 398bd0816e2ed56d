"""Compiles the training steps of presets for TPU slices; needs the TPU compiler.

python -m tests.helpers.compiled_steps PRESET TOPOLOGY[*SLICES]...

Prints a line of JSON for each topology.
"""

import dataclasses
import json
import sys

from absl import flags

from experiments import command_line
from gan_jax.config.run_config import Config
from gan_jax.distributed import chip_specs
from gan_jax.training import ahead_of_time_compile, capacity_report

SETTINGS = command_line.define_config_flags(Config)
CONVOLUTIONS = ('dcgan', 'sngan', 'r3gan', 'conv_2014')


def compile_preset(preset, topology, slices=1):
  """Returns the capacity report of a preset on a slice, with 32 examples per chip."""
  flags.FLAGS(['compiled_steps', f'--flagfile=experiments/presets/{preset}.flags'])
  settings = Config(**{name: holder.value for name, holder in SETTINGS.items()})
  slice_ = chip_specs.parse_topology(topology, slices)
  settings = dataclasses.replace(settings, batch_size=32 * slice_.n_chips)
  quickly = settings.network in CONVOLUTIONS
  size = settings.image_size
  data_spec = ((size, size, 3), 100_000) if settings.dataset.startswith('folder:') else ()
  examples = ahead_of_time_compile.data_spec_of(settings.dataset, *data_spec)
  return capacity_report.measure_capacity(
    settings, examples, slice_, capacity_report.CompileOptions(quickly=quickly)
  )


if __name__ == '__main__':
  for name in sys.argv[2:]:
    topology, _, slices = name.partition('*')
    report = compile_preset(sys.argv[1], topology, int(slices or 1))
    all_reduces = [each for each in report.collectives if each[0] == 'all-reduce']
    result = {
      'preset': sys.argv[1], 'slice': name, 'chips': report.chips, 'peak': report.peak_memory,
      'all_reduces': sum(count for _, _, count in all_reduces),
      'others': [each for each in report.collectives if each[0] != 'all-reduce'],
      'host': report.host_transfers, 'sizes': [(n, count) for _, n, count in all_reduces][:20],
    }  # fmt: skip
    print(json.dumps(result), flush=True)
