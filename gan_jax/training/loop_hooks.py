"""Does what the training loop and the group trainer share between program calls: records, monitors, saves."""

import math
import time
from collections.abc import Mapping

import jax

from gan_jax.diagnosis import alarms
from gan_jax.diagnosis.alarms import Alarm
from gan_jax.evaluation import plots
from gan_jax.evaluation.tasks import CheckpointEvaluation, Task
from gan_jax.gan.gan import Gan, GanState
from gan_jax.training import input_pipeline, metric_writers, nonfinite
from gan_jax.training.checkpoints import Checkpoints
from gan_jax.training.input_pipeline import ProgramCalls
from gan_jax.training.metric_writers import MetricWriter, NullWriter
from gan_jax.training.progress_bar import ProgressBar
from gan_jax.training.session import Session

Values = dict[str, float]


def all_values_finite(values: Mapping[str, float]) -> bool:
  """Returns whether no value is infinite or NaN."""
  return all(math.isfinite(value) for value in values.values())


def training_record(means: Values, steps_per_second: float) -> Values:
  """Returns the record of some steps for metrics.jsonl; without D's metrics where D had no update."""
  if means['k'] == 0:
    means = {name: value for name, value in means.items() if not name.startswith('d_')}
  return means | {'steps_per_second': steps_per_second}


def evaluate_state(
  task: Task, gan: Gan, state: GanState, seed: int
) -> tuple[Values, CheckpointEvaluation]:
  """Scores a state on validation data; returns the record for metrics.jsonl and the measurement."""
  measured = task.evaluate_checkpoint(gan, state, seed)
  return measured.metrics | {metric_writers.SCORE_KEY: measured.score}, measured


class Hooks:
  """Writes the files of a run between program calls: metrics, alarms, evaluations and checkpoints.

  In a run of several processes the first one writes; every method that takes a state is a collective call.
  """

  def __init__(self, session: Session, saved: Checkpoints, step: int):
    self._session, self._saved, self._group = session, saved, session.group
    first = self._group.is_first
    self._metrics = MetricWriter(session.folder, step) if first else NullWriter()
    self._progress = ProgressBar(step, session.config.steps) if first else NullWriter()
    records = metric_writers.read_metrics(session.folder / 'metrics.jsonl')
    self._monitored = [r for r in records if r['step'] <= step and 'watch_gap' in r]
    # Steps whose metrics are not fetched yet: start, stop, program calls, seconds at their beginning.
    self._dispatched: tuple[int, int, ProgramCalls, float] | None = None
    self._fetched_at = 0.0
    if step:
      self._progress.say(f'going on from step {step}')

  def dispatched(self, start: int, stop: int, calls: ProgramCalls, began: float) -> None:
    """Writes the metrics of the steps before, while the device works on the steps `start` to `stop`."""
    self.write_metrics()
    self._dispatched = start, stop, calls, began

  def write_metrics(self) -> None:
    """Fetches and writes the metrics of the dispatched steps; raises DivergedError where one is not finite."""
    if self._dispatched is None:
      return
    (start, stop, calls, began), self._dispatched = self._dispatched, None
    means = input_pipeline.mean_metrics(calls)
    if not all_values_finite(means):
      nonfinite.raise_diverged(self._session, self._saved, start, stop)
    now = time.monotonic()
    rate = (stop - start) / max(now - max(began, self._fetched_at), 1e-9)
    self._fetched_at, record = now, training_record(means, rate)
    self._metrics.write(stop, record)
    self._progress.update(stop, record)

  def monitor(self, step: int, state: GanState) -> Alarm | None:
    """Computes the training monitors and prints new alarms; returns an alarm that --stop_on names."""
    self.write_metrics()
    eval_state = self._session.eval_state(state)
    alarm = self._group.broadcast_from_first(lambda: self._raise_alarms(step, eval_state))
    return None if alarm is None else Alarm(*alarm)

  def _raise_alarms(self, step: int, state: GanState) -> Alarm | None:
    monitors = jax.device_get(self._session.monitor(state))
    values = {name: float(value) for name, value in monitors.items()}
    if not all_values_finite(values):
      return None  # the next checkpoint names the tensor
    self._metrics.write(step, values)
    self._monitored.append({'step': step, **values})
    raised = alarms.new_alarms(self._monitored)
    for alarm in raised:
      self._metrics.note(step, alarm=alarm.name, says=alarm.message)
      self._progress.say(f'step {step}: alarm, {alarm.name}: {alarm.message}')
    return next((alarm for alarm in raised if alarm.name in self._session.config.stops), None)

  def save(self, step: int, state: GanState, evaluate: bool = False) -> None:
    """Begins to write a checkpoint, after an evaluation if asked; raises DivergedError for a broken state."""
    self.write_metrics()
    if not nonfinite.all_finite(state):
      before = max([saved for saved in self._saved.steps() if saved < step], default=0)
      nonfinite.raise_diverged(self._session, self._saved, before, step)
    score = None
    if evaluate:
      eval_state = self._session.eval_state(state)
      score = self._group.broadcast_from_first(lambda: self._evaluate(step, eval_state))
    self._metrics.flush()
    self._saved.save(step, state, score)

  def _evaluate(self, step: int, state: GanState) -> float:
    """Scores the state, saves sample grids and curves; returns the score that selects the best checkpoint."""
    session, task, gan = self._session, self._session.task, self._session.gan
    seed = session.config.seed
    record, measured = evaluate_state(task, gan, state, seed)
    self._metrics.write(step, record)
    self._progress.say(f'step {step}: {measured.summary}')
    task.save_sample_figures(session.folder / 'samples', step, gan, state, seed)
    records = metric_writers.read_metrics(session.folder / 'metrics.jsonl')
    plots.plot_training_curves(session.folder / 'curves.png', records, gan.loss, task.plot_scores)
    return measured.score

  def finish(self, step: int, state: GanState) -> None:
    """Writes what is left, with a checkpoint of the last step where it has none, and waits for the disk."""
    self.write_metrics()
    self._saved.wait()
    if step not in self._saved.steps():
      self.save(step, state)
    self._saved.wait()

  def close(self) -> None:
    """Closes the metric files and the progress bar."""
    self._metrics.close()
    self._progress.close()
