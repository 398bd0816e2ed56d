"""Trains real runs, healthy and sick, and measures which single change helps each: what the verdict should be.

  python -m experiments.bench_interventions --run=runs/interventions --data=runs/interventions/data

Runs are in runs/, results in forks.jsonl and results.jsonl; what is there is not computed again. The table
of advice is in summary.md, and compact.jsonl has all that it needs.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from absl import flags

from gan_jax.config.run_config import Config
from gan_jax.data import default_data_dir
from gan_jax.training.metric_writers import json_line
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import json_safe, write_atomically

from . import command_line
from .referee_benchmark import (
  advice_scores,
  image_folders,
  interventions,
  real_runs,
  run_programs,
  train_real_run,
)
from .referee_benchmark.interventions import Fork
from .referee_benchmark.real_runs import RealRun
from .referee_benchmark.run_programs import RunPrograms, WorldData

_RUN = flags.DEFINE_string('run', 'runs/interventions', 'Folder of the runs and results.')
_DATA = flags.DEFINE_string('data', 'runs/interventions/data', 'Folder of the folders of images.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of prepared data.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Forks of each run with each change.', 2)
_MINUTES = flags.DEFINE_float('minutes', 0.0, 'Begin no run after this time; 0 for no limit.', 0)
_WORLDS = flags.DEFINE_list('worlds', [], 'Worlds to use; by default all.')
_FIRST_SEEDS = 2  # of every run, before the others of any


def main(argv: list[str]) -> None:
  """Computes what is missing and writes the results after each run."""
  del argv
  began, folder = time.monotonic(), Path(_RUN.value)
  folder.mkdir(parents=True, exist_ok=True)
  runs = _list_runs(Path(_DATA.value).resolve())
  programs = RunPrograms()
  for n_seeds in sorted({min(_FIRST_SEEDS, _SEEDS.value), _SEEDS.value}):
    for i, run in enumerate(runs):
      if _MINUTES.value and time.monotonic() - began > 60 * _MINUTES.value:
        break
      start = time.monotonic()
      forks = compute_run(programs, run, folder, n_seeds)
      result = write_result(folder, run, forks)
      seconds = time.monotonic() - start
      text = ', '.join(result['helps']) or 'nothing'
      print(
        f'{i + 1}/{len(runs)} {run.name}, {n_seeds} seeds: {text} ({seconds:.0f} s)', flush=True
      )
  results = read_json_lines(folder / 'results.jsonl')
  lines = (json_line(advice_scores.compact_record(result)) for result in results)
  write_atomically(folder / 'compact.jsonl', ''.join(lines).encode())
  text = summarise(results)
  write_atomically(folder / 'summary.md', text.encode())
  print(text)


def summarise(records: list[dict[str, Any]]) -> str:
  """Returns the scores of the baselines in Markdown: with every change, and without averaged weights."""
  if {record['half'] for record in records} != {'tune', 'test'}:
    return f'{len(records)} runs: too few to score advice'
  parts = []
  for left_out in (frozenset[str](), frozenset({interventions.AVERAGED})):
    title = f'without {", ".join(left_out)}' if left_out else 'all changes'
    scores = advice_scores.compare_advisers(records, {}, left_out)
    parts.append(f'{len(records)} runs, {title}\n\n{advice_scores.format_advice_table(scores)}')
  return '\n\n'.join(parts)


def _list_runs(data: Path) -> list[RealRun]:
  """Returns the runs on the worlds of --worlds whose images are there, or can be written."""
  for name in _WORLDS.value:
    if name not in real_runs.WORLDS:
      raise UserError(f'--worlds={name}: choose from {", ".join(real_runs.WORLDS)}')
  missing = image_folders.write_missing_folders(data, _data_dir())
  if missing:
    print(image_folders.explain_emoji(data), flush=True)
  return [
    run
    for run in real_runs.list_real_runs(str(data))
    if (not _WORLDS.value or run.world in _WORLDS.value)
    and not any(run.settings['dataset'].endswith(f'/{name}') for name in missing)
  ]


def _data_dir() -> str:
  return _DATA_DIR.value or str(default_data_dir())


def compute_run(programs: RunPrograms, run: RealRun, folder: Path, n_seeds: int) -> list[Fork]:
  """Trains a run where it is missing, and its missing forks; returns all of its forks."""
  path = folder / 'forks.jsonl'
  records = [record for record in read_json_lines(path) if record['run'] == run.name]
  forks = [interventions.fork_from_json(record) for record in records]
  config = Config(**run.settings)
  usual = real_runs.WORLDS[run.world].settings
  done = {(fork.change, fork.seed) for fork in forks}
  changes = interventions.applicable_changes(config, usual)
  missing = [
    (change, seed)
    for seed in range(2 * n_seeds)
    for change in changes.items()
    if (change[0], seed) not in done and (seed < n_seeds or change[0] == interventions.UNCHANGED)
  ]
  if not missing:
    return forks
  world = _open_world(config)
  trained = train_real_run.train_or_load(programs, world, config, folder / 'runs' / run.name)
  with path.open('a') as file:
    for change, seed in missing:
      fork = interventions.fork_and_measure(
        programs, world, config, trained.state, change, seed, run.fork_steps
      )
      forks.append(fork)
      file.write(json_line(interventions.fork_as_json(run.name, fork)))
      file.flush()
  return forks


def _open_world(config: Config) -> WorldData:
  cache = command_line.cache_dir()
  return run_programs.open_world(config.dataset, config.image_size, _data_dir(), cache)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
  """Reads the objects of a JSONL file; leaves out a line that a kill cut short."""
  records = []
  for line in path.read_text().split('\n') if path.exists() else ():
    with contextlib.suppress(ValueError):
      records.append(json.loads(line))
  return records


def write_result(folder: Path, run: RealRun, forks: list[Fork]) -> dict[str, Any]:
  """Writes the result of a run to results.jsonl, in place of an earlier one, and returns it."""
  summary = json.loads((folder / 'runs' / run.name / train_real_run.FILE).read_text())
  effects = interventions.effects_of_changes(forks, summary['log_distance'])
  helping = sorted((x.log_ratio, name) for name, x in effects.items() if x.helps)
  result = run._asdict() | {
    'folder': str(folder / 'runs' / run.name),
    'half': run.half,
    'held_out_kind': run.held_out_kind,
    'helps': [name for _, name in helping],
    'effects': {name: effect._asdict() for name, effect in effects.items()},
    'summary': summary,
  }
  path = folder / 'results.jsonl'
  others = [record for record in read_json_lines(path) if record['name'] != run.name]
  text = ''.join(map(json_line, [*others, json_safe(result)]))
  write_atomically(path, text.encode())
  return result


if __name__ == '__main__':
  command_line.run_script(main)
