"""Evaluations of several runs side by side, where they were made alike."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.utils.errors import UserError

_OWN = ('watched',)  # what each run's own D says: another judge in each
_BESIDE = {'train': 'training images', 'real': 'training images', 'fresh': 'other held-out'}
_MAIN = ''  # the name of the protocol that most scores share
Values = dict[str, Any]
Scores = dict[str, dict[str, float | None]]  # by whose they are, then by name


class RunEvaluation(NamedTuple):
  """What `experiments.evaluate` wrote of a run."""

  run: str  # as the user named it
  protocols: dict[str, Values]  # of the networks by their names, and of all else
  scores: dict[str, Scores]  # by the protocol that they were made under


def read_evaluation(run: str, split: str) -> RunEvaluation:
  """The newest evaluation on `split` in a run's folder, or an evaluation file; raises UserError."""
  path = Path(run)
  if path.is_dir():
    found = sorted(path.glob(f'evaluation_{split}_*.json'))
    if not found:
      raise UserError(
        f'--runs={run}: has no evaluation on {split} images; python -m experiments.evaluate '
        f'--run={run} --split={split} makes one'
      )
    path = found[-1]
  try:
    return _parse(run, json.loads(path.read_text()))
  except OSError as error:
    raise UserError(f'--runs={run}: {error.strerror or error}') from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f'--runs={run}: {path} is no evaluation: {error!r}') from error


def _parse(run: str, values: Values) -> RunEvaluation:
  protocols, scores = {_MAIN: dict(values['protocol'])}, {_MAIN: _merged(values)}
  for name, part in values.items():
    if isinstance(part, dict) and 'protocol' in part:
      protocols[name] = dict(part['protocol'])
      scores[name] = {who: dict(x) for who, x in part['scores'].items()}
  return RunEvaluation(run, protocols, scores)


def _merged(values: Values) -> Scores:
  """The scores of all parts that have some of the 'raw' and the 'ema' weights."""
  merged: Scores = {}
  for name, part in values.items():
    if isinstance(part, dict) and {'raw', 'ema'} <= set(part) and name not in _OWN:
      for who, found in part.items():
        # A part is one number for each, or several by name.
        scores = found if isinstance(found, dict) else {name: found}
        if name == 'parzen':
          scores = {'parzen': scores['mean'], 'parzen_error': scores['standard_error']}
        merged.setdefault(who, {}).update(scores)
  return merged


def check_same_protocol(evaluations: list[RunEvaluation]) -> None:
  """Raise UserError, naming fields and values, where two were made under unlike protocols."""
  first = evaluations[0]
  for other in evaluations[1:]:
    for name in _shared([first, other]):
      ours, theirs = first.protocols[name], other.protocols[name]
      fields = [field for field in ours | theirs if ours.get(field) != theirs.get(field)]
      if fields:
        told = '; '.join(f'{x} {_short(ours, x)} and {_short(theirs, x)}' for x in fields)
        place = f' of {name}' if name else ''
        raise UserError(
          f'--runs: {first.run} and {other.run} do not compare, for their protocols{place} differ '
          f'in {told}; evaluate both alike'
        )


def _short(protocol: Values, field: str) -> str:
  text = str(protocol.get(field, '(not there)'))
  return text if len(text) <= 60 else f'{text[:16]}...'


def _shared(evaluations: list[RunEvaluation]) -> list[str]:
  """The names of the protocols that all of them have, in the order of the first."""
  first, *others = (x.protocols for x in evaluations)
  return [name for name in first if all(name in other for other in others)]


def comparison_table(evaluations: list[RunEvaluation], which: str) -> list[str]:
  """Scores of the weights `which`, 'raw' or 'ema', a column for each run; then known sets beside them.

  Raises UserError where protocols differ, so that no line compares what does not compare.
  """
  check_same_protocol(evaluations)
  lines = []
  for name in _shared(evaluations):
    known = evaluations[0].scores[name]
    columns = [(x.run, x.scores[name][which]) for x in evaluations]
    columns += [(title, known[who]) for who, title in _BESIDE.items() if who in known]
    widths = [max(12, len(title) + 2) for title, _ in columns]
    heads = (f'{title:>{width}}' for (title, _), width in zip(columns, widths, strict=True))
    lines.append(f'{name:<20}' + ''.join(heads))
    for score in columns[0][1]:
      cells = (
        f'{_number(found.get(score)):>{width}}'
        for (_, found), width in zip(columns, widths, strict=True)
      )
      lines.append(f'{score:<20}' + ''.join(cells))
    fields = evaluations[0].protocols[name].items()
    lines.append('protocol: ' + ', '.join(f'{field} {value}' for field, value in fields))
  alone = sorted({name for x in evaluations for name in x.protocols} - set(_shared(evaluations)))
  lines += [f'{name}: not in the evaluations of all runs, and left out' for name in alone]
  return lines


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'
