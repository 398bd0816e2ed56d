"""The verdict: whether it worked, and if not, why; decided from evidence by rules that can be read.

The losses of a GAN do not tell. What does is a fresh discriminator beside the run's own one: where
neither finds a difference G is good; where only the fresh one does, D is weak.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics

VERDICTS = (
  'converged',
  'still improving',
  'G behind',
  'D too weak',
  'D too strong',
  'D overfitted',
  'mode collapse',
  'memorised training data',
  'diverged or cycling',
  'not enough evidence',
)
MIN_EXAMPLES = 1000  # examples of each set below which no probe learns enough

# What to change first, by flag.
ADVICE: dict[str, tuple[str, ...]] = {
  'converged': ('nothing: judge it by what it is for; --seed=1, 2, ... tell whether it was luck',),
  'still improving': ('--steps: give it more; the same command with a larger number goes on',),
  'G behind': (
    '--g_width or --g_depth: a larger G',
    '--g_lr: raise it, or let it fall to 0 with --g_schedule=cosine',
    '--r1, --r2: less of them lets D see finer differences',
  ),
  'D too weak': (
    '--k=2, or --k=auto: more updates of D for each of G',
    '--d_lr: raise it',
    '--d_width or --d_depth: a larger D',
  ),
  'D too strong': (
    '--loss=non_saturating, or relativistic: gradients that do not fade where D is sure',
    '--r1=1: flatten D around the data',
    '--k=1, or a lower --d_lr',
  ),
  'D overfitted': (
    '--augment=diffaugment, or --augment=ada --ada_target=0.6',
    '--r1: raise it',
    '--d_dropout, or a smaller --d_width; best of all more data',
  ),
  'mode collapse': (
    '--loss=relativistic --r1=1 --r2=1: D compares samples with data in pairs',
    '--batch_size: raise it; --k=2 lets D notice sooner',
    '--latent_size, --g_lr: more room for G, in smaller steps',
  ),
  'memorised training data': (
    'more training data, before anything else',
    '--augment=diffaugment: D sees no image twice',
    '--g_width: a smaller G',
  ),
  'diverged or cycling': (
    '--g_lr, --d_lr: lower both',
    '--r1=1: a penalty damps the cycle',
    '--g_b1=0 --d_b1=0: no momentum; meanwhile --checkpoint=best is the one to use',
  ),
  'not enough evidence': (f'give at least {MIN_EXAMPLES} held-out examples and samples',),
}


class Verdict(NamedTuple):
  """One of VERDICTS, how sure it is, and what decided it."""

  name: str
  confidence: float  # between 0 and 1
  facts: tuple[str, ...]  # the three that decided, the weightiest first
  advice: tuple[str, ...]  # what to change first, by flag


class Symptoms(NamedTuple):
  """Each symptom as a number: above 0 where it is there, and 1 is plainly there."""

  differs: float  # a fresh probe tells samples from data
  memory: float  # samples are training data
  unknown: float  # the run's own D does not see what the fresh probe sees
  blind: float  # it sees none of it, and did not for long
  overfit: float  # D knows training data by heart
  starved: float  # G's loss has no slope
  narrow: float  # samples are plausible and leave something out
  restless: float  # G is on the move, or worse than it was
  improving: float  # the held-out score still falls


def decide_verdict(evidence: DiagnosticStatistics) -> Verdict:
  """The verdict on this evidence."""
  n = evidence.n
  if min(n['held_out'], n['fake']) < MIN_EXAMPLES:
    facts = (
      f'{n["held_out"]:,} held-out examples and {n["fake"]:,} samples: '
      f'{MIN_EXAMPLES:,} of each are needed',
    )
    return Verdict('not enough evidence', 1.0, facts, ADVICE['not enough evidence'])
  signs = compute_symptoms(evidence)
  name, margin = _decide(evidence, signs)
  confidence = 0.5 + 0.49 * math.tanh(2 * max(margin, 0.0))
  return Verdict(name, confidence, _facts(name, evidence, signs), ADVICE[name])


def compute_symptoms(e: DiagnosticStatistics) -> Symptoms:
  """The symptoms that the evidence shows."""
  bound, null = e.ladder[0][1], e.null
  excess = max(b.low for _, b in e.ladder) - max(null.high, 0.0)
  noise = 0.004
  differs = (excess - noise) / (2 * noise)
  return Symptoms(
    differs=max(differs, (bound.low - 0.02) / 0.02 if bound.low > 0.02 else -1.0),
    memory=_memory(e),
    unknown=_unknown(e),
    blind=_blind(e),
    overfit=_overfit(e),
    starved=_starved(e),
    narrow=_narrow(e),
    restless=_restless(e),
    improving=_improving(e),
  )


def _decide(e: DiagnosticStatistics, s: Symptoms) -> tuple[str, float]:
  """The first verdict of the list whose symptoms are there, and by what margin."""
  if not e.finite:
    return 'diverged or cycling', 1.0
  if s.memory > 0:
    return 'memorised training data', s.memory
  if s.differs <= 0:
    return 'converged', -s.differs
  faults = (
    ('D overfitted', s.overfit),
    ('D too strong', s.starved),
    ('still improving', s.improving),
    ('D too weak', s.blind),
    ('diverged or cycling', s.restless),
    ('mode collapse', s.narrow),
    ('D too weak', s.unknown),
    ('G behind', min(s.differs, -s.narrow)),  # where nothing else is left
  )
  return next((name, sign) for name, sign in faults if sign > 0 or name == 'G behind')


def _memory(e: DiagnosticStatistics) -> float:
  if e.memory is None or e.memory_null is None:
    return -1.0
  authentic = e.memory.authentic / max(e.memory_null.authentic, 1e-9)
  return (0.6 - authentic) / 0.3


def _unknown(e: DiagnosticStatistics) -> float:
  """How much of what the fresh probe finds the run's own D misses; below 0 where it finds half of it."""
  if e.own is None:
    return -1.0
  fresh, own = e.ladder[0][1].value, max(e.own.held_out.value, 0.0)
  return (0.5 - own / max(fresh, 1e-9)) / 0.25


