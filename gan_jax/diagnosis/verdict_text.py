"""A verdict as it is told: as a record for files, and as text for a person."""

from typing import Any

from gan_jax.diagnosis.diagnostic_statistics import DiagnosticStatistics, statistics_as_json
from gan_jax.diagnosis.verdict_rules import MIN_EXAMPLES, Verdict, compute_symptoms


def verdict_as_json(
  verdict: Verdict, evidence: DiagnosticStatistics, protocol: dict[str, Any]
) -> dict[str, Any]:
  """Verdict, evidence and protocol as they stand in a referee.json."""
  return {
    'verdict': verdict.name,
    'confidence': round(verdict.confidence, 3),
    'facts': list(verdict.facts),
    'advice': list(verdict.advice),
    'signs': compute_symptoms(evidence)._asdict() if evidence.n['fake'] >= MIN_EXAMPLES else None,
    'evidence': statistics_as_json(evidence),
    'protocol': protocol,
  }


def verdict_as_text(
  verdict: Verdict, evidence: DiagnosticStatistics, protocol: dict[str, Any]
) -> str:
  """For a person: the verdict first, then what decided it, what to do, and the numbers beside their nulls."""
  lines = [f'verdict: {verdict.name} (confidence {verdict.confidence:.0%})']
  lines += [f'  because {fact}' for fact in verdict.facts]
  lines += [f'  change  {advice}' for advice in verdict.advice]
  if verdict.name != 'not enough evidence':
    lines += _table(evidence)
  lines.append('protocol: ' + ', '.join(f'{key} {value}' for key, value in protocol.items()))
  return '\n'.join(lines)


def _table(e: DiagnosticStatistics) -> list[str]:
  """Numbers of the samples beside those of real data in their place."""
  lines = ['  a fresh probe, JSD in nats by noise on both: ' + _ladder(e)]
  pairs = {
    'Frechet distance': (e.frechet, e.frechet_null),
    **{
      name: (getattr(e.manifold, name), getattr(e.manifold_null, name))
      for name in e.manifold._fields
    },
    'JSD of cells, nats': (e.cells.divergence, e.cells_null.divergence),
    'width within cells': (e.cells.width, e.cells_null.width),
  }
  if e.memory is not None and e.memory_null is not None:
    pairs['authentic, %'] = (e.memory.authentic, e.memory_null.authentic)
    pairs['C_T'] = (e.memory.copying, e.memory_null.copying)
  pairs['support, by birthdays'] = (e.support, e.support_null)
  lines.append(f'  {"":<22}{"samples":>12}{"real data":>12}')
  lines += [f'  {name:<22}{ours:>12.4g}{real:>12.4g}' for name, (ours, real) in pairs.items()]
  lines.append(
    f'  two-sample test: accuracy {e.c2st.accuracy:.3f} on {e.c2st.n:,} examples, p = {e.c2st.p:.2g}'
  )
  if e.duality is not None:
    d = e.duality
    lines.append(
      f'  duality gap {d.gap:.3f} nats (0 at an equilibrium): D alone reaches V = {d.best_d:.3f}, '
      f'G alone {d.best_g:.3f}'
    )
  return lines


def _ladder(e: DiagnosticStatistics) -> str:
  return ', '.join(f'{sigma:g}: {bound.value:.3f}' for sigma, bound in e.ladder)
