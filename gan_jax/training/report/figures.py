"""Which charts a run's records and a verdict's evidence give; what they lack is left out."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from gan_jax.gan.losses import LOSSES, smooth_labels, weigh_discriminator
from gan_jax.training.report import charts, tables
from gan_jax.training.report.charts import Chart, Rule, Series

Records = list[dict[str, Any]]  # lines of metrics.jsonl
Values = dict[str, Any]

LOG_2 = math.log(2)
_MANY_CELLS = 60
# Styles: what is data, what are samples, what is D's, what is only there to be compared with.
DATA, HELD_OUT, FAKE, CRITIC, NULL = 'data', 'held', 'fake', 'critic', 'null'


class Score(NamedTuple):
  """The course of the number by which checkpoints are ranked, as it is measured."""

  name: str
  higher_is_better: bool
  steps: list[int]
  values: list[float]

  @property
  def best(self) -> int:
    """Where in the lists the best one is; the first of equals."""
    pick = max if self.higher_is_better else min
    return self.values.index(pick(self.values))


def score_of(records: Records) -> Score | None:
  """The score of each evaluated step, under the name of the measurement that it is, up to its sign."""
  scored = [r for r in records if charts.known(r.get('score'))]
  if not scored:
    return None
  steps = [r['step'] for r in scored]
  for name in scored[-1]:
    for sign in (1, -1):
      if name != 'score' and all(r.get(name) == sign * r['score'] for r in scored):
        return Score(name, sign > 0, steps, [r[name] for r in scored])
  return Score('score', True, steps, [r['score'] for r in scored])


def ladder(evidence: Values) -> Chart | None:
  """The bound of a fresh D on every rung of noise, real against real, and the ceiling log 2."""
  rungs = [rung for rung in evidence.get('ladder') or [] if charts.known(rung.get('bound'))]
  at = list(range(len(rungs)))
  column = lambda name: [rung.get(name) for rung in rungs]
  series = [
    _null(rungs),
    Series('samples against real', FAKE, at, column('bound'), column('low'), column('high'), True),
  ]
  # A rung without an interval is still a rung.
  series = [
    s if all(map(charts.known, (*s.low, *s.high))) else s._replace(low=(), high=()) for s in series
  ]
  own = (evidence.get('own') or {}).get('held_out')
  if charts.known(own):
    series.append(Series("the run's own D", CRITIC, [0], [own], dots=True))
  return charts.lines(
    'What a fresh discriminator finds',
    series,
    x_label='noise added to both, in std of the data',
    x_names=[f'{sigma:g}' if charts.known(sigma) else '?' for sigma in column('sigma')],
    rules=[Rule('log 2: told apart without fail', 'ceiling', y=LOG_2)],
    within=(0.0, 0.75),
    note='Lower bound on the Jensen-Shannon divergence, in nats, on data nobody trained on. On the grey '
    'line samples are as good as data; where the line falls with a little noise only fine detail differs.'
    + (' An own D far below it misses what can be seen.' if charts.known(own) else ''),
  )


def _null(rungs: Records) -> Series:
  """What real data against real data gets on every rung; one measured on the first alone is drawn for all."""
  null, high = ([rung.get(name) for rung in rungs] for name in ('null', 'null_high'))
  if len(list(filter(charts.known, null))) == 1 and charts.known(null[0]):
    null, high = null[:1] * len(rungs), high[:1] * len(rungs)
  return Series('real against real', NULL, range(len(rungs)), null, [0.0] * len(rungs), high)


def logits(evidence: Values) -> Chart | None:
  """How the run's own D judges training data, held-out data and samples."""
  found = evidence.get('histogram') or {}
  names = {
    (DATA, 'training data'): 'train',
    (HELD_OUT, 'held-out data'): 'held_out',
    (FAKE, 'samples'): 'fake',
  }
  return charts.histogram(
    "The run's own D",
    found.get('edges') or [],
    {key: found.get(name) or [] for key, name in names.items()},
    x_label="D's logit: right is “data”, left is “sample”",
    note='All three on top of each other: D tells nothing apart. Training data right of held-out data: D '
    'has learned its examples by heart.',
  )


def cells(evidence: Values, evaluation: Values) -> Chart | None:
  """Shares of data and samples in every class or cell; of samples alone where only an evaluation is there."""
  # A classifier's classes mean more to a person than the cells that the verdict goes by.
  found = (
    evidence.get('classes') or evidence.get('cells') or {'fake': evaluation.get('class_shares')}
  )
  real, fake = found.get('real') or [], found.get('fake') or []
  names = [str(name) for name in found.get('names') or []]
  note = (
    'An orange bar much shorter than its blue neighbour is a part of the data that G leaves out.'
  )
  series = {(DATA, 'data'): real, (FAKE, 'samples'): fake}
  title = 'Where data and samples are' if real else 'Where samples are'
  if len(fake) <= _MANY_CELLS:
    what = 'class' if names or not real else 'cell'
    return charts.bars(title, names, series, x_label=what, note=note if real else '')
  ranked = [
    Series(name, style, range(len(x)), sorted(x, reverse=True))
    for (style, name), x in series.items()
  ]
  return charts.lines(
    title,
    ranked,
    x_label='cells, each set from its largest share',
    note=f'{len(fake)} cells. Samples that fall to zero early leave parts of the data out.',
  )


