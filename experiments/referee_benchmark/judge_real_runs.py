"""Lets the referee judge the real runs of the interventions, and scores its advice by what the forks showed."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.diagnosis import verdict_formatting, verdict_rules
from gan_jax.diagnosis.change_advice import CHANGES, MIN_EFFECT, UNCHANGED
from gan_jax.diagnosis.diagnostic_statistics import ReferenceStatistics
from gan_jax.diagnosis.run_features import RunFeatures, distance_from_usual, run_features
from gan_jax.evaluation.tasks import load_task
from gan_jax.training.diagnose_run import compute_run_statistics
from gan_jax.training.load_run import load_run
from gan_jax.utils.files import json_safe, write_atomically

from . import fit_advice
from .fit_advice import JudgedRun

_LEVELS = np.linspace(0.5, 1, 6)  # of confidence, between which verdicts are counted together


def judge_missing_runs(folder: Path, cache: Path | None) -> list[dict[str, Any]]:
  """Returns the results of the interventions in `folder`, each with the referee's verdict under 'judged'.

  Verdicts are kept in `folder`/judged and are not computed again.
  """
  results = [json.loads(line) for line in (folder / 'results.jsonl').read_text().splitlines()]
  (folder / 'judged').mkdir(exist_ok=True)
  references: dict[Any, ReferenceStatistics] = {}
  for i, result in enumerate(results):
    path = folder / 'judged' / f'{result["name"]}.json'
    if not path.exists():
      began = time.monotonic()
      record = _judge(folder / 'runs' / result['name'], cache, references)
      write_atomically(path, json.dumps(record).encode())
      seconds = time.monotonic() - began
      print(
        f'{i + 1}/{len(results)} {result["name"]}: {record["verdict"]} ({seconds:.0f} s)',
        flush=True,
      )
    result['judged'] = json.loads(path.read_text())
  return results


def _judge(
  folder: Path, cache: Path | None, references: dict[Any, ReferenceStatistics]
) -> dict[str, Any]:
  run = load_run(folder, 'last')
  task = load_task(run.config, cache)
  sets = task.comparison_sets(run.gan, run.state, 'raw', 0, 'validation')
  statistics = compute_run_statistics(folder, run, task, sets, 'raw', 0, references, thorough=False)
  verdict = verdict_rules.decide_verdict(statistics)
  record = verdict_formatting.verdict_as_json(verdict, statistics, {})
  usual = {name: distance_from_usual(run.config, name) for name in CHANGES}
  return json_safe(record | {'features': run_features(statistics)._asdict(), 'usual': usual})


def judged_run(result: Mapping[str, Any]) -> JudgedRun:
  """Returns what the fit needs of a judged result."""
  judged = result['judged']
  features = RunFeatures(**judged['features'])
  return JudgedRun(result['name'], features, judged['usual'], result['effects'])


def predicted_ranking(weights: dict[str, np.ndarray]) -> Callable[[Mapping[str, Any]], list[str]]:
  """Returns the adviser that ranks the changes of a judged result by `weights`, the best first."""

  def rank(result: Mapping[str, Any]) -> list[str]:
    predictions = fit_advice.predict(weights, judged_run(result))
    return sorted((name for name in predictions if name != UNCHANGED), key=predictions.__getitem__)

  return rank


def verdict_is_right(result: dict[str, Any]) -> bool:
  """Tells whether what a verdict says would help a run did: nothing for 'converged', else any of its remedies.

  A run was 'still improving' where going on unchanged brought it nearer by a tenth.
  """
  name, helps = result['judged']['verdict'], set(result['helps'])
  improved = result['effects'][UNCHANGED]['log_ratio_start'] <= -MIN_EFFECT
  if name == 'converged':
    return not helps and not improved
  remedies = set(verdict_rules.REMEDIES.get(name, ()))
  return bool(remedies & helps) or (UNCHANGED in remedies and improved)


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
  """Returns the expected calibration error: the mean distance of confidence from accuracy, by level."""
  values, correct = np.asarray(confidences), np.asarray(right, float)
  level = np.clip(np.digitize(values, _LEVELS) - 1, 0, len(_LEVELS) - 2)
  error = 0.0
  for i in range(len(_LEVELS) - 1):
    chosen = level == i
    if chosen.any():
      error += chosen.mean() * abs(values[chosen].mean() - correct[chosen].mean())
  return float(error) if len(values) else math.nan
