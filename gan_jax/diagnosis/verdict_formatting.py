"""Formats a verdict with its statistics: as JSON for referee.json, and as text for a person."""

from typing import Any

from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics, SampleScores
from gan_jax.diagnosis.separation import ProbeEvidence
from gan_jax.diagnosis.verdict_advice import LEAST_P
from gan_jax.diagnosis.verdict_rules import Verdict, compute_symptoms


def verdict_as_json(
  verdict: Verdict, statistics: DiagnosticStatistics, protocol: dict[str, Any]
) -> dict[str, Any]:
  """Converts a verdict to the content of a referee.json; `protocol` tells how it was made."""
  return {
    'verdict': verdict.name,
    'confidence': round(verdict.confidence, 3),
    'facts': list(verdict.facts),
    'advice': list(verdict.advice),
    'signs': compute_symptoms(statistics)._asdict(),
    'evidence': statistics_as_json(statistics),
    'protocol': protocol,
  }


def statistics_as_json(statistics: DiagnosticStatistics) -> dict[str, Any]:
  """Converts statistics to numbers, lists and dicts, under the keys that the report page reads."""
  s, scores, null = statistics, statistics.scores, statistics.null_scores
  cells = scores.cells
  separation = s.separation
  rungs = [(0.0, separation.vectors), *separation.ladder]
  values: dict[str, Any] = {
    'n': s.set_sizes,
    'finite': s.finite_share,
    'ladder': [{'sigma': sigma} | _probe_as_json(probe) for sigma, probe in rungs],
    'probes': [{'name': probe.name} | _probe_as_json(probe) for probe in separation.probes],
    'test': {'p': separation.p, 'detectable': separation.detectable},
    'parts': [part._asdict() for part in s.parts],
    'own': None,
    'manifold': scores.precision_recall._asdict(),
    'manifold_null': null.precision_recall._asdict(),
    'frechet': {'fake': scores.frechet_distance, 'null': null.frechet_distance},
    'support': {'fake': scores.support_size, 'null': null.support_size},
    'cells': {
      'real': cells.real.tolist(),
      'fake': cells.fake.tolist(),
      'names': None,
      **{name: getattr(cells, name) for name in ('divergence', 'missing', 'width')},
    },
  }
  if s.copies is not None:
    values['copies'] = s.copies._asdict()
  if scores.memorisation is not None and null.memorisation is not None:
    values['memorisation'] = scores.memorisation._asdict()
    values['memorisation_null'] = null.memorisation._asdict()
  if s.discriminator is not None:
    d = s.discriminator
    values['own'] = {
      'held_out': d.held_out_bound.value,
      'train': d.train_bound.value,
      'overfit': d.train_above_held_out,
      'mean_real': d.mean_real,
      'mean_fake': d.mean_fake,
    }
    values |= {'gradient': {'slope': d.generator_loss_slope}, 'histogram': d.histogram}
  if s.duality_gap is not None:
    values['duality'] = s.duality_gap._asdict() | {'gap': s.duality_gap.gap}
  if s.history is not None:
    score = {'score': s.history.near, 'name': 'nearest neighbours'}
    values['history'] = s.history._asdict() | score
  return values


def _probe_as_json(probe: ProbeEvidence) -> dict[str, float]:
  bound = probe.bound
  values = {'bound': bound.value, 'low': bound.low, 'high': bound.high}
  return values | {'chance': probe.chance, 'auc': probe.auc, 'p': probe.p}


def verdict_as_text(
  verdict: Verdict, statistics: DiagnosticStatistics, protocol: dict[str, Any]
) -> str:
  """Formats the verdict, its facts, the advice, and the statistics of samples beside those of real data."""
  lines = [f'verdict: {verdict.name} (confidence {verdict.confidence:.0%})']
  lines += [f'  because {fact}' for fact in verdict.facts]
  lines += [f'  change  {advice}' for advice in verdict.advice]
  lines += _statistics_table(statistics)
  lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
  return '\n'.join(lines)


def _statistics_table(s: DiagnosticStatistics) -> list[str]:
  ladder = ', '.join(f'{sigma:g}: {probe.bound.value:.3f}' for sigma, probe in s.separation.ladder)
  fake, null = _score_column(s.scores), _score_column(s.null_scores)
  lines = [f'  {"fresh probe":<42}{"JSD bound, nats":>26}{"chance":>8}{"p":>9}']
  for probe in s.separation.probes:
    interval = f'{probe.bound.value:.3f} [{probe.bound.low:.3f}, {probe.bound.high:.3f}]'
    lines.append(
      f'  {probe.name:<42}{interval:>26}{probe.chance:>8.3f}{max(probe.p, LEAST_P):>9.1g}'
    )
  lines += [f'  {part.nats:.3f} nats by {part.name}: {part.detail}' for part in s.parts]
  lines += [
    f'  bound by vectors under added noise, by its std: {ladder}',
    f'  {"":<22}{"samples":>12}{"real data":>12}',
    *(f'  {name:<22}{value:>12.4g}{null[name]:>12.4g}' for name, value in fake.items()),
  ]
  if s.duality_gap is not None:
    gap = s.duality_gap
    lines.append(
      f'  duality gap {gap.gap:.3f} nats (0 at an equilibrium): updates of D alone reach '
      f'V = {gap.best_d:.3f}, of G alone V = {gap.best_g:.3f}'
    )
  return lines


def _score_column(scores: SampleScores) -> dict[str, float]:
  """Returns the scores by their names in the table."""
  column = {
    'Frechet distance': scores.frechet_distance,
    **scores.precision_recall._asdict(),
    'JSD of cells, nats': scores.cells.divergence,
    'width within cells': scores.cells.width,
  }
  if scores.memorisation is not None:
    column['authentic, %'] = scores.memorisation.authentic
    column['C_T'] = scores.memorisation.copying
  return column | {'support, by birthdays': scores.support_size}
