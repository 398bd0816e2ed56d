"""The referee's verdict on a run: its samples, its own D, and its history."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import dynamic_hyperparameters
from gan_jax.diagnosis import diagnostic_statistics, duality_gap, verdict_rules, verdict_text
from gan_jax.diagnosis.diagnostic_statistics import ReferenceStatistics
from gan_jax.diagnosis.discriminator_outputs import collect_discriminator_outputs
from gan_jax.diagnosis.duality_gap import DualityGap
from gan_jax.evaluation.tasks import Task, load_task
from gan_jax.training import metric_writers, report
from gan_jax.training.load_run import Trained, open_run
from gan_jax.training.train_spec import train_spec_fn
from gan_jax.utils.files import json_safe, write_atomically

VERDICT_FILE = 'referee.json'


def _duality(trained: Trained, task: Task, seed: int) -> DualityGap:
  data = jax.tree.map(jnp.asarray, task.evaluation_data())
  data = data if trained.gan.n_classes else data.without_labels()
  key = jax.random.fold_in(jax.random.key(seed), duality_gap.KEY_SALT)
  numbers = dynamic_hyperparameters.arrays(dynamic_hyperparameters.of(trained.config, task.n_train))
  return duality_gap.estimate_duality_gap(
    train_spec_fn(trained.config, task), numbers, key, trained.state, data
  )


def diagnose_checkpoint(
  folder: Path,
  checkpoint: str,
  weights: str,
  seed: int,
  cache: Path | None,
  known: dict[Any, ReferenceStatistics] | None = None,
) -> tuple[dict[str, Any], str]:
  """The verdict on a checkpoint of the run in `folder`, as a record and as text; raises UserError.

  `weights` are 'raw' or 'ema'. The record is written into the folder too, as referee.json, and
  into its report.html. What is found out about the data alone is looked up in `known`, and put there:
  hand over the same one for many runs.
  """
  trained = open_run(folder, checkpoint)
  task = load_task(trained.config, cache)
  train, held_out, fake, embedding, classes = task.comparison_sets(
    trained.gan, trained.state, weights, seed
  )
  records = [
    r for r in metric_writers.read_metrics(folder / 'metrics.jsonl') if r['step'] <= trained.step
  ]
  known = {} if known is None else known
  data = (task.name, task.fingerprint, task.shape, trained.config.contrast, embedding.name, seed)
  if data not in known:
    known[data] = diagnostic_statistics.compute_reference_statistics(
      train, held_out, embedding, seed
    )
  found = diagnostic_statistics.compute_diagnostic_statistics(
    known[data],
    fake,
    collect_discriminator_outputs(trained.gan, trained.state, task, weights, seed),
    diagnostic_statistics.monitor_history_from_records(records, trained.config.ema_decay),
    _duality(trained, task, seed),
  )
  verdict = verdict_rules.decide_verdict(found)
  protocol = {
    'run': str(folder),
    'dataset': task.name,
    'data': task.fingerprint[:16],
    'step': trained.step,
    'weights': weights,
    **{f'n_{name}': n for name, n in found.n.items()},
    'split': 'test' if task.n_train else 'fresh draws',
    'features': embedding.name,
    'seed': seed,
  }
  record = json_safe(verdict_text.verdict_as_json(verdict, found, protocol))
  record['step'] = trained.step
  if classes is not None:
    names = [str(i) for i in range(task.n_classes)]
    record['evidence']['classes'] = classes | {'names': names}
  write_atomically(folder / VERDICT_FILE, (json.dumps(record, indent=2) + '\n').encode())
  report.write_run_page(folder)
  return record, verdict_text.verdict_as_text(verdict, found, protocol)
