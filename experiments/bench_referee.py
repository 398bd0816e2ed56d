"""Measures how often the referee is right on samplers and runs of a known fault, beside other methods.

  python -m experiments.bench_referee --run=runs/bench_referee
  python -m experiments.bench_referee --run=runs/bench_referee --part=perfect

Even seeds are the training cases, which set the referee's thresholds and fit the other methods; odd
seeds are the test cases of the table. --part=perfect counts false alarms on real data in the place of
samples, in every form that files have. Cases whose file is in the folder are not computed again.
"""

import json
import time
from pathlib import Path
from typing import Any

from absl import flags

from gan_jax.data import Dataset, default_data_dir, load_dataset
from gan_jax.diagnosis import diagnostic_statistics, verdict_formatting, verdict_rules
from gan_jax.diagnosis.diagnostic_statistics import (
  ReferenceStatistics,
  RunEvidence,
  compute_reference_statistics,
)
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

from . import command_line
from .referee_benchmark import accuracy_tables, benchmark_data, fault_cases, perfect_samplers
from .referee_benchmark.benchmark_data import BenchmarkData
from .referee_benchmark.fault_cases import Case

_RUN = flags.DEFINE_string('run', 'runs/bench_referee', 'Folder of the results.')
_SEEDS = flags.DEFINE_integer('seeds', 4, 'Number of seeds, even.')
_PART = flags.DEFINE_enum('part', 'planted', ['planted', 'perfect'], 'Which cases to judge.')
_WORLDS = flags.DEFINE_list('worlds', [], 'Data sets to use; by default all.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of prepared data.')


def main(argv: list[str]) -> None:
  """Computes missing cases and prints the table."""
  del argv
  if _SEEDS.value < 2 or _SEEDS.value % 2:
    raise UserError(f'--seeds={_SEEDS.value}: give an even number; half of them set the thresholds')
  datasets = (*benchmark_data.SYNTHETIC_DATASETS, *benchmark_data.IMAGE_DATASETS)
  if _PART.value == 'perfect':
    datasets = (*perfect_samplers.POINTS, *benchmark_data.IMAGE_DATASETS)
  for name in _WORLDS.value:
    if name not in datasets:
      raise UserError(f'--worlds={name}: choose from {", ".join(datasets)}')
  if _PART.value == 'perfect':
    _judge_perfect_samplers(Path(_RUN.value))
    return
  folder = Path(_RUN.value)
  cases = [
    case
    for case in fault_cases.iterate_cases(_SEEDS.value)
    if not _WORLDS.value or case.dataset in _WORLDS.value
  ]
  folder.mkdir(parents=True, exist_ok=True)
  _diagnose_missing_cases(folder, cases)
  records = [json.loads(_path(folder, case).read_text()) for case in cases]
  text = accuracy_tables.format_summary(records)
  write_atomically(folder / 'summary.md', text.encode())
  print(text)


def _judge_perfect_samplers(folder: Path) -> None:
  """Judges the perfect samplers that are not in perfect.jsonl, and prints how many were called faulty."""
  path = folder / 'perfect.jsonl'
  folder.mkdir(parents=True, exist_ok=True)
  records = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
  done = {(r['dataset'], r['form'], r['seed']) for r in records}
  loaded: dict[str, Dataset] = {}
  for case in perfect_samplers.iterate_perfect_cases(benchmark_data.IMAGE_DATASETS, _SEEDS.value):
    if case in done or (_WORLDS.value and case.dataset not in _WORLDS.value):
      continue
    if case.dataset in benchmark_data.IMAGE_DATASETS and case.dataset not in loaded:
      loaded[case.dataset] = load_dataset(case.dataset, _DATA_DIR.value or default_data_dir())
    began = time.monotonic()
    record = perfect_samplers.diagnose_perfect_sampler(case, loaded.get(case.dataset))
    records.append(json_safe(record))
    write_atomically(path, ''.join(json.dumps(r) + '\n' for r in records).encode())
    seconds = time.monotonic() - began
    print(
      f'{"; ".join(map(str, case))}: {record["verdict"]}, p {record["p"]:.2g} ({seconds:.0f} s)',
      flush=True,
    )
  text = perfect_samplers.format_false_alarms(records)
  write_atomically(folder / 'perfect.md', text.encode())
  print(text)


def _path(folder: Path, case: Case) -> Path:
  fault = case.fault.replace(' ', '_').replace(',', '')
  return folder / f'{case.dataset}_{case.seed}_{fault}.json'


def _diagnose_missing_cases(folder: Path, cases: list[Case]) -> None:
  """Writes a file for each case that has none."""
  loaded: tuple[tuple[str, int], BenchmarkData, ReferenceStatistics] | None = None
  for i, case in enumerate(cases):
    path = _path(folder, case)
    if path.exists():
      continue
    began = time.monotonic()
    if loaded is None or loaded[0] != (case.dataset, case.seed):
      data = _load_data(case.dataset, case.seed)
      reference = _reference(data, case)
      loaded = (case.dataset, case.seed), data, reference
    record = diagnose_case(case, loaded[1], loaded[2])
    write_atomically(path, json.dumps(record).encode())
    print(
      f'{i + 1}/{len(cases)} {case.dataset} seed {case.seed}, {case.fault}: {record["verdict"]}'
      f'{"" if record["verdict"] in record["truth"] else "  <-- wrong"}'
      f'  ({time.monotonic() - began:.1f} s)',
      flush=True,
    )


def _reference(data: BenchmarkData, case: Case) -> ReferenceStatistics:
  return compute_reference_statistics(
    data.train, data.held_out, lambda _: data.embedding, case.seed
  )


def _load_data(name: str, seed: int) -> BenchmarkData:
  if name in benchmark_data.SYNTHETIC_DATASETS:
    return benchmark_data.draw_synthetic_data(name, seed)
  return benchmark_data.split_image_data(name, seed, _DATA_DIR.value, command_line.cache_dir())


def diagnose_case(
  case: Case, data: BenchmarkData, reference: ReferenceStatistics
) -> dict[str, Any]:
  """Returns the referee's verdict on a case as JSON, with the right verdicts under 'truth'."""
  built = fault_cases.build_case(case, data)
  if built.train is not data.train:
    reference = _reference(data._replace(train=built.train), case)
  statistics = diagnostic_statistics.compute_diagnostic_statistics(
    reference, built.fake, RunEvidence(outputs=built.outputs, history=built.history)
  )
  verdict = verdict_rules.decide_verdict(statistics)
  protocol = {'case': {'world': case.dataset, 'kind': case.fault, 'seed': case.seed}}
  record = verdict_formatting.verdict_as_json(verdict, statistics, protocol)
  truth = list(fault_cases.FAULTS[case.fault].verdicts)
  losses = None if built.losses is None else built.losses.tolist()
  return json_safe(record | {'truth': truth, 'losses': losses})


if __name__ == '__main__':
  command_line.run_script(main)
