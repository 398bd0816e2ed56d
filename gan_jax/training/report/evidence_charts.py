"""Draws the charts of a report from the evidence in a referee.json: probes, D's outputs, coverage."""

import math
from typing import Any

from gan_jax.training.report.chart_drawing import Chart, Interval
from gan_jax.training.report.evidence_tables import fresh_probes
from gan_jax.training.report.number_format import format_p_value, is_number

Values = dict[str, Any]

_MAX_BARS = 60
_MAX_PROBES = 7
_LADDER_TOP = 0.1  # nats, least upper end of the axis
_CHANCE = 'chance: equal sets'


def evidence_charts(evidence: Values, evaluation: Values) -> list[Chart]:
  """Returns the charts of a referee's evidence, and the coverage of an evaluation where it has none."""
  drawn = (
    _probes(evidence),
    _noise_ladder(evidence),
    _logits(evidence),
    _coverage(evidence, evaluation),
  )
  return [chart for chart in drawn if not chart.is_empty]


def _probes(evidence: Values) -> Chart:
  """Draws the lower bound on the divergence by each kind of fresh probe, the chosen one on top."""
  p = format_p_value((evidence.get('test') or {}).get('p'))
  note = 'Each is trained to tell samples from data, and tested on examples it has not seen. '
  note += 'The first is the best one on validation data; '
  note += f'over all of them {p}.' if p else 'p: of its own test.'
  chart = Chart('What each fresh discriminator proves', '', 'JS divergence, at least (nats)', note)
  rows = []
  for probe in fresh_probes(evidence):
    if is_number(value := probe.get('bound')):
      ends = (probe.get(name) for name in ('low', 'high', 'chance'))
      rows.append(Interval(str(probe.get('name')), format_p_value(probe.get('p')), value, *ends))
  chart.intervals(rows[:_MAX_PROBES], 'fake', 'bound, with its interval', _CHANCE)
  return chart


def _noise_ladder(evidence: Values) -> Chart:
  """Draws the lower bound on the divergence of samples and data under more and more noise."""
  rungs = [rung for rung in evidence.get('ladder') or [] if is_number(rung.get('bound'))]
  n, column = len(rungs), lambda name: [rung.get(name) for rung in rungs]
  chance = column('chance')
  if not any(map(is_number, chance)):  # an earlier version measured it without noise only
    chance = column('null_high')[:1] * n
  run_bound = (evidence.get('own') or {}).get('held_out')
  chart = Chart(
    'What noise hides',
    'JS divergence (nats)',
    'noise added to both (std of the data)',
    'In the grey band samples are as good as data. Where the orange line falls with a little noise, only '
    'fine detail differs.'
    + ' With noise, discriminators look at vectors only.' * (len(evidence.get('probes') or []) > 1)
    + " The run's own D far below the line misses what can be seen." * is_number(run_bound),
  )
  shown = [x for x in (*column('bound'), *column('high'), *chance, run_bound) if is_number(x)]
  top = min(max(1.15 * max(shown, default=0), _LADDER_TOP), 0.75)
  chart.axes.set_ylim(0, top)
  chart.name_x_ticks([f'{x:g}' if is_number(x) else '?' for x in column('sigma')])
  chart.band(range(n), [0.0] * n, chance, 'null', _CHANCE)
  chart.band(range(n), column('low'), column('high'), 'fake')
  chart.line(range(n), column('bound'), 'fake', 'best fresh discriminator', dots=True)
  chart.line([0], [run_bound], 'critic', "the run's own D", dots=True)
  if top > math.log(2):
    chart.level(math.log(2), 'soft', 'log 2: always told apart')
  return chart


def _logits(evidence: Values) -> Chart:
  """Draws the logits of the run's own D on training data, held-out data and samples."""
  histogram = evidence.get('histogram') or {}
  note = 'All three equal: D tells nothing apart. Training data right of held-out data: D overfits.'
  logit = "D's logit (right: data, left: samples)"
  chart = Chart("The run's own D", 'share of each set', logit, note)
  sets = {'train': ('data', 'training data'), 'held_out': ('held', 'held-out data')}
  for name, style in (sets | {'fake': ('fake', 'samples')}).items():
    chart.histogram(histogram.get('edges') or [], histogram.get(name) or [], *style)
  return chart


def _coverage(evidence: Values, evaluation: Values) -> Chart:
  """Draws the shares of data and samples per class, else per cell, else of samples alone."""
  shares = evidence.get('classes') or evidence.get('cells')
  shares = shares or {'fake': evaluation.get('class_shares')}
  real, fake = shares.get('real') or [], shares.get('fake') or []
  names = [str(name) for name in shares.get('names') or []]
  title = 'Where data and samples are' if real else 'Where samples are'
  columns = {('data', 'data'): real, ('samples', 'fake'): fake}
  if len(fake) <= _MAX_BARS:
    what = 'class' if names or not real else 'cell'
    note = f'The classifier assigns each sample to a {what}.'
    if real:
      note = 'Orange much shorter than the blue bar beside it: G leaves this part of the data out.'
    chart = Chart(title, 'share of each set', what, note)
    chart.bars(names, columns)
    return chart
  note = f'{len(fake)} cells. Samples that fall to zero early leave parts of the data out.'
  chart = Chart(title, 'share of each set', 'cells, each set from its largest share', note)
  for (label, color), values in columns.items():
    chart.line(range(len(values)), sorted(filter(is_number, values), reverse=True), color, label)
  return chart
