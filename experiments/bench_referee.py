"""How often the referee is right: on samplers and runs whose fault was planted, beside what else one might ask.

  python -m experiments.bench_referee --run=runs/bench_referee

Cases of even seeds were used to set the referee's thresholds, and the other scores are fitted on them;
the table is of odd seeds. What was found about a case is kept in the folder and not made again.
"""

import json
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments import launcher
from experiments.referee_benchmark import accuracy_tables, benchmark_data
from experiments.referee_benchmark import fault_cases as cases_lib
from experiments.referee_benchmark.benchmark_data import BenchmarkData
from experiments.referee_benchmark.fault_cases import Case
from gan_jax.diagnosis import diagnostic_statistics, verdict_rules, verdict_text
from gan_jax.diagnosis.diagnostic_statistics import ReferenceStatistics
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

_RUN = flags.DEFINE_string('run', 'runs/bench_referee', 'Folder of the findings.')
_SEEDS = flags.DEFINE_integer('seeds', 4, 'How many seeds, an even number.')
_WORLDS = flags.DEFINE_list('worlds', [], 'Only these of them.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Where prepared data lie.')


def main(argv: list[str]) -> None:
  """Plant, judge, count."""
  del argv
  if _SEEDS.value < 2 or _SEEDS.value % 2:
    raise UserError(f'--seeds={_SEEDS.value}: give an even number; half of them set the thresholds')
  folder = Path(_RUN.value)
  todo = [
    case
    for case in cases_lib.iterate_cases(_SEEDS.value)
    if not _WORLDS.value or case.world in _WORLDS.value
  ]
  folder.mkdir(parents=True, exist_ok=True)
  _plant(folder, todo)
  records = [json.loads(_path(folder, case).read_text()) for case in todo]
  text = accuracy_tables.format_summary(records)
  write_atomically(folder / 'summary.md', text.encode())
  print(text)


def _path(folder: Path, case: Case) -> Path:
  return folder / f'{case.world}_{case.seed}_{case.kind.replace(" ", "_").replace(",", "")}.json'


def _plant(folder: Path, todo: list[Case]) -> None:
  """Judge every case that was not judged before."""
  opened: tuple[tuple[str, int], BenchmarkData, ReferenceStatistics] | None = None
  for i, case in enumerate(todo):
    path = _path(folder, case)
    if path.exists():
      continue
    began = time.monotonic()
    place = (case.world, case.seed)
    if opened is None or opened[0] != place:
      world = _world(*place)
      reference = diagnostic_statistics.compute_reference_statistics(
        world.train, world.held_out, world.embedding, case.seed
      )
      opened = (place, world, reference)
    record = diagnose_case(case, opened[1], opened[2])
    write_atomically(path, json.dumps(record).encode())
    right = record['verdict'] in record['truth']
    print(
      f'{i + 1}/{len(todo)} {case.world} seed {case.seed}, {case.kind}: {record["verdict"]}'
      f'{"" if right else "  <-- wrong"}  ({time.monotonic() - began:.1f} s)',
      flush=True,
    )


def _world(name: str, seed: int) -> BenchmarkData:
  if name in benchmark_data.SYNTHETIC_DATASETS:
    return benchmark_data.draw_synthetic_data(name, seed)
  if name in benchmark_data.IMAGE_DATASETS:
    return benchmark_data.split_image_data(name, seed, _DATA_DIR.value, launcher.cache_dir())
  raise UserError(
    f'--worlds={name}: choose from {", ".join((*benchmark_data.SYNTHETIC_DATASETS, *benchmark_data.IMAGE_DATASETS))}'
  )


def diagnose_case(
  case: Case, world: BenchmarkData, reference: ReferenceStatistics
) -> dict[str, Any]:
  """The referee's record of one case."""
  made = cases_lib.build_case(case, world)
  if made.train is not world.train:
    reference = diagnostic_statistics.compute_reference_statistics(
      made.train, world.held_out, world.embedding, case.seed
    )
  found = diagnostic_statistics.compute_diagnostic_statistics(
    reference, made.fake, made.outputs, made.history
  )
  verdict = verdict_rules.decide_verdict(found)
  record = verdict_text.verdict_as_json(verdict, found, {'case': case._asdict()})
  truth = list(cases_lib.FAULTS[case.kind].right)
  losses = None if made.losses is None else made.losses.tolist()
  return json_safe(record | {'truth': truth, 'losses': losses})


if __name__ == '__main__':
  launcher.run(main)
