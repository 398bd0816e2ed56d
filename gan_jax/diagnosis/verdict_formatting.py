"""Formats a verdict with its statistics: as JSON for referee.json, and as text for a person."""

from typing import Any

from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics, SampleScores
from gan_jax.diagnosis.verdict_rules import MIN_EXAMPLES, Verdict, compute_symptoms


def verdict_as_json(
  verdict: Verdict, statistics: DiagnosticStatistics, protocol: dict[str, Any]
) -> dict[str, Any]:
  """Converts a verdict to the content of a referee.json; `protocol` tells how it was made."""
  enough = statistics.set_sizes['fake'] >= MIN_EXAMPLES
  return {
    'verdict': verdict.name,
    'confidence': round(verdict.confidence, 3),
    'facts': list(verdict.facts),
    'advice': list(verdict.advice),
    'signs': compute_symptoms(statistics)._asdict() if enough else None,
    'evidence': statistics_as_json(statistics),
    'protocol': protocol,
  }


def statistics_as_json(statistics: DiagnosticStatistics) -> dict[str, Any]:
  """Converts statistics to numbers, lists and dicts, under the keys that the report page reads."""
  s, scores, null = statistics, statistics.scores, statistics.null_scores
  cells = scores.cells
  ladder = [
    {'sigma': sigma, 'bound': b.value, 'low': b.low, 'high': b.high} for sigma, b in s.probe_bounds
  ]
  ladder[0] |= {'null': s.null_bound.value, 'null_high': s.null_bound.high}
  values: dict[str, Any] = {
    'n': s.set_sizes,
    'finite': s.all_finite,
    'ladder': ladder,
    'c2st': s.two_sample_test._asdict(),
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


def verdict_as_text(
  verdict: Verdict, statistics: DiagnosticStatistics, protocol: dict[str, Any]
) -> str:
  """Formats the verdict, its facts, the advice, and the statistics of samples beside those of real data."""
  lines = [f'verdict: {verdict.name} (confidence {verdict.confidence:.0%})']
  lines += [f'  because {fact}' for fact in verdict.facts]
  lines += [f'  change  {advice}' for advice in verdict.advice]
  if verdict.name != 'not enough evidence':
    lines += _statistics_table(statistics)
  lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
  return '\n'.join(lines)


def _statistics_table(s: DiagnosticStatistics) -> list[str]:
  bounds = ', '.join(f'{sigma:g}: {bound.value:.3f}' for sigma, bound in s.probe_bounds)
  fake, null, test = _score_column(s.scores), _score_column(s.null_scores), s.two_sample_test
  lines = [
    f'  JSD bound of a fresh probe, nats, by the std of added noise: {bounds}',
    f'  {"":<22}{"samples":>12}{"real data":>12}',
    *(f'  {name:<22}{value:>12.4g}{null[name]:>12.4g}' for name, value in fake.items()),
    f'  two-sample test: accuracy {test.accuracy:.3f} on {test.n:,} examples, p = {test.p:.2g}',
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
