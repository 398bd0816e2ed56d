"""Measures how surely the image probes find faults that a person sees, and how often they see faults in none.

  python -m experiments.bench_image_faults --run=runs/bench_image_faults --pictures=FOLDER --photos=FOLDER

Half of the images of a set are real, the others get the fault. Cases that results.jsonl holds are not computed
again.
"""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from absl import flags
from scipy import stats

from gan_jax.diagnosis import image_probes
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.utils.errors import UserError

from . import command_line
from .referee_benchmark.image_fault_data import IMAGE_SETS, ImageSet, Sources
from .referee_benchmark.image_faults import HELD_OUT_KINDS, IMAGE_FAULTS

_RUN = flags.DEFINE_string('run', 'runs/bench_image_faults', 'Folder of the results.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of prepared data.')
_PICTURES = flags.DEFINE_string(
  'pictures', '', 'Folder of pictures, each one example; without, left out.'
)
_PHOTOS = flags.DEFINE_string(
  'photos', '', 'Folder of photographs to cut into crops; without, left out.'
)
_N = flags.DEFINE_integer('n', 600, 'Number of real images, and of images with the fault.')
_SEEDS = flags.DEFINE_integer('seeds', 1, 'Number of seeds.')
_SETS = flags.DEFINE_list('sets', [], 'Image sets, by a part of their names; by default all.')
_NULLS = flags.DEFINE_integer(
  'nulls', 0, 'Number of pairs without a fault per set, in place of the faults.'
)
_STATISTICS_FIRST = flags.DEFINE_bool(
  'statistics_first', True, 'Train the networks only where the statistics find no fault.'
)
_N_LOADED = 4  # times the number of images of each set: each case draws its own
_LEVEL = 1e-3  # of the corrected p-value
_SHARES = (0.5, 0.17)  # of the training and of the validation part


def main(argv: list[str]) -> None:
  """Computes missing cases and prints the tables."""
  del argv
  if _N.value < 100:
    raise UserError(f'--n={_N.value}: give at least 100')
  path = Path(_RUN.value) / 'results.jsonl'
  path.parent.mkdir(parents=True, exist_ok=True)
  sources = Sources(_DATA_DIR.value, _PICTURES.value, _PHOTOS.value)
  lines = path.read_text().splitlines() if path.exists() else []
  records = {json.dumps(json.loads(line)['case']): json.loads(line) for line in lines}
  for name, image_set in IMAGE_SETS.items():
    if not _is_chosen(name):
      continue
    faults = _null_names() if _NULLS.value else list(IMAGE_FAULTS)
    for seed in range(_SEEDS.value):
      images = None
      for fault in faults:
        case = {'set': name, 'fault': fault, 'seed': seed, 'n': _N.value}
        if json.dumps(case) in records or not _is_visible(image_set, name, fault):
          continue
        if images is None:
          images = image_set.load(sources, np.random.default_rng(seed), _N_LOADED * _N.value)
        record = {'case': case} | _measure(images, fault, seed)
        records[json.dumps(case)] = record
        with path.open('a') as file:
          file.write(json.dumps(record) + '\n')
        print(
          f'{name}, seed {seed}, {fault}: p {record["p"]:.1e}, {record["seconds"]:.1f} s',
          flush=True,
        )
  print(_format_tables(list(records.values())))


def _null_names() -> list[str]:
  return [f'none {i}' for i in range(_NULLS.value)]


def _is_chosen(name: str) -> bool:
  missing = (name.startswith('pictures') and not _PICTURES.value) or (
    name.startswith('photographs') and not _PHOTOS.value
  )
  return not missing and (not _SETS.value or any(part in name for part in _SETS.value))


def _is_visible(image_set: ImageSet, name: str, fault: str) -> bool:
  """Tells whether a person sees the fault in this set: some need colour, some left and right."""
  if fault not in IMAGE_FAULTS:
    return True
  needs = IMAGE_FAULTS[fault].needs
  grey = 'MNIST' in name or 'grey' in name
  return not (needs == 'colour' and grey) and not (
    needs == 'direction' and not image_set.has_direction
  )


def _measure(images: np.ndarray, fault: str, seed: int) -> dict[str, Any]:
  """Returns the p-value of each probe, and the least one times the number of probes."""
  began, cpu = time.monotonic(), time.process_time()
  rng = np.random.default_rng([seed, crc32(fault.encode())])
  drawn = images[rng.permutation(len(images))[: 2 * _N.value]]
  real, fake = np.array_split(drawn, 2)
  if fault in IMAGE_FAULTS:
    fake = IMAGE_FAULTS[fault](fake, rng)
  parts = [ExampleParts(*np.split(x, _cuts(len(x)))) for x in (real, fake)]
  scores = [image_probes.score_statistics(seed, *parts)]
  n_probes = 5 if max(images.shape[1:3]) > 40 else 4
  if not (_STATISTICS_FIRST.value and n_probes * _p(scores[0]) < _LEVEL):
    scores = image_probes.train_image_probes(seed, *parts)
  values = {each.name: _p(each) for each in scores}
  return {
    'p': min(1.0, n_probes * min(values.values())),
    'probes': values,
    'cross_entropy': {each.name: each.validation_cross_entropy for each in scores},
    'seconds': time.monotonic() - began,
    'cpu_seconds': time.process_time() - cpu,
  }


def _cuts(n: int) -> list[int]:
  return [int(x * n) for x in np.cumsum(_SHARES)]


def _p(scores: ProbeScores) -> float:
  """Returns the one-sided p-value of the rank test that real images have larger logits."""
  return float(stats.mannwhitneyu(scores.real, scores.fake, alternative='greater').pvalue)


def _format_tables(records: list[dict[str, Any]]) -> str:
  """Formats the share of cases found by fault and by set, and the false alarms."""
  found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
  nulls = [record['p'] for record in records if record['case']['fault'].startswith('none')]
  for record in records:
    case = record['case']
    if case['fault'] in IMAGE_FAULTS:
      found[case['fault']][case['set']].append(record['p'] < _LEVEL)
  names = [name for name in IMAGE_SETS if any(name in row for row in found.values())]
  lines = [
    f'| fault, found at p < {_LEVEL:g} | {" | ".join(names)} |',
    '|---' * (len(names) + 1) + '|',
  ]
  for fault in (x for x in IMAGE_FAULTS if x in found):
    cells = [f'{sum(x)}/{len(x)}' if (x := found[fault].get(name)) else '' for name in names]
    lines.append(
      f'| {fault}{" (held out)" if fault in HELD_OUT_KINDS else ""} | {" | ".join(cells)} |'
    )
  for what, kinds in (
    ('tuned on', IMAGE_FAULTS.keys() - HELD_OUT_KINDS),
    ('held out', HELD_OUT_KINDS),
  ):
    cases = [x for kind in kinds for row in found[kind].values() for x in row]
    lines.append(f'kinds {what}: {sum(cases)} of {len(cases)} found')
  if nulls:
    shares = ', '.join(
      f'{np.mean(np.asarray(nulls) < level):.3f} below {level:g}' for level in (0.05, 0.01, _LEVEL)
    )
    lines.append(f'{len(nulls)} pairs without a fault: corrected p-values {shares}')
  return '\n'.join(lines)


if __name__ == '__main__':
  command_line.run_script(main)
