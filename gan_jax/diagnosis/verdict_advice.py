"""Explains a verdict to a person: the facts that support it, and the flags to change."""

import math

from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics
from gan_jax.diagnosis.separation import FAMILY_WISE_ERROR
from gan_jax.metrics.copy_search import CopyReport

ADVICE: dict[str, tuple[str, ...]] = {
  'converged': ('nothing; --seed=1, 2, ... show whether other seeds converge too',),
  'still improving': ('--steps: raise it; the same command continues the run',),
  'not settled': (
    '--weights=ema: use the averaged weights',
    '--g_lr, --d_lr: lower both, or let them decay to 0 with --g_schedule=cosine --d_schedule=cosine',
    '--batch_size: raise it',
  ),
  'G behind': (
    '--g_width or --g_depth: a larger G',
    '--g_lr: raise it, or let it decay to 0 with --g_schedule=cosine',
    '--r1, --r2: lower them, so that D can resolve finer differences',
  ),
  'D too weak': (
    '--k=2, or --k=auto: more updates of D for each of G',
    '--d_lr: raise it',
    '--d_width or --d_depth: a larger D',
  ),
  'D too strong': (
    '--loss=non_saturating, or relativistic: gradients that do not vanish where D is certain',
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
    '--batch_size: raise it; --k=2 lets D react sooner',
    '--latent_size, --g_lr: a larger latent space, and smaller steps',
  ),
  'memorised training data': (
    'more training data, before anything else',
    '--augment=diffaugment: D never gets the same image twice',
    '--g_width: a smaller G',
  ),
  'diverged or cycling': (
    '--g_lr, --d_lr: lower both',
    '--r1=1: a penalty damps cycles',
    '--g_b1=0 --d_b1=0: no momentum; meanwhile --checkpoint=best is the one to use',
  ),
  'not enough evidence': ('give more held-out examples and more samples, better 5,000 of each',),
}
LEAST_P = 1e-10  # below which the tail of a normal is no more to be trusted
# Keys of `_facts` by relevance; other facts replace those that are unknown.
_RELEVANT_FACTS = {
  'converged': ('probe', 'coverage', 'memorisation'),
  'still improving': ('history', 'probe', 'part'),
  'not settled': ('probe', 'averaged', 'history'),
  'G behind': ('probe', 'part', 'discriminator'),
  'D too weak': ('probe', 'discriminator', 'part'),
  'D too strong': ('slope', 'discriminator', 'probe'),
  'D overfitted': ('overfitting', 'discriminator', 'probe'),
  'mode collapse': ('part', 'probe', 'coverage'),
  'memorised training data': ('memorisation', 'probe', 'coverage'),
  'not enough evidence': ('probe', 'coverage'),
  'diverged or cycling': ('extent', 'history', 'probe'),
}


def explain_verdict(
  name: str, statistics: DiagnosticStatistics, distinguishable: bool
) -> tuple[str, ...]:
  """Returns three sentences for the verdict `name`; `distinguishable` if probes separate samples from data."""
  facts = _facts(statistics, distinguishable)
  chosen = [key for key in _RELEVANT_FACTS[name] if key in facts]
  chosen += [key for key in facts if key not in chosen]
  if statistics.copies is not None and holds_copies(statistics.copies):
    chosen = [*(key for key in chosen[:2] if key != 'memorisation'), 'memorisation']
  return tuple(facts[key] for key in chosen[:3])


def holds_copies(copies: CopyReport) -> bool:
  """Tells whether some samples certainly copy training data, few as they may be."""
  more = max(copies.exact - copies.exact_held_out, copies.near - copies.near_held_out)
  return copies.p < 1e-4 and more > 0.01


def _facts(s: DiagnosticStatistics, distinguishable: bool) -> dict[str, str]:
  """Returns a sentence for each part of the statistics that is known."""
  scores, null = s.scores.precision_recall, s.null_scores.precision_recall
  facts = {
    'probe': _probe_fact(s, distinguishable),
    'coverage': (
      f'coverage {scores.coverage:.2f} (real {null.coverage:.2f}), density {scores.density:.2f} '
      f'(real {null.density:.2f}), {s.scores.cells.missing:.0%} of the data in cells without samples'
    ),
  }
  if s.parts and distinguishable:
    part = s.parts[0]
    facts['part'] = f'the largest part is {part.name}, {part.nats:.3f} nats: {part.detail}'
  if s.discriminator is not None:
    d = s.discriminator
    facts['discriminator'] = (
      f"the run's own D proves a JSD of {max(d.held_out_bound.value, 0):.3f} nats on held-out data "
      f'and {max(d.train_bound.value, 0):.3f} on training data'
    )
    facts['overfitting'] = (
      f'D ranks {d.train_above_held_out:.0%} of training examples above held-out ones '
      '(50 % without overfitting)'
    )
    facts['slope'] = f'mean slope of the generator loss at samples: {d.generator_loss_slope:.3g}'
  if s.distances is not None and min(s.distances) > 0:
    ratio = s.distances[1] / s.distances[0]
    facts['averaged'] = (
      f"with G's other weights (averaged ones beside the last) samples are {ratio:.2g} times as far "
      'from held-out data'
    )
  if s.copies is not None:
    c = s.copies
    facts['memorisation'] = (
      f'{c.exact:.1%} of samples equal one of {c.n_train:,} training examples (held-out data: '
      f'{c.exact_held_out:.1%}); {c.near:.1%} are nearer to one than 99 % of held-out data are'
    )
  if s.history is not None:
    h = s.history
    facts['history'] = (
      f'energy distance to held-out data while training: best {max(min(h.gap), 0):.3g}, '
      f'last {max(h.gap[-1], 0):.3g}; '
      f'excess nearest-neighbour distance: {min(h.near):.3g} and {h.near[-1]:.3g}'
    )
    if not math.isnan(h.drift[-1]):
      facts['history'] += f'; G is {h.drift[-1]:.2g} mean distances from its moving average'
  if s.finite_share < 1:
    facts['extent'] = f'{1 - s.finite_share:.1%} of samples are infinite or NaN'
  elif s.spread_ratio > 30:
    facts['extent'] = (
      f'the standard deviation of samples is {s.spread_ratio:.3g} times that of the data'
    )
  return facts


def _probe_fact(s: DiagnosticStatistics, distinguishable: bool) -> str:
  """Says what fresh probes prove."""
  separation = s.separation
  best, n = separation.probes[0], len(separation.probes)
  interval = f'{best.bound.value:.3f} [{best.bound.low:.3f}, {best.bound.high:.3f}]'
  p = f'p = {separation.p:.1g}' if separation.p >= LEAST_P else f'p < {LEAST_P:g}'
  by_chance = f'{p} over {n} probes' if n > 1 else p
  if distinguishable:
    return (
      f'a fresh probe ({best.name}) separates samples from held-out data: JSD at least {interval} of '
      f'{math.log(2):.3f} nats (chance: up to {best.chance:.3f}; {by_chance})'
    )
  if separation.p < FAMILY_WISE_ERROR:
    return f'samples differ from held-out data by a JSD of {interval} nats ({by_chance}): too little to matter'
  return (
    f'no fresh probe separates samples from held-out data: JSD bound {interval} nats, {by_chance}; '
    f'one of {separation.detectable:.3f} nats would have been found in nine of ten cases'
  )
