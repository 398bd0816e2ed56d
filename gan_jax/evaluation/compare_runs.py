"""Compares evaluations of several runs that share a protocol."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gan_jax.utils.errors import UserError

_NOT_COMPARED = ('watched',)  # scores by each run's own discriminator
_REAL_SETS = {'train': 'training images', 'real': 'training images', 'fresh': 'other held-out'}
_MAIN = ''  # name of the protocol of all scores but those of pretrained networks
Values = dict[str, Any]
Scores = dict[str, dict[str, float | None]]  # by set of examples ('raw', 'train', ...), then name


class RunEvaluation(NamedTuple):
  """Holds the content of one file that `experiments.evaluate` wrote."""

  run: str  # as given by the user
  protocols: dict[str, Values]  # by name of a pretrained network, and `_MAIN`
  scores: dict[str, Scores]  # by name of the protocol


def read_evaluation(run: str, split: str) -> RunEvaluation:
  """Reads an evaluation file, or the newest one on `split` in a run's folder; raises UserError."""
  path = Path(run)
  if path.is_dir():
    name = re.compile(rf'evaluation_{split}_\d+\.json')  # not those of a sync tool's conflicts
    paths = sorted(x for x in path.glob('evaluation_*.json') if name.fullmatch(x.name))
    if not paths:
      command = f'python -m experiments.evaluate --run={run} --split={split}'
      raise UserError(f'--runs={run}: has no evaluation on {split} images; {command} makes one')
    path = paths[-1]
  try:
    return _parse(run, json.loads(path.read_text()))
  except OSError as error:
    raise UserError(f'--runs={run}: {error.strerror or error}') from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f'--runs={run}: {path} is no evaluation: {error!r}') from error


def _parse(run: str, values: Values) -> RunEvaluation:
  protocols, scores = {_MAIN: dict(values['protocol'])}, {_MAIN: _main_scores(values)}
  for name, part in values.items():
    if isinstance(part, dict) and 'protocol' in part:
      protocols[name] = dict(part['protocol'])
      scores[name] = {examples: dict(x) for examples, x in part['scores'].items()}
  return RunEvaluation(run, protocols, scores)


def _main_scores(values: Values) -> Scores:
  """Merges the parts of an evaluation that score 'raw' and 'ema' weights."""
  merged: Scores = {}
  for name, part in values.items():
    if isinstance(part, dict) and {'raw', 'ema'} <= set(part) and name not in _NOT_COMPARED:
      for examples, value in part.items():
        # A part holds one number for each set of examples, or several by name.
        scores = value if isinstance(value, dict) else {name: value}
        if name == 'parzen':
          scores = {'parzen': scores['mean'], 'parzen_error': scores['standard_error']}
        merged.setdefault(examples, {}).update(scores)
  return merged


def check_same_protocol(evaluations: list[RunEvaluation]) -> None:
  """Raises UserError, naming fields and values, where a shared protocol differs between evaluations."""
  first = evaluations[0]
  for other in evaluations[1:]:
    for name in _shared_protocols([first, other]):
      left, right = first.protocols[name], other.protocols[name]
      fields = [field for field in left | right if left.get(field) != right.get(field)]
      if left.get('fingerprint') is not None and 'fingerprint' not in fields:
        fields = [field for field in fields if field != 'dataset']  # the same data at another path
      if fields:
        parts = (f'{x} {_shorten(left, x)} and {_shorten(right, x)}' for x in fields)
        network = f' of {name}' if name else ''
        raise UserError(
          f'--runs: {first.run} and {other.run} are not comparable: their protocols{network} differ '
          f'in {"; ".join(parts)}; evaluate both with the same flags'
        )


def _shorten(protocol: Values, field: str) -> str:
  text = str(protocol.get(field, '(missing)'))
  return text if len(text) <= 60 else f'{text[:16]}...'


def _shared_protocols(evaluations: list[RunEvaluation]) -> list[str]:
  """Returns the names of the protocols of all evaluations, in the order of the first."""
  first, *others = (x.protocols for x in evaluations)
  return [name for name in first if all(name in other for other in others)]


def comparison_table(evaluations: list[RunEvaluation], which: str) -> list[str]:
  """Formats the scores of 'raw' or 'ema' weights, a column for each run and for each set of real images.

  Raises UserError where protocols differ.
  """
  check_same_protocol(evaluations)
  lines, shared = [], _shared_protocols(evaluations)
  for name in shared:
    real = evaluations[0].scores[name]
    columns = [(x.run, x.scores[name][which]) for x in evaluations]
    columns += [(title, real[key]) for key, title in _REAL_SETS.items() if key in real]
    rows = [[name, *(title for title, _ in columns)]]
    rows += [[key, *(_format(x.get(key)) for _, x in columns)] for key in columns[0][1]]
    widths = [max(12, len(title) + 2) for title, _ in columns]
    for head, *cells in rows:
      aligned = (f'{cell:>{width}}' for cell, width in zip(cells, widths, strict=True))
      lines.append(f'{head:<20}' + ''.join(aligned))
    fields = evaluations[0].protocols[name].items()
    lines.append('protocol: ' + ', '.join(f'{field} {value}' for field, value in fields))
  missing = sorted({name for x in evaluations for name in x.protocols} - set(shared))
  lines += [f'{name}: not in the evaluations of all runs, and left out' for name in missing]
  return lines


def _format(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'
