"""Builds the tables of the evidence in a referee.json: probes, scores beside those of real data, copies."""

from typing import Any, NamedTuple

from gan_jax.training.report.number_format import format_p_value, format_value, is_number
from gan_jax.training.report.tables import Row, Table, table_by_metric

Values = dict[str, Any]


class Part(NamedTuple):
  """Holds one kind of difference between samples and data."""

  name: str
  nats: float
  share: float  # of the sum of all parts
  detail: str


class Difference(NamedTuple):
  """Holds the divergence of samples from data and what it consists of, the largest part first."""

  nats: float
  parts: list[Part]


def fresh_probes(evidence: Values) -> list[Values]:
  """Returns the fresh discriminators, the chosen one first; an earlier version trained one kind."""
  probes = evidence.get('probes')
  if not probes and (rung := (evidence.get('ladder') or [{}])[0]):
    probes = [{'name': 'fresh discriminator', 'chance': rung.get('null_high')} | rung]
  return probes or []


def difference_parts(evidence: Values) -> Difference | None:
  """Returns the parts of a divergence that is larger than equal sets seem to have, else None."""
  best = (fresh_probes(evidence) or [{}])[0]
  total, chance = best.get('bound'), best.get('chance')
  known = [x for x in evidence.get('parts') or [] if is_number(x.get('nats')) and x['nats'] > 0]
  if not known or not is_number(total) or (is_number(chance) and total <= chance):
    return None
  known.sort(key=lambda x: -x['nats'])
  whole = sum(x['nats'] for x in known)
  text = lambda x, key: str(x.get(key) or '')
  parts = [Part(text(x, 'name'), x['nats'], x['nats'] / whole, text(x, 'detail')) for x in known]
  return Difference(total, parts)


def evidence_tables(evidence: Values) -> list[Table]:
  """Builds the tables of probes, of scores of samples and of real data, of copies, and of the run's D and G."""
  group = lambda name: evidence.get(name) or {}
  frechet, support = group('frechet'), group('support')
  scores = table_by_metric(
    'Samples beside real data',
    {
      'samples': _numbers(
        {'frechet': frechet.get('fake')}
        | group('manifold')
        | group('cells')
        | {'support': support.get('fake'), 'finite': evidence.get('finite')}
      ),
      'real data': _numbers(
        {'frechet': frechet.get('null'), 'support': support.get('null')} | group('manifold_null')
      ),
    },
    'Real data in the place of samples: what a perfect generator would get.',
  )
  own, duality = group('own'), group('duality')
  run = {
    'JSD that D proves on held-out data, nats': own.get('held_out'),
    'JSD that D proves on training data, nats': own.get('train'),
    'training examples that D ranks above held-out ones': own.get('overfit'),
    'duality gap, nats': duality.get('gap'),
    **{f"gradient of G's loss, {name}": value for name, value in group('gradient').items()},
  }
  note = 'The duality gap is 0 at an equilibrium.' if is_number(duality.get('gap')) else ''
  players = table_by_metric("The run's own D and G", {'value': _numbers(run)}, note)
  found = (_probe_table(evidence), scores, _copy_table(evidence), players)
  return [table for table in found if table]


def _numbers(values: Values) -> Values:
  return {name: x for name, x in values.items() if is_number(x)}


def _probe_table(evidence: Values) -> Table | None:
  """Lists every fresh discriminator with its lower bound on the divergence, its interval and its test."""
  rows = []
  for probe in fresh_probes(evidence):
    bound, low, high, chance, auc = (
      f'{probe[name]:.3f}'.replace('-', '−') if is_number(probe.get(name)) else '–'
      for name in ('bound', 'low', 'high', 'chance', 'auc')
    )
    p = format_p_value(probe.get('p')).removeprefix('p = ').removeprefix('p ') or '–'
    rows.append(Row(str(probe.get('name')), [bound, f'{low} to {high}', chance, auc, p]))
  if not rows:
    return None
  test = evidence.get('test') or {}
  note = (
    'By chance: what equal sets seem to have once in forty. AUC: .5 where nothing is told apart.'
  )
  if p := format_p_value(test.get('p')):
    note += f' Over all of them {p}.'
  if is_number(test.get('detectable')):
    note += f' A divergence of {test["detectable"]:.3f} nats is found in nine of ten cases.'
  columns = ['JSD, nats', '95 % interval', 'by chance', 'AUC', 'p']
  return Table('Fresh discriminators', columns, rows, note)


def _copy_table(evidence: Values) -> Table | None:
  """Builds the scores of copying beside those of held-out data."""
  copies, scores = evidence.get('copies') or {}, evidence.get('memorisation') or {}
  near = 'nearer to one than 99 % of held-out data are'
  run = {'equal to a training example': copies.get('exact'), near: copies.get('near')}
  real = {
    'equal to a training example': copies.get('exact_held_out'),
    near: copies.get('near_held_out'),
  }
  columns = {
    'samples': _numbers(run | {'p-value': copies.get('p')} | scores),
    'held-out data': _numbers(real | (evidence.get('memorisation_null') or {})),
  }
  note = ''
  if is_number(copies.get('n_train')):
    note = f'Copies are searched among all {format_value(copies["n_train"])} training examples.'
  return table_by_metric('Copies of training data', columns, note)
