"""What presets would do on slices of TPUs, for the tests that look at it where the compiler is installed.

python -m tests.helpers.compiled_steps PRESET TOPOLOGY [SLICES]...     a line of JSON for each slice
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


def rehearsed(preset, topology, slices=1):
  """The report of a preset on a slice, 32 examples a chip."""
  flags.FLAGS(['rehearsals', f'--flagfile=experiments/presets/{preset}.flags'])
  settings = Config(**{name: holder.value for name, holder in SETTINGS.items()})
  where = chip_specs.parse_topology(topology, slices)
  settings = dataclasses.replace(settings, batch_size=32 * where.n_chips)
  quickly = settings.network in CONVOLUTIONS
  size = settings.image_size
  ours = ((size, size, 3), 100_000) if settings.dataset.startswith('folder:') else ()
  examples = ahead_of_time_compile.data_spec_of(settings.dataset, *ours)
  return capacity_report.measure_capacity(
    settings, examples, where, capacity_report.CompileOptions(quickly=quickly)
  )


if __name__ == '__main__':
  for name in sys.argv[2:]:
    topology, _, slices = name.partition('*')
    report = rehearsed(sys.argv[1], topology, int(slices or 1))
    sums = [each for each in report.collectives if each[0] == 'all-reduce']
    found = {
      'preset': sys.argv[1], 'slice': name, 'chips': report.chips, 'peak': report.peak_memory,
      'all_reduces': sum(often for _, _, often in sums),
      'others': [each for each in report.collectives if each[0] != 'all-reduce'],
      'host': report.host_transfers, 'sizes': [(n, often) for _, n, often in sums][:20],
    }  # fmt: skip
    print(json.dumps(found), flush=True)