def alarms(records: Records) -> list[Values]:
  """The alarms among a run's records, in order."""
  return [record for record in records if record.get('alarm') and charts.known(record.get('step'))]


def training(records: Records, flags: Values) -> list[Chart]:
  """Losses, beliefs, updates of D and the penalty over the run, alarms as lines across."""
  trained = [r for r in records if 'g_loss' in r]
  steps = [r['step'] for r in trained]
  line = lambda label, style, name: Series(label, style, steps, [r.get(name) for r in trained])
  rang = [Rule(str(alarm['alarm']), 'alarm', x=alarm['step']) for alarm in alarms(records)]
  drawn = [
    charts.lines(
      'Losses',
      [line('D', CRITIC, 'd_loss'), line('G', FAKE, 'g_loss')],
      rules=_equilibrium(flags) + rang,
      note='Losses that sit on their values at equilibrium prove nothing: a blind D gives the same.',
    ),
    charts.lines(
      "D's beliefs",
      [line('D(x), data', DATA, 'd_real'), line('D(G(z)), samples', FAKE, 'd_fake')],
      rules=[Rule('undecided', 'ceiling', y=0.5), *rang],
      within=(0.0, 1.0),
      note='Mean probability of being data. Far apart for long: G gets little to learn from.',
    ),
  ]
  if any(r.get('d_penalty') for r in trained):
    penalty = [line('', CRITIC, 'd_penalty')]
    drawn.append(charts.lines("Penalty on D's slope", penalty, rules=rang, log=True))
  if len({r.get('k') for r in trained}) > 1:
    drawn.append(charts.lines('Updates of D per update of G', [line('', CRITIC, 'k')], rules=rang))
  return [chart for chart in drawn if chart]


def _equilibrium(flags: Values) -> list[Rule]:
  """What D's and G's losses are where D cannot tell; [] for a loss of another version."""
  if flags.get('loss') not in LOSSES:
    return []
  loss = LOSSES[flags['loss']]
  if flags.get('label_smoothing'):
    loss = smooth_labels(loss, flags['label_smoothing'])
  loss = weigh_discriminator(loss, flags.get('d_loss_weight', 1.0))
  undecided = jnp.full(1, loss.undecided)
  levels = ((loss.discriminator, 'D', CRITIC), (loss.generator, 'G', FAKE))
  return [
    Rule(f'{who} at equilibrium', style, y=float(fn(undecided, undecided)))
    for fn, who, style in levels
  ]


def progress(records: Records, evidence: Values) -> list[Chart]:
  """The score over the run with its best marked, the distance to the data, and how far G still moves."""
  rang = [Rule(str(alarm['alarm']), 'alarm', x=alarm['step']) for alarm in alarms(records)]
  score, history = score_of(records), evidence.get('history') or _watched(records)
  drawn = [_scores(score, records, rang)] if score else []
  course = lambda name: [
    Series('', FAKE, history.get('steps') or [], history.get(name) or [], dots=True)
  ]
  drawn.append(
    charts.lines('Distance to held-out data (lower is better)', course('score'), rules=rang)
  )
  note = (
    'From samples of averaged weights to those of the last: near zero where G has come to rest.'
  )
  drawn.append(charts.lines('How much G still moves', course('drift'), rules=rang, note=note))
  return [chart for chart in drawn if chart]


def _watched(records: Records) -> Values:
  """The course that a referee reads from a run's records, before it has read them."""
  seen = [r for r in records if 'watch_gap' in r]
  names = {'steps': 'step', 'score': 'watch_gap', 'drift': 'watch_drift'}
  return {name: [r.get(key) for r in seen] for name, key in names.items()}


def _scores(score: Score, records: Records, rang: list[Rule]) -> Chart | None:
  better = 'higher is better' if score.higher_is_better else 'lower is better'
  series = [Series('averaged weights', FAKE, score.steps, score.values, dots=True)]
  raw = score.name.removesuffix('_ema') + '_raw'
  measured = [r for r in records if raw in r]
  steps, values = [r['step'] for r in measured], [r[raw] for r in measured]
  series.insert(0, Series('last weights', NULL, steps, values, dots=True))
  log = not score.higher_is_better and max(score.values) > 10 * min(score.values)
  best = Rule('best', 'best', x=score.steps[score.best])
  title = f'{tables.title_of(score.name)} ({better})'
  return charts.lines(title, series, rules=[best, *rang], log=log)
