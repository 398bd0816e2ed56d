"""Lets the referee judge the real runs of bench_interventions, and scores verdicts and first advice.

  python -m experiments.bench_verdicts --run=runs/interventions
  python -m experiments.bench_verdicts --run=runs/interventions --fit

The half 'tune' fits the weights of the advice with --fit; the table is of the other half. Kinds of fault that
are held out are in that half alone. Runs that were judged before are not judged again.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from gan_jax.diagnosis import change_advice
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

from . import command_line
from .referee_benchmark import advice_scores, fit_advice, judge_real_runs
from .referee_benchmark.accuracy_tables import format_share

_RUN = flags.DEFINE_string('run', 'runs/interventions', 'Folder of the interventions.')
_FIT = flags.DEFINE_bool('fit', False, "Fit the referee's weights to the half 'tune' first.")


def main(argv: list[str]) -> None:
  """Judges what is not judged, fits where asked, and prints the table."""
  del argv
  folder = Path(_RUN.value)
  if not (folder / 'results.jsonl').exists():
    raise UserError(
      f'--run={folder}: no results.jsonl; python -m experiments.bench_interventions makes it'
    )
  results = judge_real_runs.judge_missing_runs(folder, command_line.cache_dir())
  if {result['half'] for result in results} != {'tune', 'test'}:
    raise UserError(f'--run={folder}: {len(results)} runs, of one half only; let more runs finish')
  if _FIT.value:
    print(fit_and_write([result for result in results if result['half'] == 'tune']))
  text = summarise(results, change_advice.fitted_weights())
  write_atomically(folder / 'verdicts.md', text.encode())
  print(text)


def fit_and_write(tuned: list[dict[str, Any]]) -> str:
  """Fits the weights to judged results and writes them into the package; returns a line that says how well."""
  runs = [judge_real_runs.judged_run(result) for result in tuned]
  tried = {ridge: fit_advice.left_out_predictions(runs, ridge) for ridge in fit_advice.RIDGES}
  errors = {ridge: fit_advice.squared_error(runs, p) for ridge, p in tried.items()}
  ridge = min(errors, key=lambda x: errors[x])
  weights = fit_advice.fit_weights(runs, ridge)
  calibration = fit_advice.fit_calibration(runs, tried[ridge])
  values = {
    'changes': {name: np.round(w, 4).tolist() for name, w in sorted(weights.items())},
    'calibration': np.round(calibration, 4).tolist(),
    'fitted_to': f'{len(runs)} runs, ridge {ridge:g}',
  }
  write_atomically(change_advice.WEIGHTS_FILE, (json.dumps(values, indent=1) + '\n').encode())
  change_advice.fitted_weights.cache_clear()
  return f'fitted to {len(runs)} runs: ridge {ridge:g}, squared error of runs left out {errors[ridge]:.3f}'


def summarise(results: list[dict[str, Any]], weights: dict[str, Any]) -> str:
  """Formats the scores of verdicts and of advice on the half 'test', for all kinds and for held-out ones."""
  arrays = {name: np.asarray(w) for name, w in weights['changes'].items()}
  referee = {'the referee': judge_real_runs.predicted_ranking(arrays)}
  test = [result for result in results if result['half'] == 'test']
  lines = []
  for left_out in (frozenset[str](), frozenset({change_advice.AVERAGED})):
    title = 'changes of the training alone' if left_out else 'all changes'
    scores = advice_scores.compare_advisers(results, referee, left_out)
    lines += [f'{len(test)} runs, {title}', '', advice_scores.format_advice_table(scores), '']
  for title, chosen in (
    ('all', test),
    ('kinds of fault that are held out', [r for r in test if r['held_out_kind']]),
  ):
    right = sum(judge_real_runs.verdict_is_right(result) for result in chosen)
    lines.append(f'verdict right, {title}: {format_share(right, len(chosen))}')
  correct = [judge_real_runs.verdict_is_right(result) for result in test]
  confidences = [float(result['judged']['confidence']) for result in test]
  error = judge_real_runs.calibration_error(confidences, correct)
  return '\n'.join([*lines, f'expected calibration error: {error:.3f}', ''])


if __name__ == '__main__':
  command_line.run_script(main)
