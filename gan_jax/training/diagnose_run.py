"""Decides the referee's verdict on a checkpoint: from its samples, its discriminator and the run's monitors."""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import dynamic_hyperparameters
from gan_jax.diagnosis import duality_gap, verdict_formatting, verdict_rules
from gan_jax.diagnosis.diagnostic_statistics import (
  DiagnosticStatistics,
  ReferenceStatistics,
  RunEvidence,
  compute_diagnostic_statistics,
  compute_reference_statistics,
)
from gan_jax.diagnosis.discriminator_calibration import collect_discriminator_outputs
from gan_jax.diagnosis.discriminator_retraining import retrain_discriminator
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.diagnosis.probe_types import ExampleParts, ProbeScores
from gan_jax.diagnosis.training_monitors import monitor_history_from_records
from gan_jax.diagnosis.verdict_pictures import draw_verdict_pictures
from gan_jax.evaluation.tasks import Task
from gan_jax.evaluation.tasks.task import ComparisonSets
from gan_jax.gan.learning_rate_schedules import SCHEDULES_OF_RUN_LENGTH
from gan_jax.training import metric_writers, report
from gan_jax.training.load_run import LoadedRun, load_run, load_run_data
from gan_jax.training.train_spec import train_spec_fn
from gan_jax.utils.files import json_safe, write_atomically

VERDICT_FILE = 'referee.json'
OTHER_WEIGHTS = {'raw': 'ema', 'ema': 'raw'}


def diagnose_checkpoint(
  folder: Path,
  checkpoint: str,
  weights: str,
  seed: int,
  cache: Path | None,
  references: dict[Any, ReferenceStatistics] | None = None,
  split: str = 'validation',
  page: Path | None = None,
  data_dir: str = '',
  dataset: str = '',
) -> tuple[dict[str, Any], str]:
  """Writes the verdict on a checkpoint to its run folder and returns it as JSON and as text; raises UserError.

  Args:
    folder: of the run, where referee.json and report.html are written.
    checkpoint: 'last', 'best' or a step.
    weights: of the generator, 'raw' or 'ema'.
    seed: of samples and probes.
    cache: folder of trained classifiers, or None.
    references: statistics of real data by data set, reused and filled.
    split: of the held-out data, 'validation' or 'test'; synthetic data are drawn anew for either.
    page: a further HTML file for the verdict alone, or None.
    data_dir: folder of prepared data; by default the run's.
    dataset: where the run's data are now, if they have moved.
  """
  run = load_run(folder, checkpoint)
  task = load_run_data(run, cache, data_dir, dataset)
  sets = task.comparison_sets(run.gan, run.state, weights, seed, split)
  references = {} if references is None else references
  statistics = compute_run_statistics(folder, run, task, sets, weights, seed, references, split)
  verdict = verdict_rules.decide_verdict(statistics)
  protocol = {
    'run': str(folder),
    'dataset': task.name,
    'data': task.fingerprint[:16],
    'step': run.step,
    'weights': weights,
    **{f'n_{name}': n for name, n in statistics.set_sizes.items()},
    'split': split if task.n_train else f'{split}, fresh draws',
    'features': sets.embedding.name,
    'seed': seed,
  }
  record = json_safe(verdict_formatting.verdict_as_json(verdict, statistics, protocol))
  record['step'] = run.step
  if sets.class_fractions is not None:
    names = list(run.class_names) or [str(i) for i in range(task.n_classes)]
    record['evidence']['classes'] = sets.class_fractions | {'names': names}
  write_atomically(folder / VERDICT_FILE, (json.dumps(record, indent=2) + '\n').encode())
  pictures = draw_verdict_pictures(statistics, seed)
  report.save_verdict_pictures(folder, run.step, pictures)
  report.write_run_page(folder)
  if page is not None:
    report.write_verdict_page(page, record, pictures)
  return record, verdict_formatting.verdict_as_text(verdict, statistics, protocol)


def compute_run_statistics(
  folder: Path,
  run: LoadedRun,
  task: Task,
  sets: ComparisonSets,
  weights: str,
  seed: int,
  references: dict[Any, ReferenceStatistics],
  split: str = 'validation',
  thorough: bool = True,
) -> DiagnosticStatistics:
  """Computes all that a verdict on `run` in `folder` rests on, and with `thorough` what pages show beside it.

  `references` hold statistics of real data by data set, and are filled.
  """
  embedding = sets.embedding
  contrast = run.config.contrast
  data = (task.name, task.fingerprint, task.shape, contrast, embedding.name, seed, split)
  if data not in references:
    references[data] = compute_reference_statistics(
      sets.train, sets.held_out, lambda _: embedding, seed
    )
  records = metric_writers.read_metrics(folder / 'metrics.jsonl')
  records = [record for record in records if record['step'] <= run.step]
  other = task.comparison_sets(run.gan, run.state, OTHER_WEIGHTS[weights], seed, split).fake
  evidence = RunEvidence(
    run.config,
    collect_discriminator_outputs(run.gan, run.state, task, weights, seed, split),
    monitor_history_from_records(records, run.config.ema_decay),
    _duality_gap(run, task, seed) if thorough else None,
    _rates_are_zero(run),
    # A conditional D needs labels, which samples beside held-out data do not have.
    None if run.gan.n_classes else functools.partial(_retrain_discriminator, run),
    _class_shares(sets.class_fractions),
    other,
  )
  return compute_diagnostic_statistics(references[data], sets.fake, evidence, thorough)


def _retrain_discriminator(
  run: LoadedRun, seed: int, real: ExampleParts, fake: ExampleParts
) -> ProbeScores:
  return retrain_discriminator(seed, run.gan, run.state, real, fake)


def _class_shares(fractions: dict[str, list[float]] | None) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns the shares of real and of fake examples by class, where a classifier gave both."""
  if fractions is None or len(fractions) < 2:
    return None
  return np.asarray(fractions['real']), np.asarray(fractions['fake'])


def _rates_are_zero(run: LoadedRun) -> bool:
  """Tells whether the learning rates of both players have fallen to 0, so that more steps change nothing."""
  schedules = {run.config.g_schedule, run.config.d_schedule}
  return run.step >= run.config.steps and schedules <= SCHEDULES_OF_RUN_LENGTH


def _duality_gap(run: LoadedRun, task: Task, seed: int) -> DualityGap:
  data = jax.tree.map(jnp.asarray, task.evaluation_data())
  data = data if run.gan.n_classes else data.without_labels()
  key = jax.random.fold_in(jax.random.key(seed), duality_gap.DUALITY_STREAM)
  values = dynamic_hyperparameters.hyperparameter_arrays(run.config, task.n_train)
  spec_fn = train_spec_fn(run.config, task)
  return duality_gap.estimate_duality_gap(spec_fn, values, key, run.state, data)