def _blind(e: DiagnosticStatistics) -> float:
  """The run's own D sees nearly nothing of what the fresh probe sees, and did not over its last looks."""
  if e.own is None or e.own.spread < 1e-4:  # one that died says nothing of D's strength before
    return -1.0
  share = max(e.own.held_out.value, 0.0) / max(e.ladder[0][1].value, 1e-9)
  seen = 0.0 if e.history is None else float(np.median(e.history.own[-6:])) - 0.5
  return min((0.15 - share) / 0.15, (0.1 - seen) / 0.1)


def _overfit(e: DiagnosticStatistics) -> float:
  """D ranks training data above held-out data, or proves far more with them."""
  if e.own is None or not math.isfinite(e.own.train.value):
    return -1.0
  ranked = (e.own.overfit - 0.5 - 2 * e.own.overfit_std - 0.12) / 0.1
  proved = (e.own.train.low - max(e.own.held_out.high, 0.0) - 0.05) / 0.1
  return max(ranked, proved)


def _starved(e: DiagnosticStatistics) -> float:
  if e.own is None:
    return -1.0
  sure = (max(e.own.held_out.value, 0.0) - 0.45) / 0.1
  flat = (0.12 - e.own.slope) / 0.1
  return min(sure, flat)


def _narrow(e: DiagnosticStatistics) -> float:
  """Samples are as plausible as data, and do not cover them."""
  m, null = e.manifold, e.manifold_null
  plausible = (m.density / max(null.density, 1e-9) - 0.85) / 0.15
  uncovered = (0.9 - m.coverage / max(null.coverage, 1e-9)) / 0.1
  uneven = (e.cells.divergence - max(e.cells_null.divergence, 0.0) - 0.005) / 0.005
  return min(plausible, max(uncovered, uneven))


