"""Chooses and draws the charts of a report from a run's metrics.jsonl: losses, outputs of D, scores."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from gan_jax.gan.losses import LOSSES, scale_discriminator_loss, smooth_labels
from gan_jax.training.report import tables
from gan_jax.training.report.chart_drawing import Chart
from gan_jax.training.report.number_format import is_number

Records = list[dict[str, Any]]  # lines of metrics.jsonl
Values = dict[str, Any]


class ScoreCurve(NamedTuple):
  """Holds the metric by which checkpoints are ranked, at each evaluation during training."""

  name: str
  higher_is_better: bool
  steps: list[int]
  values: list[float]

  @property
  def best_index(self) -> int:
    """Returns the index of the best value, of equal ones the first."""
    return self.values.index((max if self.higher_is_better else min)(self.values))


def score_curve(records: Records) -> ScoreCurve | None:
  """Returns the 'score' of the records under the name of the metric that equals it up to the sign."""
  scored = [r for r in records if is_number(r.get('score'))]
  if not scored:
    return None
  steps = [r['step'] for r in scored]
  for name in scored[-1]:
    for sign in (1, -1):
      if name != 'score' and all(r.get(name) == sign * r['score'] for r in scored):
        return ScoreCurve(name, sign > 0, steps, [r[name] for r in scored])
  return ScoreCurve('score', True, steps, [r['score'] for r in scored])


def alarm_records(records: Records) -> Records:
  """Returns the records of alarms, in order."""
  return [record for record in records if record.get('alarm') and is_number(record.get('step'))]


def training_charts(records: Records, flags: Values, evidence: Values) -> list[Chart]:
  """Returns the charts over generator updates: losses, D's outputs, then scores; alarms are marked in each."""
  trained = [r for r in records if 'g_loss' in r]
  steps, column = [r['step'] for r in trained], lambda name: [r.get(name) for r in trained]
  note = 'At their equilibrium losses prove nothing: a D that tells nothing apart gives the same.'
  losses = Chart('Losses', 'loss', note=note)
  losses.line(steps, column('d_loss'), 'critic', 'D')
  losses.line(steps, column('g_loss'), 'fake', 'G')
  for label, color, level in _equilibrium(flags):
    losses.level(level, color, f'{label} at equilibrium')
  note = 'Mean probability of being data. Far apart for long: G gets little to learn from.'
  outputs = Chart("D's beliefs", 'mean probability', note=note)
  outputs.axes.set_ylim(0, 1)
  outputs.line(steps, column('d_real'), 'data', 'D(x), data')
  outputs.line(steps, column('d_fake'), 'fake', 'D(G(z)), samples')
  outputs.level(0.5, 'soft', 'undecided')
  penalty = Chart("Penalty on D's slope", 'penalty')
  if any(column('d_penalty')):
    penalty.line(steps, column('d_penalty'), 'critic')
    penalty.use_log_scale()
  ratio = Chart('Updates of D per update of G', 'k')
  if len(set(column('k'))) > 1:
    ratio.line(steps, column('k'), 'critic')
  charts = [losses, outputs, penalty, ratio, *_progress(records, evidence.get('history') or {})]
  for chart in charts:
    for alarm in alarm_records(records):
      chart.event(alarm['step'], 'alarm', 'alarm', str(alarm['alarm']))
  return [chart for chart in charts if not chart.is_empty]


def _equilibrium(flags: Values) -> list[tuple[str, str, float]]:
  """Returns (player, color, loss) where D cannot tell data from samples; [] for an unknown loss."""
  if flags.get('loss') not in LOSSES:
    return []
  loss = LOSSES[flags['loss']]
  smoothing, weight = flags.get('label_smoothing'), flags.get('d_loss_weight')
  loss = smooth_labels(loss, smoothing) if is_number(smoothing) and smoothing else loss
  loss = scale_discriminator_loss(loss, weight if is_number(weight) else 1.0)
  undecided = jnp.full(1, loss.equilibrium_output)
  players = (('D', 'critic', loss.discriminator), ('G', 'fake', loss.generator))
  return [(name, color, float(fn(undecided, undecided))) for name, color, fn in players]


def _progress(records: Records, history: Values) -> list[Chart]:
  """Draws the score with its best step, the distance to held-out data, and G's distance to its average."""
  watched = [r for r in records if 'watch_gap' in r]
  keys = {'steps': 'step', 'score': 'watch_gap', 'drift': 'watch_drift'}
  history = history or {name: [r.get(key) for r in watched] for name, key in keys.items()}
  distance = Chart('Distance to held-out data (lower is better)', 'relative to the data')
  note = 'Between samples of averaged and of last weights, at equal latents: near zero where G has settled.'
  drift = Chart('How much G still moves', 'relative to the data', note=note)
  for name, chart in (('score', distance), ('drift', drift)):
    chart.line(history.get('steps') or [], history.get(name) or [], 'fake', dots=True)
  curve = score_curve(records)
  return [*([_score_chart(curve, records)] if curve else []), distance, drift]


def _score_chart(curve: ScoreCurve, records: Records) -> Chart:
  name, better = tables.metric_title(curve.name), 'higher' if curve.higher_is_better else 'lower'
  chart = Chart(f'{name} ({better} is better)', name.partition(',')[0])
  raw = curve.name.removesuffix('_ema') + '_raw'
  measured = [r for r in records if raw in r]
  steps, values = [r['step'] for r in measured], [r[raw] for r in measured]
  chart.line(steps, values, 'null', 'last weights', dots=True)
  chart.line(curve.steps, curve.values, 'fake', 'averaged weights', dots=True)
  if not curve.higher_is_better and max(curve.values) > 10 * min(curve.values):
    chart.use_log_scale()
  best = curve.best_index
  chart.event(curve.steps[best], 'best', 'best', f'best: {curve.values[best]:.4g}')
  return chart
