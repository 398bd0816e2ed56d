"""Decides the verdict on a generator from diagnostic statistics, by explicit rules on symptoms.

The losses of a GAN do not show whether it works. The main evidence is the divergence bound of fresh
probes beside that of the run's own discriminator: if both are 0, G is good; if only the latter is, D is weak.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.diagnosis.change_advice import AVERAGED, UNCHANGED, RankedChange, rank_changes
from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics
from gan_jax.diagnosis.divergence_parts import MODE_PARTS
from gan_jax.diagnosis.separation import FAMILY_WISE_ERROR
from gan_jax.diagnosis.verdict_advice import ADVICE, explain_verdict

VERDICTS = tuple(ADVICE)
NEGLIGIBLE = 0.01  # nats, which a classifier of 56 % accuracy proves


# Where probes find nothing, and would not have found a divergence of so many nats, nothing is known.
UNDECIDED = 0.03


class Verdict(NamedTuple):
  """Holds one of `VERDICTS` with its explanation."""

  name: str
  confidence: float  # in [0, 1]
  facts: tuple[str, ...]  # at most three sentences, the most relevant first
  advice: tuple[str, ...]  # flags to change, the first one first


class Symptoms(NamedTuple):
  """Holds the strength of each symptom: present above 0, plainly present from 1 on."""

  differs: float  # a fresh probe separates samples from data
  memory: float  # samples copy training data
  unknown: float  # the run's own D proves less than half of the probe's divergence
  blind: float  # it proves next to none of it, now and at recent steps
  overfit: float  # D separates training data from held-out data
  starved: float  # the generator loss has no slope
  narrow: float  # samples are plausible and cover only a part of the data
  restless: float  # G moves far, or is worse than it was
  improving: float  # held-out distances still fall


# What helps where a verdict is right: `CHANGES` of settings. A verdict is chosen by what is predicted to help.
REMEDIES: dict[str, tuple[str, ...]] = {
  'still improving': (UNCHANGED,),
  'D too weak': ('more_d_updates', 'd_lr_up', 'larger_d', 'penalty_down'),
  'D too strong': ('d_lr_down', 'penalty_up', 'other_loss'),
  'not settled': (AVERAGED, 'lower_rates', 'larger_batch', 'no_momentum'),
  'G behind': ('g_lr_up', 'larger_g'),
  'D overfitted': ('diffaugment', 'd_dropout', 'smaller_d', 'penalty_up', 'd_lr_down'),
  'mode collapse': ('other_loss', 'larger_batch', 'more_d_updates', 'penalty_up', AVERAGED),
  'diverged or cycling': ('lower_rates', 'no_momentum', 'penalty_up', 'd_lr_down', AVERAGED),
}
_BY_PREDICTION = ('D too weak', 'D too strong', 'not settled', 'G behind', 'still improving')
_N_ADVICE = 3


def decide_verdict(statistics: DiagnosticStatistics) -> Verdict:
  """Decides the verdict, with its confidence; of a run, by what is predicted to help it."""
  symptoms = compute_symptoms(statistics)
  changes = rank_changes(statistics, is_images=statistics.separation.network is not None)
  name, margin = _apply_rules(statistics, symptoms, changes)
  confidence = 0.5 + 0.49 * math.tanh(2 * max(margin, 0.0))
  advice = ADVICE[name]
  if changes and name in REMEDIES:
    confidence = max(x.chance for x in changes if x.name in REMEDIES[name])
    first = [x for x in changes if x.name in REMEDIES[name]][:1]
    chosen = [*first, *(x for x in changes if x not in first)][:_N_ADVICE]
    advice = tuple(f'{x.flags} (expected to help: {x.chance:.0%})' for x in chosen)
  facts = explain_verdict(name, statistics, distinguishable=symptoms.differs > 0)
  return Verdict(name, confidence, facts, advice)


def compute_symptoms(s: DiagnosticStatistics) -> Symptoms:
  """Computes the strength of every symptom."""
  return Symptoms(
    differs=_distinguishable(s),
    memory=_memorised(s),
    unknown=_proves_less_than_half(s),
    blind=_blind(s),
    overfit=_overfitted(s),
    starved=_vanished_gradient(s),
    narrow=_partial_coverage(s),
    restless=_unstable(s),
    improving=_improving(s),
  )


def _apply_rules(
  statistics: DiagnosticStatistics, symptoms: Symptoms, changes: Sequence[RankedChange]
) -> tuple[str, float]:
  """Returns the first verdict whose symptom is present, and its margin; else what predictions speak for."""
  if statistics.finite_share < 1:
    return 'diverged or cycling', 1.0
  if symptoms.memory > 0:
    return 'memorised training data', symptoms.memory
  if symptoms.differs <= 0:
    detectable = statistics.separation.detectable
    if detectable > UNDECIDED:
      return 'not enough evidence', (detectable - UNDECIDED) / UNDECIDED
    return 'converged', -symptoms.differs
  faults = (
    ('D overfitted', symptoms.overfit),
    ('D too strong', symptoms.starved),
    ('D too weak', -1.0 if changes else symptoms.blind),  # where nothing predicts it
    ('diverged or cycling', symptoms.restless),
    ('mode collapse', symptoms.narrow),
  )
  present = next(((name, margin) for name, margin in faults if margin > 0), None)
  if present:
    return present
  if changes:
    # Where rates have fallen to 0 nothing moves.
    names = [n for n in _BY_PREDICTION if not (n == 'not settled' and statistics.rates_are_zero)]
    remedies = {change for name in names for change in REMEDIES[name]}
    best = next(change for change in changes if change.name in remedies)
    return next((name, 0.0) for name in names if best.name in REMEDIES[name])
  if symptoms.improving > 0:
    return 'still improving', symptoms.improving
  weak = max(symptoms.blind, symptoms.unknown)
  return ('D too weak', weak) if weak > 0 else ('G behind', symptoms.differs)


def _distinguishable(s: DiagnosticStatistics) -> float:
  """Returns the symptom of a difference that is both certain and larger than `NEGLIGIBLE`.

  Of few examples a bound says little, but what they can prove at all is not negligible.
  """
  separation = s.separation
  certain = math.log10(FAMILY_WISE_ERROR / max(separation.p, 1e-12)) / 2
  size = max(separation.bound.value, min(separation.detectable, 2 * NEGLIGIBLE))
  return min(certain, (size - NEGLIGIBLE) / NEGLIGIBLE)


def _memorised(s: DiagnosticStatistics) -> float:
  """Returns the symptom of copies: equal to training data, or nearer to them than held-out data are."""
  if s.copies is None:
    return -1.0
  equal = (s.copies.exact - s.copies.exact_held_out - 0.05) / 0.05
  near = (s.copies.near - 0.15) / 0.15 if s.copies.p < 1e-4 else -1.0
  return max(equal, near)


def _proves_less_than_half(s: DiagnosticStatistics) -> float:
  if s.discriminator is None:
    return -1.0
  by_probe, by_d = s.separation.bound.value, max(s.discriminator.held_out_bound.value, 0.0)
  return (0.5 - by_d / max(by_probe, 1e-9)) / 0.25


def _blind(s: DiagnosticStatistics) -> float:
  """Returns the symptom of a D that does not separate samples from data, now and at the last six records."""
  d = s.discriminator
  if d is None or d.output_std < 1e-4:  # a constant D may have been strong before
    return -1.0
  share = max(d.held_out_bound.value, 0.0) / max(s.separation.bound.value, 1e-9)
  ranked = 0.0 if s.history is None else float(np.median(s.history.own[-6:])) - 0.5
  return min((0.15 - share) / 0.15, (0.1 - ranked) / 0.1)


def _overfitted(s: DiagnosticStatistics) -> float:
  """Returns the symptom of a D that ranks training data above held-out data, or separates them better."""
  d = s.discriminator
  if d is None or not math.isfinite(d.train_bound.value):
    return -1.0
  ranked = (d.train_above_held_out - 0.5 - 2 * d.train_above_held_out_std - 0.12) / 0.1
  proved = (d.train_bound.low - max(d.held_out_bound.high, 0.0) - 0.05) / 0.1
  return max(ranked, proved)


def _vanished_gradient(s: DiagnosticStatistics) -> float:
  if s.discriminator is None:
    return -1.0
  certain = (max(s.discriminator.held_out_bound.value, 0.0) - 0.45) / 0.1
  flat = (0.12 - s.discriminator.generator_loss_slope) / 0.1
  return min(certain, flat)


def _partial_coverage(s: DiagnosticStatistics) -> float:
  """Returns the symptom of lost variety: most of the divergence by modes, or modes of half their spread."""
  bound = max(s.separation.bound.value, NEGLIGIBLE)
  by_modes = sum(part.nats for part in s.parts if part.name in MODE_PARTS)
  share = (by_modes / bound - 0.45) / 0.2
  narrow = (0.5 - s.scores.cells.width) / 0.2 if math.isfinite(s.scores.cells.width) else -1.0
  return max(min(share, (by_modes - NEGLIGIBLE) / NEGLIGIBLE), narrow)


def _unstable(s: DiagnosticStatistics) -> float:
  """Returns the symptom of a G worse than it was, never near the data of late, or far from its average.

  The distance from the average counts only where samples are not near the data: at a high learning rate a
  healthy G moves far between steps, too.
  """
  if s.history is None or len(s.history.gap) < 4:
    return (s.spread_ratio - 30) / 10
  gap = np.maximum(s.history.gap, 0.0)
  best, last = float(gap.min()), float(np.median(gap[-3:]))
  worse = (last - 3 * best - 0.1) / 0.1
  drifts = [x for x in s.history.drift[-(len(gap) // 2) :] if math.isfinite(x)]
  drift = (float(np.median(drifts)) - 0.22) / 0.2 if drifts else -1.0
  drift = min(drift, (last - 0.02) / 0.02)
  far = (float(gap[len(gap) // 2 :].min()) - 0.3) / 0.2
  return max(worse, drift, far)


def _improving(s: DiagnosticStatistics) -> float:
  """Returns the symptom of distances to held-out data that fell steadily over the last half of the run."""
  if s.history is None or len(s.history.gap) < 6 or s.rates_are_zero:
    return -1.0
  return max(_steady_fall(s.history.gap, 0.01, 1.25), _steady_fall(s.history.near, 0.1, 1.1))


def _steady_fall(values: Sequence[float], floor: float, min_ratio: float) -> float:
  """Returns a number above 0 where values, from `floor` up, fell steadily by `min_ratio` over the last half."""
  clipped = np.maximum(np.asarray(values), floor)
  half = clipped[len(clipped) // 2 :]
  third = max(len(half) // 3, 1)
  fall = math.log(float(np.mean(half[:third]) / np.mean(half[-third:])) / min_ratio)
  # Mean over all pairs of the sign of their fall: Kendall's tau with time, negated.
  signs = np.sign(half[:, None] - half[None])[np.triu_indices(len(half), 1)]
  setback = float(np.max(half / np.minimum.accumulate(half)))
  return min(fall, float(signs.mean()) - 0.5, 1.35 - setback)