def _restless(e: DiagnosticStatistics) -> float:
  """G moves far between steps, was better than it is, or does not come near the data any more."""
  if e.history is None or len(e.history.gap) < 4:
    return (e.far - 30) / 10
  gap = np.maximum(e.history.gap, 0.0)
  best, last = float(gap.min()), float(np.median(gap[-3:]))
  worse = (last - 3 * best - 0.1) / 0.1
  known = [x for x in e.history.drift[-(len(gap) // 2) :] if math.isfinite(x)]
  drift = (float(np.median(known)) - 0.22) / 0.2 if known else -1.0
  lost = (float(gap[len(gap) // 2 :].min()) - 0.3) / 0.2
  return max(worse, drift, lost)


def _improving(e: DiagnosticStatistics) -> float:
  """Held-out scores fell over the last half of the run, and did so steadily."""
  if e.history is None or len(e.history.gap) < 6:
    return -1.0
  return max(_fall(e.history.gap, 0.01, 1.25), _fall(e.history.near, 0.1, 1.1))


def _fall(course: Sequence[float], floor: float, least: float) -> float:
  """How far a score fell over the last half, beside the `least` ratio that counts; or how steadily."""
  score = np.maximum(np.asarray(course), floor)
  half = score[len(score) // 2 :]
  third = max(len(half) // 3, 1)
  fell = math.log(float(np.mean(half[:third]) / np.mean(half[-third:])) / least)
  # Of all pairs of looks, by how many more fall than rise: Kendall's tau, with its sign turned.
  steps = np.sign(half[:, None] - half[None])[np.triu_indices(len(half), 1)]
  setback = float(np.max(half / np.minimum.accumulate(half)))
  return min(fell, float(steps.mean()) - 0.5, 1.35 - setback)


def _facts(name: str, e: DiagnosticStatistics, s: Symptoms) -> tuple[str, ...]:
  """Three sentences: what a fresh probe finds, what belongs to the verdict, what else there is."""
  bound, null = e.ladder[0][1], e.null
  probe = (
    f'a fresh probe tells samples from held-out data: JSD at least {bound.value:.3f} '
    f'[{bound.low:.3f}, {bound.high:.3f}] of {math.log(2):.3f} nats (real against real: {null.value:.3f})'
  )
  if s.differs <= 0:
    probe = (
      f'no fresh probe tells samples from held-out data: JSD bound {bound.value:.3f} '
      f'[{bound.low:.3f}, {bound.high:.3f}] nats (real against real: {null.value:.3f})'
    )
  m, m_null = e.manifold, e.manifold_null
  cover = (
    f'coverage {m.coverage:.2f} (real {m_null.coverage:.2f}), density {m.density:.2f} '
    f'(real {m_null.density:.2f}), {e.cells.missing:.0%} of the data in cells that samples leave empty'
  )
  told = {'probe': probe, 'cover': cover}
  if e.own is not None:
    told['own'] = (
      f"the run's own D finds {max(e.own.held_out.value, 0):.3f} nats of it on held-out data "
      f'and {max(e.own.train.value, 0):.3f} on training data'
    )
    told['overfit'] = (
      f'D ranks {e.own.overfit:.0%} of training examples above held-out ones (50 % if it learned none by heart)'
    )
    told['slope'] = f"mean slope of G's loss at its samples: {e.own.slope:.3g}"
  if e.memory is not None and e.memory_null is not None:
    told['memory'] = (
      f'{e.memory.authentic:.0f} % of samples are authentic (held-out data: {e.memory_null.authentic:.0f} %), '
      f'{e.memory.near:.0%} lie as near to training data as 5 % of held-out data do'
    )
  if e.history is not None:
    h = e.history
    told['history'] = (
      f'distance to held-out data: best {min(h.gap):.3g}, last {h.gap[-1]:.3g} (of neighbours '
      f'{min(h.near):.3g} and {h.near[-1]:.3g})'
      + (
        ''
        if math.isnan(h.drift[-1])
        else f'; G lies {h.drift[-1]:.2g} mean distances from its average'
      )
    )
  if not e.finite:
    told['finite'] = 'some samples are infinite or NaN'
  elif e.far > 30:
    told['finite'] = f'samples spread {e.far:.3g} times as far as the data'
  order = {
    'converged': ('probe', 'cover', 'memory'),
    'still improving': ('history', 'probe', 'cover'),
    'G behind': ('probe', 'cover', 'own'),
    'D too weak': ('probe', 'own', 'cover'),
    'D too strong': ('slope', 'own', 'probe'),
    'D overfitted': ('overfit', 'own', 'probe'),
    'mode collapse': ('cover', 'probe', 'own'),
    'memorised training data': ('memory', 'probe', 'cover'),
    'diverged or cycling': ('finite', 'history', 'probe'),
  }[name]
  chosen = [key for key in order if key in told]
  chosen += [key for key in told if key not in chosen]
  return tuple(told[key] for key in chosen[:3])
