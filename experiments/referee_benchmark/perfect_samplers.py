"""Gives the referee perfect samplers, real data in the place of samples, in every form that files have.

Each case draws training data, held-out data and samples without replacement from one population, so any
verdict but 'converged' is a false alarm.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import jax
import numpy as np

from gan_jax.data import Dataset
from gan_jax.data.synthetic import SYNTHETIC
from gan_jax.diagnosis import verdict_rules
from gan_jax.diagnosis.diagnostic_statistics import (
  compute_diagnostic_statistics,
  compute_reference_statistics,
)
from gan_jax.metrics import embeddings

from .accuracy_tables import format_share

POINTS = ('ring', 'grid', 'moons', 'spiral', 'gaussian')
# {form: (examples of each set, of points; of images; repeats of each row; sorted)}
FORMS: dict[str, tuple[int, int, int, bool]] = {
  'few': (300, 300, 1, False),
  '1,000': (1000, 1000, 1, False),
  '1,000, sorted': (1000, 1000, 1, True),
  '1,000, every row twice': (1000, 1000, 2, False),
  '3,000, sorted': (3000, 3000, 1, True),
  'many': (50_000, 10_000, 1, True),
}
_N_TRAIN = 20_000  # at most; with every other seed there are no training data


class PerfectCase(NamedTuple):
  """Identifies one perfect sampler."""

  dataset: str
  form: str  # a key of FORMS
  seed: int


def iterate_perfect_cases(images: tuple[str, ...], seeds: int) -> Iterator[PerfectCase]:
  """Yields cases of points and of the named sets of images; expensive forms have half of the seeds."""
  for seed in range(seeds):
    for form in FORMS:
      for dataset in (*POINTS, *images):
        costly = dataset in images or form == 'many'
        if not costly or seed < seeds // 2:
          yield PerfectCase(dataset, form, seed)


def diagnose_perfect_sampler(case: PerfectCase, images: Dataset | None) -> dict[str, Any]:
  """Returns the verdict on one case, and the numbers behind it.

  Args:
    case: which one.
    images: the set of images that `case` names, without regard to its labels; None for points.
  """
  rng = np.random.default_rng([crc32(f'{case.dataset} {case.form}'.encode()), case.seed])
  n_points, n_images, repeats, is_sorted = FORMS[case.form]
  if images is None:
    n = n_points
    keys = jax.random.split(jax.random.key(int(rng.integers(1 << 30))), 3 * n)
    population = np.asarray(jax.jit(jax.vmap(SYNTHETIC[case.dataset].sample))(keys))
  else:
    n = min(n_images, len(images.train) // 3)
    population = images.train[rng.permutation(len(images.train))]
  parts = np.split(population[: 3 * n], 3)
  train, held_out, fake = (_in_form(x, repeats, is_sorted) for x in parts)
  real = None if case.seed % 2 else train[:_N_TRAIN]
  fit = functools.partial(embeddings.image_embedding, features=None, name='')
  reference = compute_reference_statistics(
    real, held_out, embeddings.point_embedding if images is None else fit, case.seed
  )
  statistics = compute_diagnostic_statistics(reference, fake)
  verdict = verdict_rules.decide_verdict(statistics)
  separation, copies = statistics.separation, statistics.copies
  return case._asdict() | {
    'verdict': verdict.name,
    'p': separation.p,
    'bound': separation.bound._asdict(),
    'detectable': separation.detectable,
    'p_copies': None if copies is None else copies.p,
    'n': n,
  }


def format_false_alarms(records: Sequence[dict[str, Any]]) -> str:
  """Formats the number of verdicts other than 'converged' and 'not enough evidence', by form, in Markdown."""
  calm = ('converged', 'not enough evidence')
  lines = ['| form | false alarms | p below .01 |', '|---|---|---|']
  for form in (*FORMS, 'all'):
    chosen = [r for r in records if form in (r['form'], 'all')]
    alarms = sum(r['verdict'] not in calm for r in chosen)
    small = sum(r['p'] < 0.01 for r in chosen)
    shares = (format_share(x, len(chosen)) for x in (alarms, small))
    lines.append(f'| {form} | {" | ".join(shares)} |')
  return '\n'.join(lines) + '\n'


def _in_form(examples: np.ndarray, repeats: int, is_sorted: bool) -> np.ndarray:
  """Returns examples [n, ...] with each row repeated, in the order of their mean value where `is_sorted`."""
  examples = np.repeat(examples, repeats, axis=0)
  if is_sorted:
    examples = examples[np.argsort(examples.reshape(len(examples), -1).mean(axis=1))]
  return examples
